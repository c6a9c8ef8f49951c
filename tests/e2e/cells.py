"""What the table of clients and actions is made of."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RESULTS = Path(__file__).parents[2] / "test-results" / "clients.json"


@dataclass(frozen=True, slots=True)
class Works:
    """A cell: how a client does it.

    Attributes:
        script: for the guest's shell, in an empty folder that holds put.txt and empty.txt. $D is the
            action's folder on the phone as the client writes it, $S the storage.
        operation: what the responder must have been asked for, by its name in `OperationCode`.
        note: what a user should know of the way it is done.
        before: runs first, before the host acts on the folder.
        unseen: what is got reaches no file or output: the operation is the proof.
        options: the server's, besides the client's.
    """

    script: str
    operation: str = ""
    note: str = ""
    before: str = ""
    unseen: bool = False
    options: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Cannot:
    """A cell: why the client itself does not do it."""

    reason: str


Cell = Works | Cannot


@dataclass(frozen=True, slots=True)
class Client:
    """One column of the table.

    Attributes:
        name: of the column.
        opener: how it is kept open while its cells are tested: a key of OPENERS in test_clients.
        packages: Debian's packages whose versions matter: the program's and its library's.
        cells: action's name -> cell, for every action.
        options: the server's.
    """

    name: str
    opener: str
    packages: Sequence[str]
    cells: Mapping[str, Cell]
    options: Sequence[str] = ()

    def recipes(self) -> dict[str, Works]:
        """What it can do: action's name -> cell."""
        return {name: cell for name, cell in self.cells.items() if isinstance(cell, Works)}


@dataclass(slots=True)
class Results:
    """What a run found.

    Attributes:
        versions: Debian package -> its version in the guest.
        cells: "client-action" -> whether it worked.
    """

    versions: dict[str, str] = field(default_factory=dict)
    cells: dict[str, bool] = field(default_factory=dict)

    def save(self, path: Path = RESULTS) -> None:
        """Writes them where the page is made from."""
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"versions": self.versions, "cells": self.cells}, indent=2), "utf-8")

    @classmethod
    def load(cls, path: Path = RESULTS) -> Results:
        """Reads what `save` wrote."""
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return cls(found["versions"], found["cells"])
