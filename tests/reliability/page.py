"""Makes docs/reliability.md of what the tests have measured: python -m tests.reliability.page."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.reliability.figures import load
from tests.reliability.fuzz import FUNCTIONS
from tests.reliability.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.reliability.figures import Figure

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"

_HEAD = """# What it withstands

Made by `python -m tests.reliability.page` of what the tests in `tests/reliability` and `tests/e2e` have measured.
"""
_CANCELLED = ("downloads cancelled", "uploads of a new file cancelled", "uploads in place of a file cancelled")
_TIMES = ("median", "at most")
_SIZES = ("4 GiB - 1", "4 GiB", "4 GiB + 1", "64 GiB")
_LAST_CELL = re.compile(r"^\|.*\| (.+) \|$", re.MULTILINE)


class Promise(NamedTuple):
    """One row.

    Attributes:
        text: What is promised.
        test: How it is tested, and where.
        figures: The names of the figures that tell of it.
    """

    text: str
    test: str
    figures: tuple[str, ...]


PROMISES: dict[str, list[Promise]] = {
    "Bad input": [
        Promise(
            "Whatever a guest sends, nothing comes of it but the documented errors, and memory stays flat.",
            "Sessions recorded in QEMU and datasets of every kind, with bytes flipped, cut, spliced and numbers "
            "replaced, go to every decoder, which may need no more than 1 MiB for one of them and keep no more than "
            "64 KiB after all (`test_fuzz.py`; an hour by `python -m tests.reliability.fuzz`).",
            tuple(f"{name}, inputs" for name in TARGETS),
        ),
        Promise(
            "A guest that sends nonsense neither ends the server nor keeps the next guest from working.",
            "Recorded sessions go, broken, to the whole server but for its sockets, and so do transactions at random; "
            "a new guest has to be served after each (`test_fuzz.py`).",
            tuple(f"{name}, inputs" for name in FUNCTIONS),
        ),
        Promise(
            "It makes no difference how the network cuts a session into pieces.",
            "Every recorded session is cut in two at every byte, and goes to the whole server byte by byte and with "
            "every packet cut at every depth: not a byte of the answer may differ (`test_splits.py`).",
            ("recorded sessions", "places at which they were cut"),
        ),
        Promise(
            "A length, count or size that is a lie is refused before anything is allocated for it.",
            "At every place of every packet and dataset where there is one, it is replaced by larger ones; at all "
            "other places by the largest there is (`test_claims.py`).",
            ("lies told", "KiB that one of them cost, at most", "ms that one of them took, at most"),
        ),
        Promise(
            "A guest that breaks the protocol loses its connection with one line in the log; others notice nothing.",
            "Each way to break it is tried while another guest is in the middle of a download (`test_violations.py`).",
            ("ways to break the protocol",),
        ),
        Promise(
            "No name leads out of the shared folder; names that are only strange stay as they were given.",
            "Hostile names go through everything that takes one, and objects that bear them are moved and copied; "
            "all that lies in and beside the folder is compared after each (`test_hostile_names.py`).",
            ("hostile names", "of them refused", "of them kept as they were given"),
        ),
    ],
    "The export is a wall": [
        Promise(
            "No symbolic link, whenever it is put in the place of a folder or file, leads out of the shared folder.",
            "Another process swaps every component of the paths for links to their like outside as fast as it can, "
            "while the folder is read and changed in every way; what comes from outside would be recognised, and what "
            "is outside is compared (`test_swaps.py`; a million times by `python -m tests.reliability.swaps`).",
            ("uses of an export under attack", "of them that came through", "swaps of a link meanwhile"),
        ),
    ],
    "Faults": [
        Promise(
            "A server that is killed in the middle of an upload leaves the old file or the new one, never a mixture; "
            "what it had of the new one is removed after the next start.",
            "The program is killed while it takes an upload: at random moments, and at every system call of an upload; "
            "nothing half done may be left once it has been started again (`test_kill.py`).",
            (
                "points at which the server was killed",
                "of them with the new file in place",
                "system calls of an upload at each of which it was killed",
            ),
        ),
        Promise(
            "Where the host's disk fails, the guest is told what is the matter, and what was there stays; with "
            "`--fsync` an upload is on the disk before the guest hears that it is done.",
            "ENOSPC, EDQUOT, EIO, EROFS and EACCES at every system call of an upload, likewise of a download, and a "
            "small disk that gets full (`test_disk.py`).",
            (
                "errors of the disk",
                "system calls of an upload that failed with each",
                "system calls of a download that failed",
            ),
        ),
        Promise(
            "A guest that is gone, at whatever moment and in whatever way, leaves nothing behind: no descriptor, "
            "thread or task.",
            "Connections are reset, closed and half closed in every state, with another guest served meanwhile "
            "(`test_peers.py`).",
            (
                "connections that ended badly",
                "states in which they did",
                "ms until another guest had its file, at most",
            ),
        ),
        Promise(
            "A guest that no longer reads costs at most 8 MiB.",
            "One that stops reading, and goes on asking until nothing more is taken (`test_peers.py`).",
            (
                "MiB that it costs in a download",
                "MiB that it costs in an upload",
                "MiB that it costs while it asks for descriptors",
                "MiB that it costs while it asks for listings",
                "MiB that it costs while it only asks",
            ),
        ),
        Promise(
            "A file that changes on the host while a guest reads it is never mixed with the one that takes its place, "
            "and what is missing is said.",
            "It is cut, extended, replaced, moved and removed at several points of a download (`test_changing.py`).",
            ("ways to change a file that is being read", "points in a download at which each was tried"),
        ),
        Promise(
            "Storage that takes its time holds up nobody but who waits for it, and who waits can give up.",
            "System calls do not return until other guests have done their work and the one that waits has cancelled "
            "(`test_slow.py`).",
            ("system calls that took their time", "ms by which the event loop was late meanwhile, at most"),
        ),
        Promise(
            "A guest that gives a transfer up is in step again at once, wherever it did so.",
            "Downloads and uploads are cancelled at places by chance, by the class request and by taking back "
            "transfers; the next transaction has to be right, and nothing of a cancelled upload may be left "
            "(`test_cancel.py`).",
            (
                *(name for what in _CANCELLED for name in (what, *(f"ms until in step, {n} ({what})" for n in _TIMES))),
                "transfers of a download taken back",
                "transfers of an upload taken back",
            ),
        ),
        Promise(
            "Guests see what is on the disk in the end, whatever becomes of the watch or the folder.",
            "Threads of the watch are ended, its queue overflows, and the folder is removed, moved, replaced, mounted "
            "over and unmounted; the view of a guest that goes by events only is compared (`test_watching.py`).",
            ("events that a queue overflowed with",),
        ),
        Promise(
            "What is running when the program is told to end, or an export to go, ends first, within `--grace`.",
            "Signals in the middle of uploads and downloads, which go on, or do not (`test_grace.py`).",
            ("s until a device was unplugged in the middle of an upload, with --grace 1",),
        ),
        Promise(
            "Whatever becomes of the virtual machine in the middle of a transfer, the server goes on, a file is the "
            "old one or the new one, and the phone works again.",
            "In QEMU, with a download and an upload under way: the guest is paused, saved as a snapshot, reset, and "
            "migrated; devices are taken out and put in; the server and QEMU are killed. A pause does not end the "
            "transfers. QEMU 7.2 itself may refuse or die when it loads a snapshot while a phone is, or in the "
            "snapshot was, in the middle of a transfer, and after one was saved there the phone may have to be put "
            "in anew; all that it asks for is answered nevertheless (`test_faults.py`, `test_crash.py`).",
            (
                "s until phones that QEMU has plugged in again are there",
                "s until the phones of a killed server are there again",
            ),
        ),
    ],
    "Load": [
        Promise(
            "Many guests, with much to do at the same time, get what is theirs; memory does not grow without end, and "
            "nothing is left of guests that have gone.",
            "Each puts, gets, lists, renames, moves, copies, edits and deletes files of its own and takes events, and "
            "the host changes files too; every hash is compared, and threads and descriptors are counted "
            "(`test_crowd.py`; an hour by `python -m tests.reliability.crowd`).",
            (
                "guests at once",
                "seconds that they worked",
                "operations of theirs",
                "files whose hashes were compared",
                "events that they were sent",
                "MiB of memory after the first third of the time",
                "% by which it has grown at the end",
            ),
        ),
        Promise(
            "More changes than can be told one by one are told nevertheless: as the advice to read everything anew.",
            "Many files are made and removed as fast as the host can, and the view of a guest that goes by events only "
            "is compared (`test_burst.py`).",
            (
                "files created at once",
                "s from then until a guest shows them all",
                "s from their removal until it shows none",
            ),
        ),
        Promise(
            "Sizes at which some number has no more bits are no limit.",
            "Sparse files, read and written at their ends and on both sides of such places; those about 4 GiB from "
            "beginning to end in the long run (`test_edges.py`).",
            tuple(f"bytes compared around the edges of a file of {name}" for name in _SIZES),
        ),
    ],
}
"""Section -> its rows."""


def page(figures: Mapping[str, Figure]) -> str:
    """The whole page, given the figures of all promises."""
    lines = [_HEAD]
    for title, promises in PROMISES.items():
        lines += [f"## {title}", "", "| Promise | How it is tested | Figures |", "|---|---|---|"]
        for promise in promises:
            told = "<br>".join(f"{name}: {_shown(figures[name])}" for name in promise.figures)
            lines.append(f"| {promise.text} | {promise.test} | {told} |")
        lines.append("")
    return "\n".join(lines)


def shown_figures(text: str) -> dict[str, str]:
    """The figures that a page tells, as it shows them."""
    told = [each.rpartition(": ") for cell in _LAST_CELL.findall(text) for each in cell.split("<br>")]
    return {name: value for name, colon, value in told if colon}


def _shown(value: Figure) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}"


def main() -> None:
    """Writes the page, if there is every figure for it."""
    figures = load()
    wanted = [name for promises in PROMISES.values() for promise in promises for name in promise.figures]
    missing = [name for name in wanted if name not in figures]
    if missing:
        sys.exit(f"not measured yet: {', '.join(missing)}")
    PAGE.write_text(page(figures), "utf-8")


if __name__ == "__main__":
    main()
