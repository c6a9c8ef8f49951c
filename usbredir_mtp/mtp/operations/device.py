"""The device and its session (MTP 1.1, D.2.1-3, D.2.16-23)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import OperationCode, ResponseCode
from usbredir_mtp.mtp.datasets import DeviceInfo
from usbredir_mtp.mtp.device_properties import DEVICE_PROPERTIES
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.events import EVENTS
from usbredir_mtp.mtp.formats import PLAYBACK_FORMATS
from usbredir_mtp.mtp.operation import Operation, Parameters, Reply, data_reply, takes_dataset

if TYPE_CHECKING:
    from usbredir_mtp.mtp.responder import Responder
    from usbredir_mtp.mtp.storage import Buffer


def get_device_info(responder: Responder, _parameters: Parameters) -> Reply:
    """GetDeviceInfo: the one operation besides OpenSession that needs no session."""
    identity = responder.device.identity
    info = DeviceInfo(
        operations=list(responder.operations),
        events=EVENTS,
        device_properties=list(DEVICE_PROPERTIES),
        playback_formats=PLAYBACK_FORMATS,
        manufacturer=identity.manufacturer,
        model=identity.model,
        device_version=identity.device_version,
        serial_number=identity.serial_number,
        vendor_extensions=identity.vendor_extensions,
    )
    return data_reply(info.encode())


def open_session(responder: Responder, parameters: Parameters) -> Reply:
    """OpenSession(session id)."""
    session_id = parameters[0]
    if session_id == 0:
        raise MtpError(ResponseCode.INVALID_PARAMETER, "session id 0")
    if responder.session is not None:
        return Reply(code=ResponseCode.SESSION_ALREADY_OPEN, parameters=(responder.session.session_id,))
    responder.open_session(session_id)
    return Reply()


def close_session(responder: Responder, _parameters: Parameters) -> Reply:
    """CloseSession."""
    responder.close_session()
    return Reply()


def get_device_prop_desc(responder: Responder, parameters: Parameters) -> Reply:
    """GetDevicePropDesc(property)."""
    return data_reply(responder.device.properties.describe(parameters[0]))


def get_device_prop_value(responder: Responder, parameters: Parameters) -> Reply:
    """GetDevicePropValue(property)."""
    return data_reply(responder.device.properties.value(parameters[0]))


def set_device_prop_value(responder: Responder, parameters: Parameters, data: Buffer) -> Reply:
    """SetDevicePropValue(property), then its value."""
    responder.device.properties.set(parameters[0], data, responder)
    return Reply()


def reset_device_prop_value(responder: Responder, parameters: Parameters) -> Reply:
    """ResetDevicePropValue(property, 0xFFFFFFFF for all)."""
    responder.device.properties.reset(parameters[0], responder)
    return Reply()


def reset_device(responder: Responder, _parameters: Parameters) -> Reply:
    """ResetDevice: ends the session (MTP 1.1, D.2.16)."""
    responder.close_session()
    return Reply()


def self_test(responder: Responder, _parameters: Parameters) -> Reply:
    """SelfTest(kind): can every storage be read?"""
    for root in responder.objects.stores:
        try:
            responder.objects.view(root)
        except OSError as error:
            raise MtpError(ResponseCode.SELF_TEST_FAILED, str(error)) from error
    return Reply()


def power_down(responder: Responder, _parameters: Parameters) -> Reply:
    """PowerDown: the device is unplugged once this has been answered."""
    responder.power_off = True
    return Reply()


OPERATIONS: dict[int, Operation] = {
    OperationCode.GET_DEVICE_INFO: Operation(get_device_info, needs_session=False),
    OperationCode.OPEN_SESSION: Operation(open_session, needs_session=False),
    OperationCode.CLOSE_SESSION: Operation(close_session),
    OperationCode.GET_DEVICE_PROP_DESC: Operation(get_device_prop_desc),
    OperationCode.GET_DEVICE_PROP_VALUE: Operation(get_device_prop_value),
    OperationCode.RESET_DEVICE: Operation(reset_device),
    OperationCode.SELF_TEST: Operation(self_test),
    OperationCode.POWER_DOWN: Operation(power_down),
    OperationCode.SET_DEVICE_PROP_VALUE: takes_dataset(set_device_prop_value),
    OperationCode.RESET_DEVICE_PROP_VALUE: Operation(reset_device_prop_value),
}
