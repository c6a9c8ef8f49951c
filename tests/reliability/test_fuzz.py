"""Wrong input, a few seconds of each kind; with USBREDIR_MTP_FUZZ_SECONDS=60, a minute."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reliability import captures, fuzz
from tests.reliability.bench import Bench, check_device, fill, no_faults, plugged
from tests.reliability.targets import DECODERS, TARGETS, Target
from usbredir_mtp.mtp.errors import DatasetError
from usbredir_mtp.mtp.folder import FolderStorage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECONDS = float(os.environ.get("USBREDIR_MTP_FUZZ_SECONDS", "3"))
pytestmark = pytest.mark.timeout(120 + 2 * SECONDS)


@pytest.mark.parametrize("name", TARGETS)
def test_decoders(name: str) -> None:
    outcome = fuzz.fuzz_decoder(name, SECONDS)
    fuzz.report(name, outcome)


@pytest.mark.parametrize("name", fuzz.FUNCTIONS)
def test_the_whole_function(name: str) -> None:
    outcome = fuzz.FUNCTIONS[name](SECONDS)
    fuzz.report(name, outcome)


@pytest.mark.parametrize("name", DECODERS)
@given(data=st.binary(max_size=200))
def test_datasets_of_anything(name: str, data: bytes) -> None:
    with suppress(DatasetError):
        DECODERS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_right_is_taken(name: str) -> None:
    """Or else it would be no wonder that what is wrong does no harm."""
    corpus = TARGETS[name].corpus()
    assert len(corpus) >= 3
    for data in corpus:
        TARGETS[name].run(data)


def test_recorded_sessions_are_right(tmp_path: Path) -> None:
    assert len(captures.names()) >= 4
    for name in captures.names():
        fill(tmp_path / name)
        with no_faults(), FolderStorage(tmp_path / name, description="share") as storage:
            device = plugged(storage)
            bench = Bench(device)
            for piece in captures.load(name):
                if piece.from_guest:
                    bench.feed(piece.data)
            assert bench.error is None
            bench.end()
            check_device(device)


# The fuzzer has to notice


def boom(error: BaseException) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        if len(data) % 7 == 3:
            raise error

    return run


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("x"), AssertionError("x"), MemoryError()])
def test_an_exception_is_found(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setitem(TARGETS, "bad", Target(lambda: [b"some bytes"], boom(error)))
    with pytest.raises(fuzz.FuzzError, match=r"input [0-9]+ of seed 0: [0-9a-f]*: "):
        fuzz.fuzz_decoder("bad", 0)


def test_memory_that_is_used_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "WARM_UP", 20)
    monkeypatch.setitem(TARGETS, "bad", Target(lambda: [b"some bytes"], lambda _data: bytes(2 << 20)))
    with pytest.raises(fuzz.FuzzError, match="KiB for input"):
        fuzz.fuzz_decoder("bad", 0.5)


def test_memory_that_is_kept_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bytes] = []
    monkeypatch.setattr(fuzz, "WARM_UP", 20)
    monkeypatch.setitem(TARGETS, "bad", Target(lambda: [b"some bytes"], lambda _data: kept.append(bytes(10_000))))
    with pytest.raises(fuzz.FuzzError, match="KiB are kept"):
        fuzz.fuzz_decoder("bad", 0.5)


def test_a_fault_behind_the_session_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_storage: FolderStorage) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(FolderStorage, "space", fail)
    with pytest.raises(fuzz.FuzzError, match="ZeroDivisionError"):
        fuzz.fuzz_transactions(0)


def test_a_file_beside_the_share_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = fuzz._attempt

    def stray(share: Path, given: list[bytes]) -> None:
        attempt(share, given)
        (share.parent / "stray").touch()

    monkeypatch.setattr(fuzz, "_attempt", stray)
    with pytest.raises(fuzz.FuzzError, match="'stray'"):
        fuzz.fuzz_sessions(0)
