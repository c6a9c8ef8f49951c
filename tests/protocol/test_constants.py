"""The numbers of usbredirproto.h: its enumerations count from 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from usbredir_mtp.protocol.constants import Capability, PacketType, Speed, Status, TransferType

if TYPE_CHECKING:
    from enum import IntEnum

ENUMERATIONS: list[tuple[type[IntEnum], int, str]] = [
    (Status, 0, "success cancelled inval ioerror stall timeout babble"),
    (Speed, 0, "low full high super"),
    (TransferType, 0, "control iso bulk interrupt"),
    (
        Capability,
        0,
        (
            "bulk_streams connect_device_version filter device_disconnect_ack ep_info_max_packet_size ids_64bits "
            "bulk_length_32bits bulk_receiving"
        ),
    ),
    (
        PacketType,
        0,
        (
            "hello device_connect device_disconnect reset interface_info ep_info set_configuration get_configuration "
            "configuration_status set_alt_setting get_alt_setting alt_setting_status start_iso_stream stop_iso_stream "
            "iso_stream_status start_interrupt_receiving stop_interrupt_receiving interrupt_receiving_status "
            "alloc_bulk_streams free_bulk_streams bulk_streams_status cancel_data_packet filter_reject filter_filter "
            "device_disconnect_ack start_bulk_receiving stop_bulk_receiving bulk_receiving_status"
        ),
    ),
    (PacketType, 100, "control_packet bulk_packet iso_packet interrupt_packet buffered_bulk_packet"),
]


@pytest.mark.parametrize(("enumeration", "first", "names"), ENUMERATIONS)
def test_numbers(enumeration: type[IntEnum], first: int, names: str) -> None:
    assert [enumeration(number).name.lower() for number, _ in enumerate(names.split(), first)] == names.split()


def test_no_others() -> None:
    assert len(PacketType) == 33
    assert (len(Status), len(Capability)) == (7, 8)
    assert (Speed.UNKNOWN, TransferType.INVALID) == (255, 255)
