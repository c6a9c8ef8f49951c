"""What one initiator knows of a folder: from listings, its own operations, and the events that it is sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.codes import ALL, Ev, Format, Prop, Rc
from tests.support.initiator import MtpFailure

if TYPE_CHECKING:
    from tests.support.initiator import Event, Initiator


@dataclass(slots=True, frozen=True)
class Known:
    """What is known of an object."""

    parent: int
    name: str
    size: int
    folder: bool


@dataclass(slots=True)
class Replica:
    """An initiator that lists folders, and goes by events from then on.

    Attributes:
        mtp: The initiator.
        root: The folder's handle.
        known: The objects below it by handle.
        listed: The folders whose children are all known.
        gone: Handles of what was removed; they must never come again.
        story: What it was told and has asked, to be read when something went wrong.
    """

    mtp: Initiator
    root: int
    known: dict[int, Known] = field(default_factory=dict)
    listed: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    story: list[str] = field(default_factory=list, repr=False)

    # -- asking ---------------------------------------------------------------------------------------------------

    def names(self, folder: int) -> dict[str, int]:
        """List a folder: the handles of its children by name."""
        handles = self.mtp.object_handles(parent=folder)
        for handle in [handle for handle in self._children(folder) if handle not in handles]:
            self.forget(handle)
        for handle in handles:
            self.learn(handle)
        self.listed.add(folder)
        self.story.append(f"listed {folder}: {handles}")
        return {self.known[handle].name: handle for handle in handles}

    def tree(self) -> dict[int, Known]:
        """List everything at once, by one property list."""
        found: dict[int, dict[int, int | str]] = {}
        for row in self.mtp.prop_list(self.root, depth=ALL):
            assert isinstance(row.value, int | str)
            found.setdefault(row.handle, {})[row.prop] = row.value
        del found[self.root]
        self.known = {handle: _known(values) for handle, values in found.items()}
        self.listed = {self.root, *(handle for handle, known in self.known.items() if known.folder)}
        assert not self.gone & set(self.known), "a handle was used again"
        self.story.append(f"listed all: {self.known}")
        return self.known

    def learn(self, handle: int) -> None:
        """Ask for an object's attributes, and for the folders above it where they are not known."""
        if handle == self.root:
            return
        info = self._ask(handle)
        self.story.append(f"{handle} is {info}")
        if info is None or (info.parent != self.root and info.parent not in self.known and not self._find(info.parent)):
            self.forget(handle)
            return
        assert handle not in self.gone, f"handle {handle} was used again"
        self.known[handle] = info

    def _find(self, folder: int) -> bool:
        if folder:
            self.learn(folder)
        return folder in self.known

    def _ask(self, handle: int) -> Known | None:
        try:
            info = self.mtp.object_info(handle)
        except MtpFailure as failure:
            if failure.code != Rc.INVALID_OBJECT_HANDLE:
                raise
            return None
        return Known(info.parent, info.name, info.size, info.format == Format.FOLDER)

    def _children(self, folder: int) -> list[int]:
        return [handle for handle, known in self.known.items() if known.parent == folder]

    # -- hearing --------------------------------------------------------------------------------------------------

    def forget(self, handle: int) -> None:
        """An object is not where it was, nor is what was in it."""
        for child in self._children(handle):
            self.forget(child)
        self.known.pop(handle, None)
        self.listed.discard(handle)

    def removed(self, handle: int) -> None:
        """An object was deleted, for good, with all that was in it."""
        for child in self._children(handle):
            self.removed(child)
        self.gone.add(handle)
        self.forget(handle)

    def take(self, event: Event) -> None:
        """Do what an initiator does on an event."""
        self.story.append(f"told {Ev(event.code).name} {event.params}")
        handle = event.params[0]
        match event.code:
            case Ev.OBJECT_ADDED:
                self.learn(handle)
            case Ev.OBJECT_REMOVED:
                self.forget(handle)  # which may be a move: its addition follows
            case Ev.OBJECT_INFO_CHANGED if handle in self.known:
                self.learn(handle)

    def wait_for(self, name: str) -> int:
        """Take events until one tells of an object of that name in the root; its handle."""
        while not (found := [handle for handle in self._children(self.root) if self.known[handle].name == name]):
            self.take(self.mtp.wait_event())
        return found[0]

    def wait_for_removal(self, handle: int) -> None:
        """Take events until one says that an object is gone.

        It comes after all that was told together with the object's coming, and whose order is anybody's guess.
        """
        while handle in self.known:
            self.take(self.mtp.wait_event())

    # -- judging --------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """What is known is the truth, and in folders that were listed it is the whole truth.

        Raises:
            AssertionError: An event was missing, or told what is not so.
        """
        now = {handle: self._ask(handle) for handle in self.known}
        assert now == self.known, "\n".join(self.story)
        known = {folder: set(self._children(folder)) for folder in self.listed}
        held = {folder: set(self.mtp.object_handles(parent=folder)) for folder in self.listed}
        assert held == known, "\n".join(self.story)


def _known(values: dict[int, int | str]) -> Known:
    is_folder = values[Prop.FORMAT] == Format.FOLDER
    return Known(int(values[Prop.PARENT]), str(values[Prop.FILE_NAME]), int(values[Prop.SIZE]), is_folder)
