"""Random work by two guests and the host on one export, against a plain model of it.

The usual run takes some 1,500 steps; with USBREDIR_MTP_LONG=1 it is more than 10,000.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.support.codes import ALL, Prop
from tests.support.initiator import MtpFailure
from tests.support.server import running_server

if TYPE_CHECKING:
    from collections.abc import Callable

    Location = tuple[str, ...]

LONG = os.environ.get("USBREDIR_MTP_LONG") == "1"
EXAMPLES, STEPS = (220, 60) if LONG else (30, 50)

NAMES = st.sampled_from(["a", "b", "A", "é", "日本.txt", "long " * 20])
CONTENTS = st.sampled_from([b"", b"x", b"y" * 500, bytes(range(250)) * 2, b"z" * 1012, b"w" * 20_000])
WHO = st.integers(0, 1)
WHICH = st.integers(0, 1000)
"""One of however many there are."""

FOLDER = None
"""What the model holds for a folder; for a file its content."""


class World:
    """One server with two guests, for all examples; each example has a folder of its own in the export."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.root = Path(self.stack.enter_context(tempfile.TemporaryDirectory())).resolve()
        server = self.stack.enter_context(running_server([self.root]))
        self.guests = [server.initiator(), server.initiator(transfer=65536)]
        self.numbers = itertools.count()


class Machine(RuleBasedStateMachine):
    """The model: what is at each path below the example's folder, and the handles that MTP promised to keep."""

    world: World

    @initialize()
    def begin(self) -> None:
        self.name = f"example {next(self.world.numbers)}"
        self.disk = self.world.root / self.name
        self.disk.mkdir()
        self.model: dict[Location, bytes | None] = {}
        self.handles: dict[Location, int] = {}
        """Of what guests have seen, and the host has not touched since."""
        self.gone: set[int] = set()
        self.roots = [guest.names()[self.name] for guest in self.world.guests]
        assert len(set(self.roots)) == 1

    def teardown(self) -> None:
        if hasattr(self, "disk"):
            for who in (0, 1):
                self.check(who)
            shutil.rmtree(self.disk)

    # -- choosing -------------------------------------------------------------------------------------------------

    def folder(self, which: int) -> Location:
        folders = [(), *(path for path, content in self.model.items() if content is FOLDER)]
        return folders[which % len(folders)]

    def item(self, which: int) -> Location:
        return list(self.model)[which % len(self.model)]

    def file(self, which: int) -> Location:
        files = [path for path, content in self.model.items() if content is not FOLDER]
        return files[which % len(files)]

    def handle(self, who: int, path: Location) -> int:
        handle = self.roots[who]
        for name in path:
            handle = self.world.guests[who].names(handle)[name]
        return handle

    # -- the model's own work -------------------------------------------------------------------------------------

    def remove(self, path: Location) -> None:
        for each in [each for each in self.model if each[: len(path)] == path]:
            del self.model[each]
            self.gone.add(self.handles.pop(each, 0))

    def shift(self, old: Location, new: Location) -> None:
        for each in [each for each in self.model if each[: len(old)] == old]:
            there = new + each[len(old) :]
            self.model[there] = self.model.pop(each)
            if each in self.handles:
                self.handles[there] = self.handles.pop(each)

    def forget(self, path: Location) -> None:
        """The host did something there: which handle follows is for the watch to find out."""
        for each in [each for each in self.handles if each[: len(path)] == path]:
            del self.handles[each]

    def attempt(self, possible: bool, action: Callable[[], object]) -> bool:
        """An operation succeeds if and only if it is possible."""
        refusal: MtpFailure | None = None
        try:
            action()
        except MtpFailure as failure:
            refusal = failure
        assert possible is (refusal is None), refusal or "not refused"
        return possible

    # -- what guests do -------------------------------------------------------------------------------------------

    @rule(who=WHO, which=WHICH, name=NAMES)
    def make_folder(self, who: int, which: int, name: str) -> None:
        folder = self.folder(which)
        path = (*folder, name)
        parent = self.handle(who, folder)
        possible = self.model.get(path, FOLDER) is FOLDER
        if self.attempt(possible, lambda: self.world.guests[who].make_folder(name, parent)):
            self.model[path] = FOLDER

    @rule(who=WHO, which=WHICH, name=NAMES, content=CONTENTS)
    def upload(self, who: int, which: int, name: str, content: bytes) -> None:
        folder = self.folder(which)
        path = (*folder, name)
        parent = self.handle(who, folder)
        possible = path not in self.model or self.model[path] is not FOLDER
        if self.attempt(possible, lambda: self.world.guests[who].send_file(name, content, parent)):
            self.model[path] = content

    @precondition(lambda self: self.model)
    @rule(who=WHO, which=WHICH, name=NAMES)
    def rename(self, who: int, which: int, name: str) -> None:
        path = self.item(which)
        new = (*path[:-1], name)
        handle = self.handle(who, path)
        possible = new == path or new not in self.model
        if self.attempt(possible, lambda: self.world.guests[who].rename(handle, name)) and new != path:
            self.shift(path, new)
            assert self.handle(who, new) == handle

    @precondition(lambda self: self.model)
    @rule(who=WHO, which=WHICH, where=WHICH)
    def move(self, who: int, which: int, where: int) -> None:
        path, folder = self.item(which), self.folder(where)
        new = (*folder, path[-1])
        if new == path:
            return
        handle, parent = self.handle(who, path), self.handle(who, folder)
        possible = new not in self.model and folder[: len(path)] != path
        if self.attempt(possible, lambda: self.world.guests[who].move(handle, parent)):
            self.shift(path, new)
            assert self.handle(who, new) == handle

    @precondition(lambda self: 0 < len(self.model) < 40)
    @rule(who=WHO, which=WHICH, where=WHICH)
    def copy(self, who: int, which: int, where: int) -> None:
        path, folder = self.item(which), self.folder(where)
        new = (*folder, path[-1])
        handle, parent = self.handle(who, path), self.handle(who, folder)
        possible = new not in self.model and folder[: len(path)] != path
        if self.attempt(possible, lambda: self.world.guests[who].copy(handle, parent)):
            below = [each for each in self.model if each[: len(path)] == path]
            self.model |= {new + each[len(path) :]: self.model[each] for each in below}

    @precondition(lambda self: self.model)
    @rule(who=WHO, which=WHICH)
    def delete(self, who: int, which: int) -> None:
        path = self.item(which)
        handle = self.handle(who, path)
        self.world.guests[who].delete(handle)
        self.remove(path)
        for guest in self.world.guests:
            with pytest.raises(MtpFailure):
                guest.object_info(handle)

    @precondition(lambda self: any(content is not FOLDER for content in self.model.values()))
    @rule(who=WHO, which=WHICH, offset=st.integers(0, 3000), content=CONTENTS, size=st.none() | st.integers(0, 3000))
    def edit(self, who: int, which: int, offset: int, content: bytes, size: int | None) -> None:
        path = self.file(which)
        guest, handle = self.world.guests[who], self.handle(who, path)
        data = self.model[path] or b""
        guest.begin_edit(handle)
        guest.send_partial(handle, offset, content)
        if content:
            data = data.ljust(offset, b"\0")
            data = data[:offset] + content + data[offset + len(content) :]
        if size is not None:
            guest.truncate(handle, size)
            data = data[:size].ljust(size, b"\0")
        guest.end_edit(handle)
        self.model[path] = data

    @precondition(lambda self: any(content is not FOLDER for content in self.model.values()))
    @rule(who=WHO, which=WHICH, offset=st.integers(0, 3000), size=st.integers(0, 3000))
    def read(self, who: int, which: int, offset: int, size: int) -> None:
        path = self.file(which)
        guest, handle, data = self.world.guests[who], self.handle(who, path), self.model[path] or b""
        assert guest.get_object(handle) == data
        assert guest.get_partial(handle, offset, size) == data[offset : offset + size]

    # -- what the host does ---------------------------------------------------------------------------------------

    @rule(which=WHICH, name=NAMES, content=CONTENTS)
    def host_writes(self, which: int, name: str, content: bytes) -> None:
        path = (*self.folder(which), name)
        if self.model.get(path, b"") is not FOLDER:
            self.disk.joinpath(*path).write_bytes(content)
            self.model[path] = content

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

    @rule(who=WHO)
    def check(self, who: int) -> None:
        """The disk, and what a guest is shown of it, are what the model says; handles are what they were."""
        on_disk = {
            path.relative_to(self.disk).parts: FOLDER if path.is_dir() else path.read_bytes()
            for path in self.disk.rglob("*")
        }
        assert on_disk == self.model
        shown = self.listing(who)
        sizes = {path: len(content or b"") for path, content in self.model.items()}
        assert {path: size for path, (_, size) in shown.items()} == sizes
        now = {path: handle for path, (handle, _) in shown.items()}
        assert {path: now[path] for path in self.handles} == self.handles
        assert not self.gone & set(now.values()), "a handle was used again"
        self.handles = now

    def listing(self, who: int) -> dict[Location, tuple[int, int]]:
        """Handle and size by path, from one property list of everything below the example's folder."""
        guest, root = self.world.guests[who], self.roots[who]
        found: dict[int, dict[int, int | str]] = {}
        for row in guest.prop_list(root, depth=ALL):
            assert isinstance(row.value, int | str)
            found.setdefault(row.handle, {})[row.prop] = row.value
        paths: dict[int, Location] = {root: ()}
        listed = {}
        for handle, values in found.items():  # folders come before what is in them
            if handle != root:
                paths[handle] = (*paths[int(values[Prop.PARENT])], str(values[Prop.FILE_NAME]))
                listed[paths[handle]] = (handle, int(values[Prop.SIZE]))
        return listed


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
