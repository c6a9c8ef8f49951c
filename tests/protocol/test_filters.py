from __future__ import annotations

import pytest

from usbredir_mtp.protocol.errors import FilterError, ProtocolError
from usbredir_mtp.protocol.filters import FilterRule, explain_reject, parse_filter
from usbredir_mtp.protocol.packets import DeviceConnect, InterfaceInfo

PHONE = DeviceConnect(2, 0, 0, 0, 0x1D6B, 0x0104, 0x0100)
MTP = InterfaceInfo((0,), (6,), (1,), (1,))
DENY_ALL = FilterRule(-1, -1, -1, -1, allow=False)


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("", []),
        ("||", []),
        ("0x06,-1,-1,-1,1", [FilterRule(6, -1, -1, -1, allow=True)]),
        ("6,0x1d6b,0x0104,256,0", [FilterRule(6, 0x1D6B, 0x104, 0x100, allow=False)]),
        ("010, 1,+1,-1,5", [FilterRule(8, 1, 1, -1, allow=True)]),
        (",-1,,-1,-1,-1,0,|", [DENY_ALL]),
        ("255,65535,65535,65535,-1", [FilterRule(255, 65535, 65535, 65535, allow=True)]),
        ("-1,-1,-1,-1,0|-1,-1,-1,-1,00|", [DENY_ALL, DENY_ALL]),
    ],
)
def test_parse(text: str, rules: list[FilterRule]) -> None:
    assert parse_filter(text) == rules


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,3,4", "five values, not 4"),
        ("1,2,3,4,1,1", "five values, not 6"),
        ("256,-1,-1,-1,1", "device_class is out of range"),
        ("-2,-1,-1,-1,1", "device_class is out of range"),
        ("-1,65536,-1,-1,1", "vendor_id is out of range"),
        ("-1,-1,0x10000,-1,1", "product_id is out of range"),
        ("-1,-1,-1,65536,1", "device_version_bcd is out of range"),
        ("-1,-1,-1,-1,4294967296", "out of range"),
        ("all,-1,-1,-1,1", "not a number: 'all'"),
        ("0x,-1,-1,-1,1", "not a number"),
        ("08,-1,-1,-1,1", "not a number"),
        ("1_0,-1,-1,-1,1", "not a number"),
        (" ,-1,-1,-1,1", "not a number"),
        ("1 ,-1,-1,-1,1", "not a number"),
        ("1\n,-1,-1,-1,1", "not a number"),
        ("\N{ARABIC-INDIC DIGIT ONE},-1,-1,-1,1", "not a number"),
    ],
)
def test_no_filter(text: str, message: str) -> None:
    with pytest.raises(FilterError, match=message) as caught:
        parse_filter(text)
    assert isinstance(caught.value, ProtocolError)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0x06,-1,-1,-1,1", None),
        ("-1,0x1d6b,0x0104,0x0100,1|-1,-1,-1,-1,0", None),
        ("8,-1,-1,-1,1", "No rule of the peer's filter allows interface class 0x06 of 1d6b:0104."),
        ("", "No rule of the peer's filter allows interface class 0x06 of 1d6b:0104."),
        ("-1,0x1d6c,-1,-1,1", "No rule of the peer's filter allows interface class 0x06 "),
        ("-1,-1,0x0105,-1,1", "No rule of the peer's filter allows interface class 0x06 "),
        ("-1,-1,-1,0x0101,1", "No rule of the peer's filter allows interface class 0x06 "),
        (
            "8,-1,-1,-1,1|6,-1,-1,-1,0|-1,-1,-1,-1,1",
            "Rule 2 of the peer's filter (6,-1,-1,-1,0) denies interface class 0x06 of 1d6b:0104.",
        ),
    ],
)
def test_explain(text: str, reason: str | None) -> None:
    explained = explain_reject(parse_filter(text), PHONE, MTP)
    assert explained == reason or (explained and reason and explained.startswith(reason))


def test_the_devices_own_class_is_checked_first() -> None:
    device = DeviceConnect(2, 6, 1, 1, 0x1D6B, 0x0104)
    rules = parse_filter("6,-1,-1,-1,0|-1,-1,-1,-1,1")
    explained = explain_reject(rules, device, InterfaceInfo((), (), (), ()))
    assert explained
    assert "(6,-1,-1,-1,0) denies device class 0x06" in explained
    composite = DeviceConnect(2, 0xEF, 2, 1, 0x1D6B, 0x0104)
    assert explain_reject(rules, composite, InterfaceInfo((0,), (8,), (6,), (0x50,))) is None


def test_a_headsets_keys_are_not_checked() -> None:
    rules = parse_filter("3,-1,-1,-1,0|-1,-1,-1,-1,1")
    headset = InterfaceInfo((0, 1), (1, 3), (1, 0), (0, 0))
    keyboard = InterfaceInfo((0, 1), (1, 3), (1, 1), (0, 1))
    keys_only = InterfaceInfo((0, 1), (3, 3), (0, 0), (0, 0))
    assert explain_reject(rules, PHONE, headset) is None
    assert explain_reject(rules, PHONE, keyboard)
    assert explain_reject(rules, PHONE, keys_only)
    assert explain_reject(rules, PHONE, InterfaceInfo((0,), (3,), (0,), (0,)))
