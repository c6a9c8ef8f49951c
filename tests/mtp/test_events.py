from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbredir_mtp.mtp.codes import EventCode
from usbredir_mtp.mtp.events import Event, EventQueue, Publisher

ADDED, REMOVED, CHANGED = EventCode.OBJECT_ADDED, EventCode.OBJECT_REMOVED, EventCode.OBJECT_INFO_CHANGED
ANEW = [Event(EventCode.STORE_REMOVED, 1), Event(EventCode.STORE_ADDED, 1)]


def queue(limit: int = 1000) -> EventQueue:
    return EventQueue(lambda: ANEW, limit)


def drain(events: EventQueue) -> list[Event]:
    taken: list[Event] = []
    while some := events.take():
        taken += some
    return taken


def put(events: EventQueue, *codes: EventCode, handle: int = 7) -> None:
    for code in codes:
        events.put(Event(code, handle))


def test_an_empty_queue() -> None:
    assert list(queue().take()) == []


def test_order() -> None:
    events = queue()
    expected = [Event(ADDED, 1), Event(REMOVED, 2), Event(EventCode.DEVICE_PROP_CHANGED, 1), Event(CHANGED, 3)]
    for event in expected:
        events.put(event)
    assert len(events) == 4
    assert drain(events) == expected
    assert drain(events) == []


@pytest.mark.parametrize(
    ("codes", "together"),
    [
        ([ADDED, CHANGED], [ADDED]),
        ([ADDED, REMOVED], [REMOVED]),
        ([CHANGED, CHANGED], [CHANGED]),
        ([CHANGED, REMOVED], [REMOVED]),
        ([REMOVED, ADDED], [REMOVED, ADDED]),
        ([REMOVED, ADDED, CHANGED, REMOVED, ADDED], [REMOVED, ADDED]),
        ([REMOVED, ADDED, REMOVED], [REMOVED]),
        ([ADDED, REMOVED, ADDED], [REMOVED, ADDED]),
    ],
)
def test_events_of_one_object_are_one(codes: list[EventCode], together: list[EventCode]) -> None:
    events = queue()
    put(events, *codes)
    assert drain(events) == [Event(code, 7) for code in together]


@given(st.lists(st.sampled_from([ADDED, REMOVED, CHANGED])))
def test_what_is_left_out_changes_nothing(codes: list[EventCode]) -> None:
    """For an initiator that knows the object or not, in whatever state: it ends up with the same."""

    def after(known: bool, events: list[EventCode]) -> tuple[bool, bool]:
        """Whether it thinks that the object is there, and whether it has reason to look at it again."""
        stale = False
        for code in events:
            known = {ADDED: True, REMOVED: False, CHANGED: known}[code]
            stale |= code != REMOVED
        return known, stale and known

    events = queue()
    put(events, *codes)
    short = [event.code for event in drain(events)]
    assert len(short) <= 2
    for known in (False, True):
        assert after(known, short) == after(known, codes)


def test_every_pair_is_in_the_table() -> None:
    for codes in product([ADDED, REMOVED, CHANGED], repeat=4):
        put(queue(), *codes)


def test_what_changed_place_comes_behind_what_it_may_follow_from() -> None:
    events = queue()
    put(events, REMOVED, handle=1)
    put(events, ADDED, handle=2)
    put(events, ADDED, handle=1)
    assert drain(events) == [Event(ADDED, 2), Event(REMOVED, 1), Event(ADDED, 1)]


def test_properties_and_objects_of_the_same_number_are_two() -> None:
    events = queue()
    put(events, ADDED, EventCode.DEVICE_PROP_CHANGED, EventCode.DEVICE_PROP_CHANGED)
    assert drain(events) == [Event(ADDED, 7), Event(EventCode.DEVICE_PROP_CHANGED, 7)]


def test_an_initiator_that_takes_nothing_is_told_to_read_anew() -> None:
    events = queue(limit=10)
    for handle in range(10):
        put(events, ADDED, handle=handle)
    assert len(events) == 10
    put(events, ADDED, handle=10)
    put(events, ADDED, handle=11)
    assert drain(events) == [*ANEW, Event(ADDED, 11)]


def test_clear() -> None:
    events = queue()
    put(events, ADDED)
    events.clear()
    assert drain(events) == []


class Listener:
    def __init__(self) -> None:
        self.heard: list[Event] = []

    def notify(self, event: Event, /) -> None:
        self.heard.append(event)


def test_everybody_but_the_origin_is_told() -> None:
    publisher = Publisher()
    one, other = Listener(), Listener()
    publisher.subscribe(one)
    publisher.subscribe(other)
    publisher.publish([Event(ADDED, 1)], one)
    publisher.publish([Event(ADDED, 2)])
    publisher.unsubscribe(other)
    publisher.publish([Event(ADDED, 3)])
    assert [event.parameter for event in one.heard] == [2, 3]
    assert [event.parameter for event in other.heard] == [1, 2]
