"""Makes docs/clients.md of what a run of the end-to-end tests found: python -m tests.e2e.matrix."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.actions import ACTIONS
from tests.e2e.cells import Results, Works
from tests.e2e.clients import CLIENTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.e2e.cells import Cell

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"

_HEAD = """# What works with which program

Made by `python -m tests.e2e.matrix` of what the end-to-end tests found: they do everything that is ticked here in a
Debian guest in QEMU, and look at what has become of the host's files. Where there is a cross the program itself does
not do it, whatever the phone. The numbers lead to the notes below.
"""


def page(versions: Mapping[str, str]) -> str:
    """The whole page, given Debian's packages and their versions in the guest."""
    notes: dict[str, int] = {}
    rows = [
        f"| {action.title} | {' | '.join(_shown(client.cells[name], notes) for client in CLIENTS)} |"
        for name, action in ACTIONS.items()
    ]
    table = [f"| | {' | '.join(client.name for client in CLIENTS)} |", f"|---|{':-:|' * len(CLIENTS)}", *rows]
    started = [
        f"{client.name}: with `usbredir-mtp {' '.join(client.options)}`." for client in CLIENTS if client.options
    ]
    numbered = [f"{number}. {note}" for note, number in notes.items()]
    used = dict.fromkeys(name for client in CLIENTS for name in client.packages)
    listed = [f"- {name} {versions[name]}" for name in used]
    sections = [
        _HEAD,
        *table,
        "",
        *started,
        "",
        "## Notes",
        "",
        *numbered,
        "",
        "## Debian's packages in the guest",
        "",
        *listed,
    ]
    return "\n".join(sections) + "\n"


def shown_versions(text: str) -> dict[str, str]:
    """The versions that a page tells."""
    return dict(re.findall(r"^- (\S+) (\S+)$", text, re.MULTILINE))


def _shown(cell: Cell, notes: dict[str, int]) -> str:
    sign, note = ("✓", cell.note) if isinstance(cell, Works) else ("✗", cell.reason)
    if not note:
        return sign
    return f"{sign} ({notes.setdefault(note, len(notes) + 1)})"


def main() -> None:
    """Writes the page, if every cell that is ticked in it has been seen to work."""
    results = Results.load()
    wanted = [f"{client.name}-{name}" for client in CLIENTS for name in client.recipes()]
    unseen = [cell for cell in wanted if not results.cells.get(cell)]
    if unseen:
        sys.exit(f"not seen to work: {', '.join(unseen)}")
    PAGE.write_text(page(results.versions), "utf-8")


if __name__ == "__main__":
    main()
