"""The benchmarks' own logic, and that they run at all; what they measure is no matter of a test."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from benchmarks import page, run, scale, scale_slow
from benchmarks.scale_rows import Row, percentile, spread
from benchmarks.scale_rows import Scale as Sizes
from benchmarks.scale_server import voluntary_switches
from benchmarks.scale_trees import files_below, flat_folder, folders_below, large_file

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("figure", "at_least", "met"),
    [
        (1.0, False, True),
        (1.1, False, False),
        (1.0, True, True),
        (0.9, True, False),
        (None, False, False),
        (None, True, False),
    ],
)
def test_a_row_knows_whether_its_goal_is_met(figure: float | None, at_least: bool, met: bool) -> None:
    row = Row("what", 1, figure, "s", "note", at_least=at_least)
    assert row.met is met
    assert row.to_json()["met"] is met
    assert ("yes" in str(row)) is met
    assert "note" in str(row)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([3, 1, 2], 0.5, 2), ([7], 0.99, 7), (range(1, 101), 0.99, 99), (range(1, 1001), 0.99, 990), ([1, 2], 0, 1)],
)
def test_percentile(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.99)


def test_spread() -> None:
    assert spread([0.002, 0.001, 0.004]) == "median 2.0 ms, 1.0 to 4.0"


def test_switches_are_the_voluntary_ones() -> None:
    status = "Name:\tx\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t34\n"
    assert voluntary_switches(status) == 12
    assert voluntary_switches("Name:\tx\n") == 0


def test_trees_have_their_sizes_and_are_made_once(tmp_path: Path) -> None:
    files = files_below(tmp_path, 1500)
    assert [len(list(folder.iterdir())) for folder in sorted(files.iterdir())] == [1000, 500]
    assert len(list((flat_folder(tmp_path, 20) / "flat").iterdir())) == 20
    assert sum(1 for _ in folders_below(tmp_path, 2100).rglob("*")) == 2100
    large = large_file(tmp_path, 3000) / "file"
    assert large.stat().st_size == 3000
    large.unlink()
    assert not list(large_file(tmp_path, 3000).iterdir())


def test_sizes_are_never_nothing(tmp_path: Path) -> None:
    sizes = Sizes(0.01, tmp_path, tmp_path)
    assert [sizes.of(100_000), sizes.of(10), sizes.of(10, 5)] == [1000, 1, 5]


def test_a_slow_export_is_slow_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    waits: list[float] = []
    for name in ("fast", scale_slow.NAME):
        with (
            scale_slow.MaybeSlowFolder(tmp_path, description=name) as storage,
            patch("benchmarks.scale_slow.time.sleep", waits.append),
        ):
            source = storage.open(("file",))
            assert source.length == 7
            assert source.read(100) == b"content"
            source.close()
    assert waits == [scale_slow.SECONDS]


def test_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "scale.json"
    with patch("benchmarks.scale_listing.LISTINGS", 1):
        scale.main(["--only", "listing", "--scale", "small", "--trees", str(tmp_path), "--json", str(result)])
    rows = json.loads(result.read_text())["rows"]
    assert [row["goal"] for row in rows] == [0.5, 2]
    assert all(row["figure"] > 0 for row in rows)
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_the_page() -> None:
    case = run.Result("unix", "get 512 B x 1", {"floor": 20.0, "ours": 24.5}, {"floor": 1, "ours": 0.5}, 1.2, 1.1, 1.3)
    late = run.Result("tcp", "put 1 MiB x 2", {"floor": 20.0, "ours": 60.0}, {"floor": 1, "ours": 0.3}, 3.0, None, 1.18)
    found = {"machine": run.machine(), "cases": [asdict(case), asdict(late)], "cpu_per_gb": 0.5}
    text = page.page(found, [], [Row("what", 200, 199.5, "ms").to_json(), Row("lost", 1, None, "s").to_json()])
    assert "| get 512 B x 1, unix | 20.0 | 24.5 | 0.50 | 1.10 | 1.20 | ≤ 1.30 | ✓ |" in text
    assert "| put 1 MiB x 2, tcp | 20.0 | 60.0 | 0.30 |  | 3.00 | ≤ 1.18 | ✗ |" in text
    assert "| what | 199.5 ms | ≤ 200 ms | ✓ |" in text
    assert "| lost | - | ≤ 1 s | ✗ |" in text
    assert "In a guest" not in text


def test_cases_have_names_of_their_own() -> None:
    assert len({str(case) for case in run.CASES}) == len(run.CASES)
    assert str(run.CASES[0]) == "get 512 B x 1"
    assert str(run.CPU_CASE) == "get 64 KiB x 16"
