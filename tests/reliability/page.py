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

Made by `python -m tests.reliability.page` of what the tests in `tests/reliability` have measured.
"""
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
