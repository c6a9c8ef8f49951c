"""System calls of a responder's that fail when they are told to."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

WRITING = ("open", "write", "fchmod", "utime", "fstat", "stat", "close", "rename", "fsync", "mkdir", "fstatvfs")
READING = ("open", "pread", "fstat", "stat", "close", "scandir")


class Failure:
    """One call fails, in every thread of a responder.

    Attributes:
        calls: The calls made so far, by name.
        failed: The name of the one that failed.
    """

    def __init__(self, code: int, number: int) -> None:
        self.calls: list[str] = []
        self.failed: str | None = None
        self._code = code
        self._number = number

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def failing(*arguments: Any, **options: Any) -> Any:
            if threading.current_thread().name != "mtp-responder":
                return call(*arguments, **options)
            self.calls.append(name)
            if len(self.calls) != self._number:
                return call(*arguments, **options)
            self.failed = name
            if name == "close":
                call(*arguments, **options)  # it is closed all the same (close(2))
            raise OSError(self._code, os.strerror(self._code))

        return failing


@contextmanager
def failing(code: int, number: int, names: Collection[str]) -> Iterator[Failure]:
    """Within the block the `number`th of these calls (functions of `os`) fails with an errno; 0 for none."""
    failure = Failure(code, number)
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setattr(os, name, failure.wrap(name, getattr(os, name)))
        yield failure
