"""The server, but exports named "slow" take their time over each read: `python -m benchmarks.scale_slow OPTIONS`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from unittest.mock import patch

from usbredir_mtp import cli, exports
from usbredir_mtp.mtp.folder import FolderStorage

if TYPE_CHECKING:
    from usbredir_mtp.mtp.storage import Buffer, DataSource, Path

NAME = "slow"
SECONDS = 5.0


@dataclass(slots=True)
class SlowSource:
    """A source each read of which takes `SECONDS`."""

    source: DataSource

    @property
    def length(self) -> int:
        """Bytes in all."""
        return self.source.length

    def read(self, size: int, /) -> Buffer:
        """The next bytes, some time later."""
        time.sleep(SECONDS)
        return self.source.read(size)

    def close(self) -> None:
        """Close the source."""
        self.source.close()


class MaybeSlowFolder(FolderStorage):
    """A folder, slow if its name says so."""

    def open(self, path: Path, offset: int = 0, size: int | None = None) -> DataSource:
        """Read a file."""
        source = super().open(path, offset, size)
        return SlowSource(source) if self.description == NAME else source


if __name__ == "__main__":
    with patch.object(exports, "FolderStorage", MaybeSlowFolder):
        cli.main()
