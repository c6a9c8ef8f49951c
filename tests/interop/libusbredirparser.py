"""libusbredirparser, QEMU's own usbredir parser, as the judge of what we send (by ctypes, as usb-guest).

Nothing here comes from the package under test. Struct layouts and signatures: `usbredirproto.h`,
`usbredirparser.h`, `usbredirfilter.h`.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, c_char_p, c_int, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Buffer = bytes | bytearray | memoryview

LIBRARY = "libusbredirparser.so.1"
ERROR, WARNING = 1, 2
PARSE_ERROR = -2
DEFAULT_CAPS = 0xFF


class Event(NamedTuple):
    """A packet that the library took: its name, id (0 if the callback has none), header, payload."""

    name: str
    id: int
    fields: dict[str, Any]
    data: bytes


class Header(ctypes.LittleEndianStructure):
    _pack_ = 1


class HelloHeader(Header):
    _fields_ = (("version", ctypes.c_char * 64),)


class DeviceConnectHeader(Header):
    _fields_ = (
        ("speed", c_uint8),
        ("device_class", c_uint8),
        ("device_subclass", c_uint8),
        ("device_protocol", c_uint8),
        ("vendor_id", c_uint16),
        ("product_id", c_uint16),
        ("device_version_bcd", c_uint16),
    )


class InterfaceInfoHeader(Header):
    _fields_ = (
        ("interface_count", c_uint32),
        ("interface", c_uint8 * 32),
        ("interface_class", c_uint8 * 32),
        ("interface_subclass", c_uint8 * 32),
        ("interface_protocol", c_uint8 * 32),
    )


class EpInfoHeader(Header):
    _fields_ = (
        ("type", c_uint8 * 32),
        ("interval", c_uint8 * 32),
        ("interface", c_uint8 * 32),
        ("max_packet_size", c_uint16 * 32),
        ("max_streams", c_uint32 * 32),
    )


class ConfigurationHeader(Header):
    _fields_ = (("configuration", c_uint8),)


class ConfigurationStatusHeader(Header):
    _fields_ = (("status", c_uint8), ("configuration", c_uint8))


class SetAltSettingHeader(Header):
    _fields_ = (("interface", c_uint8), ("alt", c_uint8))


class GetAltSettingHeader(Header):
    _fields_ = (("interface", c_uint8),)


class AltSettingStatusHeader(Header):
    _fields_ = (("status", c_uint8), ("interface", c_uint8), ("alt", c_uint8))


class StartIsoStreamHeader(Header):
    _fields_ = (("endpoint", c_uint8), ("pkts_per_urb", c_uint8), ("no_urbs", c_uint8))


class EndpointHeader(Header):
    _fields_ = (("endpoint", c_uint8),)


class EndpointStatusHeader(Header):
    _fields_ = (("status", c_uint8), ("endpoint", c_uint8))


class AllocBulkStreamsHeader(Header):
    _fields_ = (("endpoints", c_uint32), ("no_streams", c_uint32))


class FreeBulkStreamsHeader(Header):
    _fields_ = (("endpoints", c_uint32),)


class BulkStreamsStatusHeader(Header):
    _fields_ = (("endpoints", c_uint32), ("no_streams", c_uint32), ("status", c_uint8))


class StartBulkReceivingHeader(Header):
    _fields_ = (
        ("stream_id", c_uint32),
        ("bytes_per_transfer", c_uint32),
        ("endpoint", c_uint8),
        ("no_transfers", c_uint8),
    )


class StopBulkReceivingHeader(Header):
    _fields_ = (("stream_id", c_uint32), ("endpoint", c_uint8))


class BulkReceivingStatusHeader(Header):
    _fields_ = (("stream_id", c_uint32), ("endpoint", c_uint8), ("status", c_uint8))


class ControlHeader(Header):
    _fields_ = (
        ("endpoint", c_uint8),
        ("request", c_uint8),
        ("requesttype", c_uint8),
        ("status", c_uint8),
        ("value", c_uint16),
        ("index", c_uint16),
        ("length", c_uint16),
    )


class BulkHeader(Header):
    _fields_ = (
        ("endpoint", c_uint8),
        ("status", c_uint8),
        ("length", c_uint16),
        ("stream_id", c_uint32),
        ("length_high", c_uint16),
    )


class ShortDataHeader(Header):
    _fields_ = (("endpoint", c_uint8), ("status", c_uint8), ("length", c_uint16))


class BufferedBulkHeader(Header):
    _fields_ = (
        ("stream_id", c_uint32),
        ("length", c_uint32),
        ("endpoint", c_uint8),
        ("status", c_uint8),
    )


class FilterRule(ctypes.Structure):
    _fields_ = (
        ("device_class", c_int),
        ("vendor_id", c_int),
        ("product_id", c_int),
        ("device_version_bcd", c_int),
        ("allow", c_int),
    )


Rule = tuple[int, int, int, int, int]


class Call(NamedTuple):
    """How a packet is passed to callbacks and to send functions."""

    header: type[Header] | None = None
    has_id: bool = True
    has_data: bool = False


CALLS: dict[str, Call] = {
    "hello": Call(HelloHeader, has_id=False),
    "device_connect": Call(DeviceConnectHeader, has_id=False),
    "device_disconnect": Call(has_id=False),
    "reset": Call(has_id=False),
    "interface_info": Call(InterfaceInfoHeader, has_id=False),
    "ep_info": Call(EpInfoHeader, has_id=False),
    "set_configuration": Call(ConfigurationHeader),
    "get_configuration": Call(),
    "configuration_status": Call(ConfigurationStatusHeader),
    "set_alt_setting": Call(SetAltSettingHeader),
    "get_alt_setting": Call(GetAltSettingHeader),
    "alt_setting_status": Call(AltSettingStatusHeader),
    "start_iso_stream": Call(StartIsoStreamHeader),
    "stop_iso_stream": Call(EndpointHeader),
    "iso_stream_status": Call(EndpointStatusHeader),
    "start_interrupt_receiving": Call(EndpointHeader),
    "stop_interrupt_receiving": Call(EndpointHeader),
    "interrupt_receiving_status": Call(EndpointStatusHeader),
    "alloc_bulk_streams": Call(AllocBulkStreamsHeader),
    "free_bulk_streams": Call(FreeBulkStreamsHeader),
    "bulk_streams_status": Call(BulkStreamsStatusHeader),
    "cancel_data_packet": Call(),
    "filter_reject": Call(has_id=False),
    "device_disconnect_ack": Call(has_id=False),
    "start_bulk_receiving": Call(StartBulkReceivingHeader),
    "stop_bulk_receiving": Call(StopBulkReceivingHeader),
    "bulk_receiving_status": Call(BulkReceivingStatusHeader),
    "control_packet": Call(ControlHeader, has_data=True),
    "bulk_packet": Call(BulkHeader, has_data=True),
    "iso_packet": Call(ShortDataHeader, has_data=True),
    "interrupt_packet": Call(ShortDataHeader, has_data=True),
    "buffered_bulk_packet": Call(BufferedBulkHeader, has_data=True),
}

# The members of struct usbredirparser after priv, in its order; "filter_filter" has its own signature.
MEMBERS = (
    *("log", "read", "write", "device_connect", "device_disconnect", "reset", "interface_info"),
    *("ep_info", "set_configuration", "get_configuration", "configuration_status"),
    *("set_alt_setting", "get_alt_setting", "alt_setting_status", "start_iso_stream"),
    *("stop_iso_stream", "iso_stream_status", "start_interrupt_receiving"),
    *("stop_interrupt_receiving", "interrupt_receiving_status", "alloc_bulk_streams"),
    *("free_bulk_streams", "bulk_streams_status", "cancel_data_packet", "control_packet"),
    *("bulk_packet", "iso_packet", "interrupt_packet", "alloc_lock", "lock", "unlock", "free_lock"),
    *("hello", "filter_reject", "filter_filter", "device_disconnect_ack", "start_bulk_receiving"),
    *("stop_bulk_receiving", "bulk_receiving_status", "buffered_bulk_packet"),
)


class ParserStruct(ctypes.Structure):
    _fields_ = tuple((name, c_void_p) for name in ("priv", *MEMBERS))


LOG = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_char_p)
TRANSFER = ctypes.CFUNCTYPE(c_int, c_void_p, POINTER(c_uint8), c_int)
FILTER = ctypes.CFUNCTYPE(None, c_void_p, POINTER(FilterRule), c_int)


def _arguments(call: Call) -> list[Any]:
    arguments: list[Any] = [c_void_p]
    if call.has_id:
        arguments.append(c_uint64)
    if call.header:
        arguments.append(POINTER(call.header))
    if call.has_data:
        arguments += [POINTER(c_uint8), c_int]
    return arguments


def is_available() -> bool:
    """Whether there is something to load, or has to be."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return os.environ.get("USBREDIR_MTP_REQUIRE_ALL") == "1"
    return True


def load() -> ctypes.CDLL:
    """The library; skips the test if there is none, or fails it if everything is required."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        if is_available():
            pytest.fail(f"{LIBRARY} is required here, and not installed")
        pytest.skip(f"{LIBRARY} is not installed")
    library.usbredirparser_create.restype = POINTER(ParserStruct)
    library.usbredirfilter_rules_to_string.restype = c_void_p
    return library


class GuestParser:
    """The library as the usb-guest of one connection.

    Attributes:
        events: All packets it took.
        errors: What it logged as errors.
        warnings: What it logged as warnings.
    """

    def __init__(self, caps: int = DEFAULT_CAPS, version: bytes = b"judge") -> None:
        """Queue the guest's hello. The library adds device_disconnect_ack (8) to `caps` by itself."""
        self.events: list[Event] = []
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self._library = load()
        self._input = bytearray()
        self._output = bytearray()
        self._parser = self._library.usbredirparser_create()
        self._callbacks = self._make_callbacks()
        for name, callback in self._callbacks.items():
            setattr(self._parser.contents, name, ctypes.cast(callback, c_void_p))
        self._library.usbredirparser_init(self._parser, version, (c_uint32 * 1)(caps), 1, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._library.usbredirparser_destroy(self._parser)

    def feed(self, data: Buffer) -> list[Event]:
        """Let it read these bytes; what it took from them. Complaints go to `errors` and `warnings`."""
        before = len(self.events)
        self._input += data
        while self._library.usbredirparser_do_read(self._parser) == PARSE_ERROR or self._input:
            pass
        return self.events[before:]

    def pending_output(self) -> bytes:
        """What it has to say since the last call."""
        assert self._library.usbredirparser_do_write(self._parser) == 0
        output = bytes(self._output)
        self._output.clear()
        return output

    def send(self, name: str, packet_id: int = 0, data: bytes = b"", **fields: int) -> bytes:
        """Send a packet by the library's function for it; its bytes (none if the library refused)."""
        call = CALLS[name]
        arguments: list[Any] = [self._parser]
        if call.has_id:
            arguments.append(c_uint64(packet_id))
        if call.header:
            arguments.append(ctypes.byref(call.header(**fields)))
        if call.has_data:
            arguments += [data or None, c_int(len(data))]
        getattr(self._library, f"usbredirparser_send_{name}")(*arguments)
        return self.pending_output()

    def send_filter(self, rules: Sequence[Rule]) -> bytes:
        """Send filter_filter."""
        array = (FilterRule * len(rules))(*(FilterRule(*rule) for rule in rules))
        self._library.usbredirparser_send_filter_filter(self._parser, array, len(rules))
        return self.pending_output()

    def assert_clean(self) -> None:
        """It never complained."""
        assert not self.errors + self.warnings, self.errors + self.warnings

    def _make_callbacks(self) -> dict[str, Any]:
        callbacks: dict[str, Any] = {
            "log": LOG(self._log),
            "read": TRANSFER(self._read),
            "write": TRANSFER(self._write),
            "filter_filter": FILTER(self._filter),
        }
        for name, call in CALLS.items():
            kind = ctypes.CFUNCTYPE(None, *_arguments(call))
            callbacks[name] = kind(self._recorder(name, call))
        return callbacks

    def _log(self, _priv: int, level: int, message: bytes) -> None:
        if level <= WARNING:
            (self.errors if level == ERROR else self.warnings).append(message.decode())

    def _read(self, _priv: int, target: Any, count: int) -> int:
        piece = bytes(self._input[:count])
        del self._input[:count]
        ctypes.memmove(target, piece, len(piece))
        return len(piece)

    def _write(self, _priv: int, source: Any, count: int) -> int:
        self._output += ctypes.string_at(source, count)
        return count

    def _filter(self, _priv: int, rules: Any, count: int) -> None:
        self.events.append(Event("filter_filter", 0, {"rules": _rule_tuples(rules, count)}, b""))
        self._library.usbredirfilter_free(rules)

    def _recorder(self, name: str, call: Call) -> Callable[..., None]:
        def record(_priv: int, *arguments: Any) -> None:
            rest = list(arguments)
            packet_id = rest.pop(0) if call.has_id else 0
            header = _header_fields(rest.pop(0).contents) if call.header else {}
            data = b""
            if call.has_data:
                pointer, size = rest
                data = ctypes.string_at(pointer, size) if size else b""
                self._library.usbredirparser_free_packet_data(self._parser, pointer)
            self.events.append(Event(name, packet_id, header, data))

        return record


def filter_rules(text: str) -> list[Rule] | None:
    """What the library makes of a filter's text; None if it refuses it."""
    library = load()
    rules, count = POINTER(FilterRule)(), c_int()
    result = library.usbredirfilter_string_to_rules(text.encode(), b",", b"|", ctypes.byref(rules), ctypes.byref(count))
    if result:
        return None
    tuples = _rule_tuples(rules, count.value)
    library.usbredirfilter_free(rules)
    return tuples


def filter_check(rules: Sequence[Rule], device: tuple[int, int, int, int], interfaces: Iterable[Sequence[int]]) -> int:
    """usbredirfilter_check: 0, or a negative errno.

    Args:
        rules: The filter.
        device: Class, vendor, product, version.
        interfaces: Class, subclass and protocol of each.
    """
    rows = [*zip(*interfaces, strict=True)] or [(), (), ()]
    columns = [bytes(row) or None for row in rows]
    device_class, vendor, product, version = device
    array = (FilterRule * len(rules))(*(FilterRule(*rule) for rule in rules))
    count = len(rows[0])
    result: int = load().usbredirfilter_check(
        *(array, len(rules), device_class, 0, 0, *columns, count),
        *(c_uint16(vendor), c_uint16(product), c_uint16(version), 0),
    )
    return result


def _rule_tuples(rules: Any, count: int) -> list[Rule]:
    return [tuple(_header_fields(rules[index]).values()) for index in range(count)]


def _header_fields(header: ctypes.Structure) -> dict[str, Any]:
    values = {name: getattr(header, name) for name, *_type in header._fields_}
    return {name: tuple(value) if isinstance(value, ctypes.Array) else value for name, value in values.items()}
