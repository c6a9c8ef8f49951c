"""The host's time zone, for as long as a test wants."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from usbredir_mtp.mtp import datatypes

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def host_zone(name: str) -> Iterator[None]:
    """Let this process live in a zone, of which no program expects that it changes."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("TZ", name)
        _changed()
        yield
    _changed()


def _changed() -> None:
    time.tzset()
    datatypes._date.cache_clear()
