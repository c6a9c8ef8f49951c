"""What a device remembers over restarts: a small file of JSON."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

MAX_BYTES = 16 << 20
"""Bytes of a file that is still read: what guests have had kept (names, references) is far smaller."""


class Memory:
    """Values by key; thread-safe.

    Args:
        path: The file; None to remember only as long as the process lives. A file that cannot be read or written
            costs a warning, never more.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._values: dict[str, Any] = self._read()

    def get(self, key: str, default: Any = None) -> Any:
        """The value kept under `key`."""
        return self._values.get(key, default)

    def set(self, key: str, value: Any) -> None:
        """Keep a value that JSON can hold; None forgets the key."""
        with self._lock:
            if self._values.get(key) == value:
                return
            self._values = {**self._values, key: value}
            if value is None:
                del self._values[key]
            self._write()

    def _read(self) -> dict[str, Any]:
        if self._path is None:
            return {}
        try:
            if self._path.stat().st_size > MAX_BYTES:
                raise ValueError("too large")  # noqa: TRY301
            values = json.loads(self._path.read_text("ascii"))
            if not isinstance(values, dict):
                raise ValueError("not an object")  # noqa: TRY004, TRY301
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError) as error:
            logger.warning("%s cannot be read and is begun anew: %s", self._path, error)
            return {}
        return values

    def _write(self) -> None:
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
            try:
                with os.fdopen(descriptor, "w", encoding="ascii") as file:
                    json.dump(self._values, file)
                Path(temporary).replace(self._path)
            except BaseException:
                with suppress(OSError):
                    Path(temporary).unlink()
                raise
        except OSError as error:
            logger.warning("%s cannot be written, what guests set will be forgotten: %s", self._path, error)
            self._path = None
