"""The table is whole, and docs/clients.md agrees with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e import matrix
from tests.e2e.actions import ACTIONS
from tests.e2e.cells import Client, Results
from tests.e2e.clients import CLIENTS
from usbredir_mtp.mtp.codes import OperationCode

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: str(client.name))
def test_every_action_has_a_cell(client: Client) -> None:
    assert list(client.cells) == list(ACTIONS)
    assert {cell.operation for cell in client.recipes().values() if cell.operation} <= set(OperationCode.__members__)
    assert "list" in client.recipes()


def test_the_page_is_the_table() -> None:
    text = matrix.PAGE.read_text("utf-8")
    versions = matrix.shown_versions(text)
    assert set(versions) == {name for client in CLIENTS for name in client.packages}
    assert text == matrix.page(versions)


def test_the_page_is_made_only_of_what_worked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worked = {f"{client.name}-{name}": True for client in CLIENTS for name in client.recipes()}
    versions = {name: "1.0" for client in CLIENTS for name in client.packages}
    monkeypatch.setattr(matrix, "PAGE", tmp_path / "clients.md")
    monkeypatch.setattr(Results, "load", lambda: Results(versions, worked | {"gphoto2-get": False}))
    with pytest.raises(SystemExit, match="gphoto2-get"):
        matrix.main()
    monkeypatch.setattr(Results, "load", lambda: Results(versions, worked))
    matrix.main()
    assert matrix.shown_versions((tmp_path / "clients.md").read_text("utf-8")) == versions


def test_results_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "new" / "clients.json"
    results = Results({"gphoto2": "2.5"}, {"gphoto2-get": True})
    results.save(path)
    assert Results.load(path) == results
