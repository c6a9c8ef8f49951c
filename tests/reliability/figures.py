"""What tests have measured, by name: of these docs/reliability.md is made (see page.py)."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "test-results" / "reliability.json"

Figure = int | float | str


def figure(name: str, value: Figure, path: Path | None = None) -> None:
    """Keep a figure, in place of an earlier one of that name; at once, since tests run in many processes.

    Args:
        name: What was measured, with the unit.
        value: What came out.
        path: The file to keep it in; by default the one that the page is made from.
    """
    results = RESULTS if path is None else path
    results.parent.mkdir(exist_ok=True)
    with results.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        figures = json.loads(file.read() or "{}")
        figures[name] = value
        file.truncate(0)
        json.dump(figures, file, indent=2, sort_keys=True)


def load(path: Path | None = None) -> dict[str, Figure]:
    """All that was kept, of this run and of earlier ones."""
    results = RESULTS if path is None else path
    if not results.exists():
        return {}
    found: dict[str, Figure] = json.loads(results.read_text("utf-8"))
    return found
