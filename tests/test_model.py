"""Random work by two guests and the host on one export, against a plain model of it.

The usual run takes some 1,500 steps; with USBREDIR_MTP_LONG=1 it is more than 10,000, other ones each time.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.model.replica import Replica
from tests.support.codes import Format, Prop, Rc
from tests.support.initiator import MtpFailure, refused
from tests.support.mtp import Row, parse_date
from tests.support.server import running_server
from tests.support.watching import wait_until_watched

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.initiator import Initiator

    Location = tuple[str, ...]

LONG = os.environ.get("USBREDIR_MTP_LONG") == "1"
EXAMPLES, STEPS = (220, 60) if LONG else (30, 50)

NAMES = st.sampled_from(["a", "b", "A", "é", "日本.txt", "long " * 20])
SIZES = st.sampled_from([0, 1, 499, 500, 1012, 20_000])
TIMES = st.sampled_from(["19991231T235959Z", "20200102T030405+0200", "20380119T031408Z"])
OFFSETS = st.integers(0, 3000)
WHO = st.integers(0, 1)
WHICH = st.integers(0, 1000)
"""One of however many there are."""

FOLDER = None
"""What the model holds for a folder; for a file its content."""

EXISTS = {Rc.ACCESS_DENIED, Rc.INVALID_OBJECT_HANDLE}
"""How an operation ends where something else has the name."""
WITHIN_ITSELF = {Rc.INVALID_PARAMETER, Rc.INVALID_PARENT_OBJECT}


def some_content(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


class World:
    """One server with two guests, for all examples; each example has a folder of its own in the export."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.root = Path(self.stack.enter_context(tempfile.TemporaryDirectory())).resolve()
        server = self.stack.enter_context(running_server([self.root]))
        self.guests = [server.initiator(), server.initiator(transfer=65536)]
        self.numbers = itertools.count()
        wait_until_watched(self.guests[0], self.root)


class Machine(RuleBasedStateMachine):
    """The model: what is at each path below the example's folder, and the handles that MTP promised to keep."""

    world: World

    @initialize()
    def begin(self) -> None:
        name = f"example {next(self.world.numbers)}"
        self.disk = self.world.root / name
        self.disk.mkdir()
        self.model: dict[Location, bytes | None] = {}
        self.handles: dict[Location, int] = {}
        """Of what guests have seen, and the host has not touched since."""
        self.gone: set[int] = set()
        roots = [guest.names()[name] for guest in self.world.guests]
        assert len(set(roots)) == 1
        self.replicas = [Replica(guest, root) for guest, root in zip(self.world.guests, roots, strict=True)]
        for replica in self.replicas:
            replica.names(replica.root)

    def teardown(self) -> None:
        if hasattr(self, "replicas"):
            if sys.exception() is None:
                self.settle()
                for who in (0, 1):
                    self.check(who)
            shutil.rmtree(self.disk)

    # -- choosing -------------------------------------------------------------------------------------------------

    def below(self, path: Location) -> list[Location]:
        """What is at a path and below it."""
        return [each for each in self.model if each[: len(path)] == path]

    def folder(self, which: int) -> Location:
        folders = [(), *(path for path, content in self.model.items() if content is FOLDER)]
        return folders[which % len(folders)]

    def item(self, which: int) -> Location:
        return list(self.model)[which % len(self.model)]

    def file(self, which: int) -> Location:
        files = [path for path, content in self.model.items() if content is not FOLDER]
        return files[which % len(files)]

    def has_files(self) -> bool:
        return any(content is not FOLDER for content in self.model.values())

    def handle(self, who: int, path: Location) -> int:
        """The handle at a path: by a listing, or where there is one, the one that is held."""
        replica = self.replicas[who]
        if path in self.handles and len(path) % 2:
            return self.handles[path]
        handle = replica.root
        for name in path:
            handle = replica.names(handle)[name]
        return handle

    def guest(self, who: int) -> Initiator:
        return self.world.guests[who]

    # -- the model's own work -------------------------------------------------------------------------------------

    def remove(self, path: Location) -> None:
        for each in self.below(path):
            del self.model[each]
            self.gone.add(self.handles.pop(each, 0))

    def shift(self, old: Location, new: Location) -> None:
        for each in self.below(old):
            there = new + each[len(old) :]
            self.model[there] = self.model.pop(each)
            if each in self.handles:
                self.handles[there] = self.handles.pop(each)

    def forget(self, path: Location) -> None:
        """The host did something there: which handle follows is for the watch to find out."""
        for each in [each for each in self.handles if each[: len(path)] == path]:
            del self.handles[each]

    def attempt(self, expected: set[Rc], action: Callable[[], object]) -> bool:
        """An operation succeeds, or ends in one of the responses that the model knows a reason for."""
        code = Rc.OK
        try:
            action()
        except MtpFailure as failure:
            code = Rc(failure.code)
        assert code in (expected or {Rc.OK}), f"{code!r}, not {expected}"
        return not expected

    def obstacles(self, path: Location, folder: Location, new: Location) -> set[Rc]:
        """Why an object cannot be put into a folder under a name."""
        into_itself = new == path or folder[: len(path)] == path
        return (EXISTS if new in self.model else set()) | (WITHIN_ITSELF if into_itself else set())

    # -- what guests do -------------------------------------------------------------------------------------------

    @rule(who=WHO, which=WHICH, name=NAMES)
    def make_folder(self, who: int, which: int, name: str) -> None:
        folder = self.folder(which)
        path, parent = (*folder, name), self.handle(who, folder)
        expected = set() if self.model.get(path, FOLDER) is FOLDER else EXISTS
        if self.attempt(expected, lambda: self.guest(who).make_folder(name, parent)):
            self.model[path] = FOLDER
            self.replicas[who].names(parent)

    @rule(who=WHO, which=WHICH, name=NAMES, size=SIZES, by_list=st.booleans())
    def upload(self, who: int, which: int, name: str, size: int, by_list: bool) -> None:
        folder, guest, content = self.folder(which), self.guest(who), some_content(size)
        path, parent = (*folder, name), self.handle(who, folder)

        def send() -> None:
            if by_list:
                row = Row(0, Prop.FILE_NAME, 0xFFFF, name)
                handle = guest.send_prop_list(parent, Format.UNDEFINED, len(content), row)
                guest.send_object(content)
            else:
                handle = guest.send_file(name, content, parent)
            assert self.handles.get(path, handle) == handle
            self.replicas[who].learn(handle)

        is_there = path in self.model and self.model[path] is FOLDER
        if self.attempt(EXISTS if is_there else set(), send):
            self.model[path] = content

    @rule(who=WHO, which=WHICH, name=NAMES, size=SIZES)
    def torn_upload(self, who: int, which: int, name: str, size: int) -> None:
        """Fewer bytes than were announced: it must be as if nothing had been sent."""
        folder, guest = self.folder(which), self.guest(who)
        parent = self.handle(who, folder)
        with refused(Rc.INCOMPLETE_TRANSFER, *EXISTS):
            row = Row(0, Prop.FILE_NAME, 0xFFFF, name)
            guest.send_prop_list(parent, Format.UNDEFINED, size + 1, row)
            guest.send_object(bytes(size))

    @precondition(lambda self: self.model)
    @rule(who=WHO, which=WHICH, name=NAMES)
    def rename(self, who: int, which: int, name: str) -> None:
        path = self.item(which)
        new = (*path[:-1], name)
        handle = self.handle(who, path)
        expected = EXISTS if new in self.model and new != path else set()
        if self.attempt(expected, lambda: self.guest(who).rename(handle, name)):
            self.moved(who, handle, path, new)

    @precondition(lambda self: self.model)
    @rule(who=WHO, which=WHICH, where=WHICH)
    def move(self, who: int, which: int, where: int) -> None:
        path, folder = self.item(which), self.folder(where)
        new = (*folder, path[-1])
        if new == path:
            return
        handle, parent = self.handle(who, path), self.handle(who, folder)
        if self.attempt(self.obstacles(path, folder, new), lambda: self.guest(who).move(handle, parent)):
            self.moved(who, handle, path, new)

    def moved(self, who: int, handle: int, path: Location, new: Location) -> None:
        if new != path:
            self.shift(path, new)
        self.replicas[who].learn(handle)
        assert self.handle(who, new) == handle

    @precondition(lambda self: 0 < len(self.model) < 40)
    @rule(who=WHO, which=WHICH, where=WHICH)
    def copy(self, who: int, which: int, where: int) -> None:
        path, folder = self.item(which), self.folder(where)
        new = (*folder, path[-1])
        handle, parent = self.handle(who, path), self.handle(who, folder)
        if self.attempt(self.obstacles(path, folder, new), lambda: self.guest(who).copy(handle, parent)):
            self.model |= {new + each[len(path) :]: self.model[each] for each in self.below(path)}
            copy = self.replicas[who].names(parent)[new[-1]]
            assert copy != handle

    @precondition(lambda self: self.model)
    @rule(who=WHO, which=WHICH)
    def delete(self, who: int, which: int) -> None:
        path = self.item(which)
        handle = self.handle(who, path)
        self.guest(who).delete(handle)
        self.remove(path)
        self.replicas[who].removed(handle)
        for guest in self.world.guests:
            with refused(Rc.INVALID_OBJECT_HANDLE):
                guest.object_info(handle)

    @precondition(has_files)
    @rule(who=WHO, which=WHICH, offset=OFFSETS, size=SIZES, cut=st.none() | OFFSETS)
    def edit(self, who: int, which: int, offset: int, size: int, cut: int | None) -> None:
        path, guest = self.file(which), self.guest(who)
        handle, data, content = self.handle(who, path), self.model[path] or b"", some_content(size)
        guest.begin_edit(handle)
        guest.send_partial(handle, offset, content)
        if content:
            data = data.ljust(offset, b"\0")
            data = data[:offset] + content + data[offset + len(content) :]
        if cut is not None:
            guest.truncate(handle, cut)
            data = data[:cut].ljust(cut, b"\0")
        guest.end_edit(handle)
        self.model[path] = data
        self.replicas[who].learn(handle)

    @precondition(has_files)
    @rule(who=WHO, which=WHICH, offset=OFFSETS, size=OFFSETS)
    def read(self, who: int, which: int, offset: int, size: int) -> None:
        path, guest = self.file(which), self.guest(who)
        handle, data = self.handle(who, path), self.model[path] or b""
        assert guest.get_object(handle) == data
        assert guest.get_partial(handle, offset, size) == data[offset : offset + size]
        assert guest.get_partial64(handle, offset, size) == data[offset : offset + size]

    @precondition(has_files)
    @rule(who=WHO, which=WHICH, when=TIMES)
    def set_modified(self, who: int, which: int, when: str) -> None:
        path = self.file(which)
        handle = self.handle(who, path)
        self.guest(who).set_prop_value(handle, Prop.MODIFIED, 0xFFFF, when)
        assert self.disk.joinpath(*path).stat().st_mtime == parse_date(when).timestamp()
        for replica in self.replicas:
            shown = str(replica.mtp.prop_value(handle, Prop.MODIFIED, 0xFFFF))
            assert parse_date(shown) == parse_date(when)
            replica.learn(handle)

    @rule(who=WHO, which=WHICH)
    def list_folder(self, who: int, which: int) -> None:
        """By handles, by their number, and by a property list of it and one level below."""
        path, guest = self.folder(which), self.guest(who)
        folder = self.handle(who, path)
        expected = {each[-1] for each in self.model if each and each[:-1] == path}
        assert guest.num_objects(parent=folder) == len(expected)
        rows = guest.prop_list(folder, prop=Prop.FILE_NAME, depth=1)
        assert [row.handle for row in guest.prop_list(folder, prop=Prop.SIZE, depth=0)] == [folder]
        listed = self.replicas[who].names(folder)
        assert set(listed) == expected
        assert {row.value: row.handle for row in rows if row.handle != folder} == listed

    # -- what the host does ---------------------------------------------------------------------------------------

    @rule(which=WHICH, name=NAMES, size=SIZES)
    def host_writes(self, which: int, name: str, size: int) -> None:
        path = (*self.folder(which), name)
        if self.model.get(path, b"") is not FOLDER:
            self.model[path] = some_content(size)
            self.disk.joinpath(*path).write_bytes(some_content(size))

    @rule(which=WHICH, name=NAMES)
    def host_makes_folder(self, which: int, name: str) -> None:
        path = (*self.folder(which), name)
        if path not in self.model:
            self.disk.joinpath(*path).mkdir()
            self.model[path] = FOLDER

    @precondition(lambda self: self.model)
    @rule(which=WHICH)
    def host_removes(self, which: int) -> None:
        path = self.item(which)
        there = self.disk.joinpath(*path)
        if self.model[path] is FOLDER:
            shutil.rmtree(there)
        else:
            there.unlink()
        self.forget(path)
        self.remove(path)

    @precondition(lambda self: self.model)
    @rule(which=WHICH, where=WHICH, name=NAMES)
    def host_moves(self, which: int, where: int, name: str) -> None:
        path, folder = self.item(which), self.folder(where)
        new = (*folder, name)
        if new in self.model or folder[: len(path)] == path:
            return
        self.disk.joinpath(*path).rename(self.disk.joinpath(*new))
        self.forget(path)
        self.shift(path, new)

    # -- what must hold -------------------------------------------------------------------------------------------

    @invariant()
    def disk_is_the_model(self) -> None:
        if hasattr(self, "replicas"):
            on_disk = {
                path.relative_to(self.disk).parts: FOLDER if path.is_dir() else path.read_bytes()
                for path in self.disk.rglob("*")
            }
            assert on_disk == self.model

    @rule()
    def settle(self) -> None:
        """Once all that has happened was told, each guest knows the truth by what it was told."""
        marker = self.disk / f"marker {next(self.world.numbers)}"
        marker.touch()
        handles = [replica.wait_for(marker.name) for replica in self.replicas]
        marker.unlink()
        for replica, handle in zip(self.replicas, handles, strict=True):
            replica.wait_for_removal(handle)
            replica.check()

    @rule(who=WHO)
    def check(self, who: int) -> None:
        """What a guest is shown is what the model says; handles are what they were."""
        paths: dict[int, Location] = {self.replicas[who].root: ()}
        shown = {}
        for handle, known in self.replicas[who].tree().items():  # folders come before what is in them
            paths[handle] = (*paths[known.parent], known.name)
            shown[paths[handle]] = (known.folder, known.size)
        assert shown == {path: (content is FOLDER, len(content or b"")) for path, content in self.model.items()}
        now = {path: handle for handle, path in paths.items() if path}
        assert {path: now[path] for path in self.handles} == self.handles
        assert not self.gone & set(now.values()), "a handle was used again"
        self.handles = now


@pytest.mark.timeout(900)  # the long run, or a divergence that is made small
def test_no_divergence() -> None:
    world = World()
    with world.stack:
        Machine.world = world
        kind = Machine.TestCase
        kind.settings = settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not LONG,
            suppress_health_check=list(HealthCheck),
        )
        kind("runTest").runTest()
