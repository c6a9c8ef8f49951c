"""The logic of the benchmark in a guest; that it runs at all is shown by its guest's own tests, and by running it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.guest_cases import CaseError, groups
from benchmarks.guest_peers import PEERS, Plugged
from benchmarks.guest_report import GOALS, Outcome, Report
from tests.e2e.guest import Guest, GuestError, Result

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CASE = "mtp-files, 10,000 files"


def report(**times: Sequence[float | str]) -> Report:
    found = Report()
    for peer, values in times.items():
        for value in values:
            outcome = Outcome(None, value) if isinstance(value, str) else Outcome(value)
            found.add(CASE, peer.replace("_", "-"), outcome)
    return found


def test_a_ratio_is_the_median_of_those_of_the_rounds() -> None:
    found = report(ours=[1, 2, 4], usb_mtp=[10, 10, 10])
    assert found.ratio(CASE, "usb-mtp") == 5
    (row,) = found.rows()
    assert (row.goal, row.figure, row.met) == (5, 5, True)
    assert "ours 2.00 s, usb-mtp 10.00 s" in row.note


def test_peers_of_fewer_rounds_are_compared_in_those() -> None:
    assert report(ours=[2, 100, 100], umtp=[10]).ratio(CASE, "umtp") == 5


def test_a_peer_that_takes_too_long_takes_at_least_the_limit() -> None:
    found = report(ours=[10])
    found.add(CASE, "usb-mtp", Outcome(400, "over 400 s"))
    (row,) = found.rows()
    assert row.figure == 40
    assert "over 400 s" in row.note


def test_what_a_peer_cannot_do_has_no_row_but_is_shown() -> None:
    found = report(ours=[10], usb_mtp=["0 of 10000"])
    assert list(found.rows()) == []
    assert "0 of 10000" in found.table()
    assert found.to_json()["seconds"] == {CASE: {"ours": [10], "usb-mtp": ["0 of 10000"]}}


def test_what_ours_cannot_do_misses_its_goal() -> None:
    (row,) = report(ours=["fails"], umtp=[10]).rows()
    assert (row.figure, row.met) == (None, False)


def test_throughput_is_shown_beside_that_of_usb_mtp() -> None:
    found = Report()
    for peer, seconds in (("ours", 10), ("floor", 9), ("usb-mtp", 4)):
        found.add("get 300 MB", peer, Outcome(seconds))
    (row,) = found.rows()
    assert (row.goal, row.figure, row.met) == (0.95, 0.9, False)
    assert "0.40 of usb-mtp's rate" in row.note


def test_what_is_slow_or_fails_has_fewer_rounds() -> None:
    wanted = [
        report(ours=values).wants(CASE, "ours", 3, 60, 1)
        for values in ([], [1.0], [1.0, 1.0, 1.0], [61.0], ["fails"], [1.0, 61.0])
    ]
    assert wanted == [True, True, False, False, False, False]


def test_every_case_has_a_goal_and_every_peer_is_known() -> None:
    for group in groups():
        assert set(group.peers) <= set(PEERS)
        for case in group.cases:
            assert {peer for first, peer in GOALS if first == case.name.replace(",", "").split()[0]} <= set(group.peers)
            assert any(first == case.name.replace(",", "").split()[0] for first, _ in GOALS)


class StubGuest(Guest):
    """Answers what it is told to, script by script."""

    def __init__(self, answers: list[Result]) -> None:
        self.answers = answers

    def status(self) -> int | None:
        return None

    def run(self, script: str, timeout: float = 60) -> Result:
        return self.answers.pop(0)


def outcome(tmp_path: Path, timed: Result, shown: bytes = b"10000\n") -> float:
    case = next(case for group in groups() for case in group.cases if case.name == CASE)
    answers = [Result(0, b""), timed, Result(0, shown), Result(0, b"")]
    if timed.code == 137:
        del answers[2]
    guest = StubGuest(answers)
    try:
        return case.run(guest, Plugged(1, 2, tmp_path / "put.bin"), 400)
    finally:
        assert guest.answers == []  # it has always been tidied up


def test_time_is_what_the_guest_says(tmp_path: Path) -> None:
    assert outcome(tmp_path, Result(0, b"noise\n1500000000\n")) == 1.5


def test_a_listing_without_all_files_does_not_count(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="3 of 10000"):
        outcome(tmp_path, Result(0, b"1\n"), b"3\n")


def test_a_program_that_was_killed_takes_at_least_the_limit(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="over 400 s") as caught:
        outcome(tmp_path, Result(137, b""))
    assert caught.value.seconds == 400


def test_a_guest_that_runs_but_cannot_prepare_is_a_failure_of_the_case(tmp_path: Path) -> None:
    case = next(iter(groups())).cases[0]
    with pytest.raises(CaseError, match="fails") as caught:
        case.run(StubGuest([Result(1, b""), Result(0, b"")]), Plugged(1, 2, tmp_path / "put.bin"), 400)
    assert isinstance(caught.value.__cause__, GuestError)
    assert caught.value.seconds is None


def test_sizes_can_be_smaller() -> None:
    names = [case.name for group in groups(0.01) for case in group.cases]
    assert {"get 3 MB", "put 1 MB", "mtp-filetree, 100 files"} <= set(names)
