"""Symbolic links swapped against every component of a path; with USBREDIR_MTP_LONG=1, for a minute."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.reliability import swaps
from tests.reliability.long import LONG
from usbredir_mtp.mtp import syscalls
from usbredir_mtp.mtp.folder import FolderStorage

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS = 60.0 if LONG else 3.0
pytestmark = pytest.mark.skipif(not syscalls.has_openat2(), reason="needs openat2 and RENAME_EXCHANGE")


def test_nothing_comes_from_outside_and_nothing_goes_there() -> None:
    outcome = swaps.run(SECONDS)
    assert outcome.tries >= swaps.TRIES * len(swaps.KINDS)
    assert outcome.done > outcome.tries // 50, "hardly anything has been tried"
    assert outcome.swaps > outcome.tries // 50, "there was hardly an attack"
    swaps.report(outcome)


def careless(root: int, names: Sequence[bytes], flags: int) -> int:
    return os.open(b"/".join(names) or b".", flags & ~os.O_NOFOLLOW, dir_fd=root)


def test_a_hole_is_found() -> None:
    with pytest.raises(swaps.EscapeError):
        swaps.run(tries=50_000, kinds=[(FolderStorage, careless)])
