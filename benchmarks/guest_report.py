"""What the measurements in a guest come to: times of each peer, and goals with figures."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.scale_rows import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

OURS = "ours"
GOALS: dict[tuple[str, str], float] = {
    ("get", "floor"): 0.95,
    ("put", "floor"): 0.95,
    **{(listing, "usb-mtp"): 5 for listing in ("mtp-filetree", "mtp-files", "aft-mtp-cli", "find")},
    **{(listing, "umtp"): 3 for listing in ("mtp-filetree", "mtp-files", "aft-mtp-cli", "find")},
}
"""First word of a case, peer -> the least that the peer's time may be, ours being 1."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a case came to with a peer.

    Attributes:
        seconds: What it took, or takes at least if there is a problem; None if it cannot be done.
        problem: In a few words; empty if there was none.
    """

    seconds: float | None
    problem: str = ""


@dataclass(slots=True)
class Report:
    """The outcomes of all rounds, by case and peer."""

    outcomes: dict[str, dict[str, list[Outcome]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def add(self, case: str, peer: str, outcome: Outcome) -> None:
        """Takes the outcome of a round."""
        self.outcomes[case][peer].append(outcome)

    def wants(self, case: str, peer: str, rounds: int, slow: float, slow_rounds: int) -> bool:
        """Whether there shall be another round.

        Args:
            case: Which.
            peer: With which peer.
            rounds: How many there shall be.
            slow: Seconds from which there are fewer.
            slow_rounds: How many then, and if there was a problem.
        """
        found = self.outcomes[case][peer]
        is_slow = any(outcome.problem or (outcome.seconds or 0) > slow for outcome in found)
        return len(found) < (min(rounds, slow_rounds) if is_slow else rounds)

    def shown(self, case: str, peer: str) -> str:
        """A cell of the table: the median of the seconds, or the problem."""
        found = self.outcomes[case].get(peer, [])
        times = [outcome.seconds for outcome in found if outcome.seconds is not None and not outcome.problem]
        problems = [outcome.problem for outcome in found if outcome.problem]
        middle = f"{statistics.median(times):.2f}" if times else ""
        return " ".join(filter(None, [middle, *dict.fromkeys(problems)]))

    def ratio(self, case: str, peer: str) -> float | None:
        """The peer's time, ours being 1: the median of those of each round; None if either has none."""
        pairs = zip(self.outcomes[case].get(OURS, []), self.outcomes[case].get(peer, []), strict=False)
        ratios = [theirs.seconds / mine.seconds for mine, theirs in pairs if mine.seconds and theirs.seconds]
        return statistics.median(ratios) if ratios else None

    def rows(self) -> Iterator[Row]:
        """Goals and figures; nothing for a case that a peer cannot do."""
        for case, peers in self.outcomes.items():
            for peer in peers:
                goal = GOALS.get((case.replace(",", "").split()[0], peer))
                figure = self.ratio(case, peer)
                if goal is None or (figure is None and self._is_done(case, OURS)):
                    continue
                unit = f"of {peer}'s rate" if peer == "floor" else "x faster"
                yield Row(f"{case}, against {peer}", goal, figure, unit, self._note(case, peer), at_least=True)

    def table(self) -> str:
        """All times, a line for each case."""
        width = max(map(len, self.outcomes), default=0)
        peers = list(dict.fromkeys(peer for found in self.outcomes.values() for peer in found))
        cells = {case: [self.shown(case, peer) for peer in peers] for case in self.outcomes}
        return "\n".join(
            f"{name:{width}} " + " ".join(f"{cell:>16}" for cell in line)
            for name, line in [("seconds", peers), *cells.items()]
        )

    def to_json(self) -> dict[str, Any]:
        """Rows as the page takes them, and all times."""
        times = {
            case: {peer: [outcome.problem or outcome.seconds for outcome in found] for peer, found in peers.items()}
            for case, peers in self.outcomes.items()
        }
        return {"rows": [row.to_json() for row in self.rows()], "seconds": times}

    def _is_done(self, case: str, peer: str) -> bool:
        return any(not outcome.problem for outcome in self.outcomes[case].get(peer, []))

    def _note(self, case: str, peer: str) -> str:
        times = ", ".join(f"{name} {self.shown(case, name)} s" for name in (OURS, peer))
        beside = self.ratio(case, "usb-mtp") if peer == "floor" else None
        return times if beside is None else f"{times}; {beside:.2f} of usb-mtp's rate"
