"""What people do with files on a phone: what is there before, and what must have become of it."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from tests.e2e.phone import pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

LOCAL = "seq 20000 >put.txt && touch -d @1200000000 put.txt && : >empty.txt"
"""Makes, in the guest, the files that recipes send."""

SENT = b"".join(b"%d\n" % number for number in range(1, 20001))
"""What put.txt holds."""

SENT_TIME = 1_200_000_000
SHOWN_TIME = 1_000_000_000
"""Modification times in seconds since 1970: of put.txt, and of the host's old.txt."""

DATA = pattern(102_400)
"""What the host's files hold."""

PART = slice(50_000, 53_000)
"""Which of these bytes are read alone; six at its start are overwritten."""

CROWD = 2000
"""Files in the large folder; named crowd-0000.txt and so on."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a recipe.

    Attributes:
        folder: the action's folder on the host.
        shown: what the commands printed in the guest.
        got: what they left there in a file called `out`, if any.
    """

    folder: Path
    shown: str
    got: bytes


@dataclass(frozen=True, slots=True)
class Action:
    """One row of the table.

    Attributes:
        name: of the row, and of the folder on the phone that it works in.
        title: the row's heading.
        prepare: fills the host's folder before the phone is plugged in.
        check: asserts that it is done.
        act: what the host does to the folder once a client is looking.
    """

    name: str
    title: str
    prepare: Callable[[Path], object]
    check: Callable[[Seen], None]
    act: Callable[[Path], object] = lambda _: None


def tree(folder: Path) -> dict[str, bytes]:
    """The files below a folder by path, and its empty folders as "path/": b""."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file():
            found[name] = path.read_bytes()
        elif not any(path.iterdir()):
            found[f"{name}/"] = b""
    return found


def _holds(files: Mapping[str, bytes]) -> Callable[[Path], None]:
    """Makes what `tree` would find."""

    def fill(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                (folder / name).mkdir()
            else:
                (folder / name).write_bytes(files[name])

    return fill


def _leaves(files: Mapping[str, bytes]) -> Callable[[Seen], None]:
    def check(seen: Seen) -> None:
        assert tree(seen.folder) == files

    return check


def _gets(data: bytes) -> Callable[[Seen], None]:
    def check(seen: Seen) -> None:
        assert seen.got == data

    return check


def _shows(*words: str) -> Callable[[Seen], None]:
    def check(seen: Seen) -> None:
        assert set(words) <= set(seen.shown.split())

    return check


def _photo(folder: Path) -> None:
    folder.mkdir()
    Image.linear_gradient("L").resize((1600, 1200)).convert("RGB").save(folder / "photo.jpg")


def _gets_a_thumbnail(seen: Seen) -> None:
    with Image.open(io.BytesIO(seen.got)) as thumbnail:
        assert thumbnail.format == "JPEG"
        assert 0 < thumbnail.height < thumbnail.width < 400


def _old(folder: Path) -> None:
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    os.utime(folder / "old.txt", (SHOWN_TIME, SHOWN_TIME))


def _sends_the_time(seen: Seen) -> None:
    assert (seen.folder / "put.txt").stat().st_mtime == SENT_TIME


def _appears(folder: Path) -> None:
    (folder / "event-new.txt").write_text("new")


def _notices(seen: Seen) -> None:
    assert "event-new.txt" in seen.shown


def _gets_and_leaves(data: bytes, files: Mapping[str, bytes]) -> Callable[[Seen], None]:
    def check(seen: Seen) -> None:
        assert seen.got == data
        assert tree(seen.folder) == files

    return check


def _fill(folder: Path) -> None:
    for number in range(CROWD):
        (folder / f"crowd-{number:04}.txt").write_bytes(b"x" * number)


ACTIONS = {
    action.name: action
    for action in (
        Action("list", "list folders", _holds({"a.txt": b"a", "sub/b.txt": b"b"}), _shows("a.txt", "sub", "b.txt")),
        Action("get", "get a file", _holds({"get.bin": DATA}), _gets(DATA)),
        Action("put", "put a file", _holds({}), _leaves({"put.txt": SENT})),
        Action("replace", "put a file over another", _holds({"put.txt": DATA * 3}), _leaves({"put.txt": SENT})),
        Action("rename", "rename a file", _holds({"old-name.txt": b"a"}), _leaves({"new-name.txt": b"a"})),
        Action("rename-folder", "rename a folder", _holds({"old-box/a": b"a"}), _leaves({"new-box/a": b"a"})),
        Action("move", "move a file", _holds({"moved.txt": b"a", "to/": b""}), _leaves({"to/moved.txt": b"a"})),
        Action(
            "copy",
            "copy a file on the phone",
            _holds({"copied.txt": b"a", "into/": b""}),
            _leaves({"copied.txt": b"a", "into/copied.txt": b"a"}),
        ),
        Action("delete", "delete a file", _holds({"gone.txt": b"a", "b": b"b"}), _leaves({"b": b"b"})),
        Action("delete-folder", "delete a folder", _holds({"gone/in.txt": b"a", "b": b"b"}), _leaves({"b": b"b"})),
        Action("mkdir", "make a folder", _holds({}), _leaves({"made/": b""})),
        Action("thumbnail", "get a thumbnail", _photo, _gets_a_thumbnail),
        Action("time-shown", "see the modification time", _old, _shows(str(SHOWN_TIME))),
        Action("time-sent", "keep the modification time of what is put", _holds({}), _sends_the_time),
        Action("event", "notice a change on the host while looking", _holds({"a": b"a"}), _notices, _appears),
        Action(
            "names",
            "names in any script",
            _holds({"Füße 日本語.txt": b"a"}),
            _gets_and_leaves(b"a", {"Füße 日本語.txt": b"a", "новый é.txt": SENT}),
        ),
        Action(
            "emoji",
            "names with emoji",
            _holds({"song 🎵.txt": b"a"}),
            _gets_and_leaves(b"a", {"song 🎵.txt": b"a", "party 🎉.txt": SENT}),
        ),
        Action("part", "read a part of a file", _holds({"part.bin": DATA}), _gets(DATA[PART])),
        Action(
            "edit",
            "overwrite a part of a file",
            _holds({"edit.bin": DATA}),
            _leaves({"edit.bin": DATA[: PART.start] + b"MIDDLE" + DATA[PART.start + 6 :]}),
        ),
        Action("append", "append to a file", _holds({"end.bin": DATA}), _leaves({"end.bin": DATA + b"MORE"})),
        Action("truncate", "shorten a file", _holds({"long.bin": DATA}), _leaves({"long.bin": DATA[:1000]})),
        Action("save", "save as editors do", _holds({"save.txt": DATA}), _leaves({"save.txt": SENT})),
        Action("get-empty", "get an empty file", _holds({"nothing.txt": b""}), _shows("out:0")),
        Action("put-empty", "put an empty file", _holds({}), _leaves({"empty.txt": b""})),
        Action("large", f"list a folder of {CROWD:,} files", _holds({}), _shows(f"crowd:{CROWD}"), _fill),
    )
}
"""Name -> action, in the order of the table's rows and of the tests."""
