from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder `share` with a file, in one that has a short path, as sockets need it."""
    with TemporaryDirectory(prefix="mtp") as folder:
        path = Path(folder)
        (path / "share").mkdir()
        (path / "share" / "file").write_text("shared")
        yield path
