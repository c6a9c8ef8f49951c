from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from tests.packaging import systemd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.packaging.systemd import Systemd


def need(program: str) -> str:
    """A program's path; the test is skipped, or fails where everything is required, if it is not there."""
    path = shutil.which(program)
    if path is None:
        (pytest.fail if os.environ.get("USBREDIR_MTP_REQUIRE_ALL") == "1" else pytest.skip)(f"there is no {program}")
    return path


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder `share` with a file, in one that has a short path, as sockets need it."""
    with TemporaryDirectory(prefix="mtp") as folder:
        path = Path(folder)
        (path / "share").mkdir()
        (path / "share" / "file").write_text("shared")
        yield path


@pytest.fixture
def manager(place: Path) -> Iterator[Systemd]:
    """A systemd that runs nothing but the units of `packaging`."""
    if os.geteuid() != 0:
        pytest.skip("it takes root to run a systemd of one's own")
    for program in ("systemctl", "unshare", "nsenter"):
        need(program)
    with systemd.booted(place) as running:
        yield running
