"""What a measurement comes to: rows of a goal and a figure, and the little arithmetic that they need."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from typing import Any

SMALL = 0.01
"""What `--scale small` leaves of the sizes."""


@dataclass(slots=True, frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: What was measured.
        goal: The most that the figure may be, or the least if `at_least`.
        figure: What it was; None where it could not be measured.
        unit: Of both.
        note: What else there is to know.
    """

    what: str
    goal: float
    figure: float | None
    unit: str
    note: str = ""
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        if self.figure is None:
            return False
        return self.figure >= self.goal if self.at_least else self.figure <= self.goal

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        figure = "-" if self.figure is None else f"{self.figure:.4g}"
        shown = f"{self.what:58} {sign} {self.goal:<6g} {figure:>8} {self.unit:12} {'yes' if self.met else 'NO'}"
        return f"{shown}\n{'':6}{self.note}" if self.note else shown

    def to_json(self) -> dict[str, Any]:
        """The row with its verdict."""
        return {**asdict(self), "met": self.met}


@dataclass(slots=True, frozen=True)
class Scale:
    """How large to measure, and where.

    Attributes:
        part: Of the full sizes.
        trees: Folder in which trees of files are made once and kept.
        programs: Folder of the C programs.
    """

    part: float
    trees: Path
    programs: Path

    def of(self, full: int, least: int = 1) -> int:
        """A size."""
        return max(round(full * self.part), least)


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least `share` of all are not above.

    Raises:
        ValueError: there are no values.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


def spread(values: Sequence[float]) -> str:
    """Median and extremes in milliseconds, for a note."""
    low, middle, high = (value * 1e3 for value in (min(values), statistics.median(values), max(values)))
    return f"median {middle:.1f} ms, {low:.1f} to {high:.1f}"
