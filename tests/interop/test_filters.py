"""Filters against libusbredirparser's own functions."""

from __future__ import annotations

from dataclasses import astuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.interop import libusbredirparser as lib
from usbredir_mtp.protocol.errors import FilterError
from usbredir_mtp.protocol.filters import FilterRule, explain_reject, parse_filter
from usbredir_mtp.protocol.packets import DeviceConnect, InterfaceInfo

pytestmark = pytest.mark.interop

untimed = settings(max_examples=400, deadline=None)

numbers = st.sampled_from(["-1", "0", "1", "0x06", "6", "010", "255", "256", "0xffff", "65536", "-2", " 3", "+4", "1 "])
rules = st.lists(numbers, min_size=4, max_size=6).map(",".join)
texts = st.one_of(
    st.lists(rules, max_size=4).map("|".join),
    st.lists(st.lists(numbers, min_size=5, max_size=5).map(",".join), max_size=3).map("|".join),
    st.text("0123456789abxX,|+- \t", max_size=24),
)


@untimed
@given(texts)
def test_parsing(text: str) -> None:
    try:
        parsed = [tuple(int(value) for value in astuple(rule)) for rule in parse_filter(text)]
    except FilterError:
        parsed = None
    judged = lib.filter_rules(text)
    assert parsed == (judged and [(*rule[:4], int(rule[4] != 0)) for rule in judged])


few_classes = st.sampled_from([0x00, 0x03, 0x06, 0xEF])
any_or_few = st.sampled_from([-1, 0, 3, 6])
any_or_one = st.sampled_from([-1, -1, 1, 2])
some_rules = st.lists(
    st.builds(FilterRule, any_or_few, any_or_one, any_or_one, any_or_one, allow=st.booleans()),
    max_size=5,
)
some_interfaces = st.lists(st.tuples(few_classes, st.sampled_from([0, 1]), st.sampled_from([0, 1])), max_size=4)


@untimed
@given(some_rules, few_classes, some_interfaces)
def test_checking(filter_: list[FilterRule], device_class: int, interfaces: list[tuple[int, int, int]]) -> None:
    judged = lib.filter_check(
        [
            (*(int(value) for value in astuple(rule)),)  # type: ignore[misc]  # five integers
            for rule in filter_
        ],
        (device_class, 1, 1, 1),
        interfaces,
    )
    columns = tuple(zip(*interfaces, strict=True)) or ((), (), ())
    info = InterfaceInfo(tuple(range(len(interfaces))), *columns)
    device = DeviceConnect(2, device_class, 0, 0, 1, 1, 1)
    explained = explain_reject(filter_, device, info)
    assert (explained is None) == (judged == 0)
