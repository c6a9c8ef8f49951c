"""docs/reliability.md tells of every promise, with a figure for each."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.reliability import figures as figures_module
from tests.reliability import page
from tests.reliability.figures import figure, load

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [name for promises in page.PROMISES.values() for promise in promises for name in promise.figures]


def test_the_page_is_the_table() -> None:
    text = page.PAGE.read_text("utf-8")
    shown = page.shown_figures(text)
    assert set(shown) == set(NAMES)
    assert text == page.page(shown), "run: python -m tests.reliability.page"


def test_a_figure_has_one_place() -> None:
    assert len(NAMES) == len(set(NAMES))


def test_the_page_needs_every_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures_module, "RESULTS", tmp_path / "new" / "reliability.json")
    monkeypatch.setattr(page, "PAGE", tmp_path / "reliability.md")
    for name in NAMES[1:]:
        figure(name, 1234)
    with pytest.raises(SystemExit, match=NAMES[0]):
        page.main()
    figure(NAMES[0], 0.12345)
    page.main()
    shown = page.shown_figures((tmp_path / "reliability.md").read_text("utf-8"))
    assert shown == dict.fromkeys(NAMES, "1,234") | {NAMES[0]: "0.123"}


def test_figures_of_many_runs_are_merged(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    assert load(path) == {}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: figure(f"number {number % 20}", number % 20, path), range(100)))
    assert load(path) == json.loads(path.read_text("utf-8")) == {f"number {number}": number for number in range(20)}
