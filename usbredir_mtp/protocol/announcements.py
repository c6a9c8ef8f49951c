"""The order in which the host announces a device, as a table.

Source: usbredir protocol 0.7, "usb_redir_device_connect" (ep_info, then interface_info, come first) and
"usb_redir_configuration_status", "usb_redir_alt_setting_status" (likewise before a success).
"""

from __future__ import annotations

from enum import Enum

from usbredir_mtp.protocol.constants import PacketType


class Device(Enum):
    """What the guest knows of the device."""

    ABSENT = "no device"
    ENDPOINTS = "endpoints announced"
    DESCRIBED = "endpoints and interfaces announced"
    CONNECTED = "device connected"


TRANSITIONS: dict[tuple[Device, PacketType], Device] = {
    (Device.ABSENT, PacketType.EP_INFO): Device.ENDPOINTS,
    (Device.ENDPOINTS, PacketType.EP_INFO): Device.ENDPOINTS,
    (Device.ENDPOINTS, PacketType.INTERFACE_INFO): Device.DESCRIBED,
    (Device.DESCRIBED, PacketType.EP_INFO): Device.ENDPOINTS,
    (Device.DESCRIBED, PacketType.INTERFACE_INFO): Device.DESCRIBED,
    (Device.DESCRIBED, PacketType.DEVICE_CONNECT): Device.CONNECTED,
    (Device.CONNECTED, PacketType.EP_INFO): Device.CONNECTED,
    (Device.CONNECTED, PacketType.INTERFACE_INFO): Device.CONNECTED,
    (Device.CONNECTED, PacketType.DEVICE_DISCONNECT): Device.ABSENT,
}
"""From a state, by a packet that we send, to the next; what is not here must not be sent."""
