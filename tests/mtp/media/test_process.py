from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.mtp.media import fakes
from usbredir_mtp.mtp.media.process import (
    MAX_FAILED_STARTS,
    WorkerFailedError,
    WorkerProcess,
    WorkerUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 30.0  # nothing here waits for it


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def running(behaviour: str, log: Path, seconds: float = SECONDS) -> Iterator[WorkerProcess]:
    """A process of that behaviour, of which nothing is left afterwards."""
    before = descriptors()
    worker = WorkerProcess(fakes.command(behaviour, log), seconds)
    try:
        yield worker
    finally:
        worker.stop()
        worker.discard()
    assert descriptors() == before
    assert not any(alive(process) for process in fakes.runs(log))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def file() -> Iterator[int]:
    descriptor = os.open(__file__, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_one_process_for_many_jobs(log: Path, file: int) -> None:
    with running("serves", log) as worker:
        assert fakes.runs(log) == []
        for _ in range(3):
            assert worker.run({}, file).header == {"properties": {"56455": 1}}
        assert len(fakes.runs(log)) == 1


@pytest.mark.parametrize("behaviour", ["crashes", "exits", "garbage", "half"])
def test_one_that_does_not_survive_a_file(log: Path, file: int, behaviour: str) -> None:
    with running(behaviour, log) as worker:
        for attempt in (1, 2):
            with pytest.raises(WorkerFailedError):
                worker.run({}, file)
            assert len(fakes.runs(log)) == attempt
            assert not any(alive(process) for process in fakes.runs(log))


def test_one_that_takes_too_long(log: Path, file: int) -> None:
    with running("hangs", log, seconds=0.05) as worker:
        with pytest.raises(WorkerFailedError, match="Timeout"):
            worker.run({}, file)
        assert not alive(fakes.runs(log)[0])


@pytest.mark.parametrize("behaviour", ["quits once", "quits with its first job"])
def test_one_that_ended_of_idleness_is_started_again(log: Path, file: int, behaviour: str) -> None:
    with running(behaviour, log) as worker:
        assert worker.run({}, file).header == {"properties": {"56455": 2}}


def test_one_that_was_killed_between_two_jobs(log: Path, file: int) -> None:
    with running("serves", log) as worker:
        worker.run({}, file)
        assert worker._process is not None
        worker._process.kill()
        worker._process.wait()
        assert worker.run({}, file).header == {"properties": {"56455": 2}}


def test_one_that_never_answers_but_quits(log: Path, file: int) -> None:
    with running("quits", log) as worker:
        with pytest.raises(WorkerFailedError):
            worker.run({}, file)
        assert len(fakes.runs(log)) == 2


@pytest.mark.parametrize("behaviour", ["never ready", "nonsense first"])
def test_one_that_does_not_start(log: Path, file: int, behaviour: str, caplog: pytest.LogCaptureFixture) -> None:
    with running(behaviour, log) as worker:
        for _ in range(MAX_FAILED_STARTS + 2):
            with pytest.raises(WorkerUnavailableError):
                worker.run({}, file)
        assert len(fakes.runs(log)) == MAX_FAILED_STARTS
    assert "does not start" in caplog.text


def test_no_such_program(file: int, tmp_path: Path) -> None:
    before = descriptors()
    worker = WorkerProcess([str(tmp_path / "nothing")], SECONDS)
    with pytest.raises(WorkerUnavailableError):
        worker.run({}, file)
    assert descriptors() == before


def test_stopping_ends_a_running_job(log: Path, file: int) -> None:
    with running("hangs", log) as worker:
        failures: list[Exception] = []

        def run() -> None:
            try:
                worker.run({}, file)
            except (WorkerFailedError, WorkerUnavailableError) as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        worker.stop()
        thread.join(SECONDS)
        assert [type(failure) for failure in failures] == [WorkerUnavailableError]
        with pytest.raises(WorkerUnavailableError):
            worker.run({}, file)
