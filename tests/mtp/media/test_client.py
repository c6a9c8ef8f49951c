from __future__ import annotations

import json
import os
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from usbredir_mtp.mtp.media.client import MAX_BODY, MAX_HEADER, Channel, ChannelError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = 10.0  # nothing here waits for it


@pytest.fixture
def raw() -> Iterator[tuple[socket.socket, Channel]]:
    theirs, ours = socket.socketpair()
    channel = Channel(ours)
    with theirs:
        yield theirs, channel
    channel.close()


def message(header: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<II", len(header), len(body)) + header + body


def test_a_message() -> None:
    one, other = Channel.pair()
    one.send({"text": "ö", "number": 3}, b"body")
    one.send({})
    assert other.receive(SECONDS) == ({"text": "ö", "number": 3}, b"body", None)
    assert other.receive(SECONDS) == ({}, b"", None)
    one.close()
    one.close()
    with pytest.raises(EOFError):
        other.receive(SECONDS)
    with pytest.raises(EOFError):
        other.receive_job(SECONDS)
    with pytest.raises(BrokenPipeError):
        other.send({})
    other.close()


def test_a_job_brings_its_file(tmp_path: Path) -> None:
    one, other = Channel.pair()
    (tmp_path / "file").write_bytes(b"content")
    with (tmp_path / "file").open("rb") as file:
        one.send({"job": "x"}, descriptor=file.fileno())
    job = other.receive_job(SECONDS)
    assert job.header == {"job": "x"}
    assert job.descriptor is not None
    assert os.read(job.descriptor, 100) == b"content"
    os.close(job.descriptor)
    one.close()
    other.close()


def test_one_that_hangs_up_with_the_message_in_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Channel.pair()
    send_fds = socket.send_fds

    def sent_and_gone(end: socket.socket, data: list[bytes], files: list[int]) -> int:
        sent = send_fds(end, data, files)
        other.close()
        return sent

    monkeypatch.setattr(socket, "send_fds", sent_and_gone)
    (tmp_path / "file").write_bytes(b"content")
    with (tmp_path / "file").open("rb") as file:
        one.send({}, descriptor=file.fileno())
    with pytest.raises((EOFError, ConnectionResetError)):
        one.receive(SECONDS)
    one.close()


def test_a_job_without_a_file(raw: tuple[socket.socket, Channel]) -> None:
    raw[0].sendall(message(b"{}"))
    with pytest.raises(ChannelError):
        raw[1].receive_job(SECONDS)


def test_a_message_in_pieces(raw: tuple[socket.socket, Channel]) -> None:
    data = message(b'{"a": 1}', b"xy")
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(raw[1].receive, SECONDS)
        for byte in data:
            raw[0].sendall(bytes([byte]))
        assert received.result() == ({"a": 1}, b"xy", None)


@pytest.mark.parametrize("size", range(len(message(b'{"a": 1}', b"xy"))))
def test_a_message_that_does_not_end(raw: tuple[socket.socket, Channel], size: int) -> None:
    raw[0].sendall(message(b'{"a": 1}', b"xy")[:size])
    with pytest.raises(TimeoutError):
        raw[1].receive(0.001)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 8,
        struct.pack("<II", MAX_HEADER + 1, 0),
        struct.pack("<II", 0, MAX_BODY + 1),
        message(b""),
        message(b"[]"),
        message(b"1"),
        message(b"{"),
        message(b"\xff\xfe"),
        message(b"[" * MAX_HEADER),
        message(b'{"a": ' + b"9" * 5000 + b"}"),
    ],
)
def test_what_is_no_message(raw: tuple[socket.socket, Channel], data: bytes) -> None:
    raw[0].sendall(data)
    with pytest.raises(ChannelError):
        raw[1].receive(SECONDS)


def test_hanging_up_within_a_message(raw: tuple[socket.socket, Channel]) -> None:
    raw[0].sendall(message(json.dumps({"a": "b"}).encode())[:-3])
    raw[0].close()
    with pytest.raises(EOFError):
        raw[1].receive(SECONDS)
