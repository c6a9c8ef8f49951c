"""What initiators are told without having asked: events, who wants them, and those still on their way to one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple, Protocol

from usbredir_mtp.mtp.codes import EventCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


class Event(NamedTuple):
    """One event; `parameter` is what its code asks for: a handle, a storage or a property (MTP 1.1, appendix G)."""

    code: EventCode
    parameter: int = 0


EVENTS = (
    EventCode.OBJECT_ADDED,
    EventCode.OBJECT_REMOVED,
    EventCode.STORE_ADDED,
    EventCode.STORE_REMOVED,
    EventCode.DEVICE_PROP_CHANGED,
    EventCode.OBJECT_INFO_CHANGED,
    EventCode.DEVICE_INFO_CHANGED,
    EventCode.STORAGE_INFO_CHANGED,
)
"""The events that a responder may send; DeviceInfo lists them."""

MAX_PENDING = 1 << 13
"""Events kept for an initiator that does not take them as fast as they come: beyond that it is told to read everything
anew, which takes less time than the ten seconds in which it would hear of all these."""


class Subscriber(Protocol):
    """Somebody who wants to know."""

    def notify(self, event: Event, /) -> None:
        """Take note; called from any thread, must not block."""


class Publisher:
    """Passes events on to whoever has subscribed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: tuple[Subscriber, ...] = ()

    def subscribe(self, subscriber: Subscriber) -> None:
        """Notify `subscriber` of every event, from any thread, but of those whose `origin` it is itself."""
        with self._lock:
            self._subscribers = (*self._subscribers, subscriber)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Undo `subscribe`."""
        with self._lock:
            self._subscribers = tuple(other for other in self._subscribers if other is not subscriber)

    def publish(self, events: Iterable[Event], origin: object = None) -> None:
        """Tell everybody but `origin`, who made the change."""
        subscribers = self._subscribers
        for event in events:
            for subscriber in subscribers:
                if subscriber is not origin:
                    subscriber.notify(event)


_A, _R, _C = EventCode.OBJECT_ADDED, EventCode.OBJECT_REMOVED, EventCode.OBJECT_INFO_CHANGED

_COALESCED: dict[tuple[tuple[EventCode, ...], EventCode], tuple[EventCode, ...]] = {
    ((_A,), _A): (_A,),
    ((_A,), _C): (_A,),
    ((_A,), _R): (_R,),
    ((_C,), _C): (_C,),
    ((_C,), _R): (_R,),
    ((_C,), _A): (_A,),
    ((_R,), _R): (_R,),
    ((_R,), _A): (_R, _A),
    ((_R,), _C): (_R,),
    ((_R, _A), _A): (_R, _A),
    ((_R, _A), _C): (_R, _A),
    ((_R, _A), _R): (_R,),
}
"""(What an object's pending events say, one more) -> what they say together. A removal is never left out: the
initiator may have learned of the object by a listing."""

_OBJECT_EVENTS = {_A, _R, _C}


class EventQueue:
    """Events on their way to one initiator, in order, those of one object made one; thread-safe.

    Args:
        everything: Gives the events that make an initiator read everything anew.
        limit: How many subjects may be pending before these take their place.
    """

    def __init__(self, everything: Callable[[], Sequence[Event]], limit: int = MAX_PENDING) -> None:
        self._everything = everything
        self._limit = limit
        self._lock = threading.Lock()
        self._pending: dict[tuple[EventCode | None, int], tuple[EventCode, ...]] = {}

    def put(self, event: Event) -> None:
        """Add an event."""
        key = (None if event.code in _OBJECT_EVENTS else event.code, event.parameter)
        with self._lock:
            before = self._pending.get(key)
            if before is None:
                self._pending[key] = (event.code,)
            elif key[0] is None and (after := _COALESCED[before, event.code]) != before:
                # To the end: it may follow from what came meanwhile, such as the folder it was moved to.
                del self._pending[key]
                self._pending[key] = after
            overflow = len(self._pending) > self._limit
        if overflow:
            self._start_anew()

    def take(self) -> Sequence[Event]:
        """The events of the first subject, in order; none if nothing is pending."""
        with self._lock:
            if not self._pending:
                return ()
            key = next(iter(self._pending))
            return [Event(code, key[1]) for code in self._pending.pop(key)]

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._pending.clear()

    def __len__(self) -> int:
        return len(self._pending)

    def _start_anew(self) -> None:
        events = self._everything()
        with self._lock:
            self._pending = {(event.code, event.parameter): (event.code,) for event in events}
