from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from usbredir_mtp import logs
from usbredir_mtp.logs import PEER, JsonFormatter, Peer

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
GUEST = Peer("127.0.0.1:5", "builds")


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """What a logger says in JSON."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("usbredir_mtp.test")
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    yield stream
    logger.removeHandler(handler)


def said(out: io.StringIO) -> dict[str, Any]:
    """The only line, as an object."""
    (line,) = out.getvalue().splitlines()
    assert line.isascii()
    row: dict[str, Any] = json.loads(line)
    return row


@pytest.fixture
def logger(out: io.StringIO) -> logging.Logger:
    return logging.getLogger("usbredir_mtp.test")


def test_a_line(out: io.StringIO, logger: logging.Logger) -> None:
    logger.info("%d of %s", 1, "two\nlines")
    row = said(out)
    time = datetime.fromisoformat(row.pop("time"))
    assert time.utcoffset() == timedelta(0)
    assert abs(datetime.now(time.tzinfo) - time) < timedelta(minutes=1)
    assert row == {"level": "info", "logger": "usbredir_mtp.test", "message": "1 of two\nlines"}


def test_a_peer_among_the_arguments(out: io.StringIO, logger: logging.Logger) -> None:
    logger.warning("%s: disconnected", GUEST)
    row = said(out)
    assert (row["message"], row["peer"], row["device"]) == ("127.0.0.1:5: disconnected", "127.0.0.1:5", "builds")


def test_a_peer_of_a_device_without_a_name(out: io.StringIO, logger: logging.Logger) -> None:
    logger.warning("%s: disconnected", Peer("guest"))
    row = said(out)
    assert row["peer"] == "guest"
    assert "device" not in row


def test_the_thread_s_peer(out: io.StringIO, logger: logging.Logger) -> None:
    def work() -> None:
        PEER.set(GUEST)
        logger.debug("GET_OBJECT(1,): OK")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    row = said(out)
    assert (row["peer"], row["device"]) == ("127.0.0.1:5", "builds")


def test_a_device_that_the_message_tells(out: io.StringIO, logger: logging.Logger) -> None:
    logger.info("unplugged: %(it)s", {"it": "it"}, extra={"device": "exchange"})
    row = said(out)
    assert (row["message"], row["device"]) == ("unplugged: it", "exchange")
    assert "peer" not in row


def test_an_exception(out: io.StringIO, logger: logging.Logger) -> None:
    try:
        raise ValueError("why")  # noqa: TRY301  (to have a traceback)
    except ValueError:
        logger.exception("it failed")
    row = said(out)
    assert row["message"] == "it failed"
    assert row["exception"].startswith("Traceback (most recent call last):\n")
    assert row["exception"].endswith("ValueError: why")


def test_names_that_are_no_text() -> None:
    record = logging.makeLogRecord({"name": "some", "msg": "%s", "args": ("a\udcffé\N{GRINNING FACE}\x1b",)})
    assert json.loads(JsonFormatter().format(record))["message"] == "a\\udcffé\N{GRINNING FACE}\x1b"


def test_a_peer_is_a_text() -> None:
    assert f"{GUEST}: {GUEST!r}" == "127.0.0.1:5: '127.0.0.1:5'"
    assert GUEST.device == "builds"


def lines_of(source: str) -> list[str]:
    """What a program writes to its standard error."""
    ended = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=True)
    return ended.stderr.splitlines()


@pytest.mark.parametrize(
    ("verbosity", "levels"),
    [
        (-1, ["error"]),
        (0, ["warning", "error"]),
        (1, ["info", "warning", "error"]),
        (5, ["debug", "info", "warning", "error"]),
    ],
)
def test_how_much_is_said(verbosity: int, levels: list[str]) -> None:
    source = f"""
import logging
from usbredir_mtp import logs
logs.set_up({verbosity}, "json")
for level in ("debug", "info", "warning", "error"):
    getattr(logging.getLogger("some"), level)("it")
logging.getLogger("watchdog.x").info("chatter")
"""
    assert [json.loads(line)["level"] for line in lines_of(source)] == levels


def test_text_is_as_it_was() -> None:
    source = """
import logging
from usbredir_mtp import logs
logs.set_up(0)
logging.getLogger("some").warning("it")
"""
    assert lines_of(source) == ["WARNING: it"]
    detailed = lines_of(source.replace("set_up(0)", "set_up(2)"))
    assert [line.partition(",")[2][4:] for line in detailed] == ["WARNING some: it"]


def test_in_json_nothing_else_is_written() -> None:
    """Warnings of libraries and what kills a thread are lines like others."""
    source = """
import threading, warnings
from usbredir_mtp import logs
logs.set_up(0, "json")
warnings.warn("old")
thread = threading.Thread(target=lambda: 1 / 0, name="worker")
thread.start()
thread.join()
quiet = threading.Thread(target=exit)
quiet.start()
quiet.join()
"""
    warning, error = map(json.loads, lines_of(source))
    assert "UserWarning: old" in warning["message"]
    assert "worker" in error["message"]
    assert error["exception"].endswith("ZeroDivisionError: division by zero")


def test_the_formats() -> None:
    assert logs.FORMATS == ("text", "json")


def test_setting_up(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Without a process of its own: all that it changes is put back."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(logging, "basicConfig", lambda **options: calls.append(options))
    monkeypatch.setattr(logging, "captureWarnings", lambda capture: calls.append({"capture": capture}))
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(logging.getLogger("watchdog"), "level", logging.NOTSET)
    logs.set_up(1, logs.JSON)
    options, warnings = calls
    assert isinstance(options["handlers"][0].formatter, JsonFormatter)
    assert (options["level"], warnings) == (logging.INFO, {"capture": True})
    for work in (list[int]().pop, sys.exit):
        thread = threading.Thread(target=work, name="worker")
        thread.start()
        thread.join()
    [record] = caplog.records
    assert record.getMessage() == "a fault of usbredir-mtp's, please report it: in thread worker"
    assert record.exc_info is not None
    assert record.exc_info[0] is IndexError
