"""Sessions of real guests, as they were recorded: what each side sent, piece by piece."""

from __future__ import annotations

import socket
import struct
import threading
import zlib
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).with_name("captures")
FILES = {"folder/get.txt": bytes(range(256)) * 8}
"""What the share held when the recording began."""

_HEAD = struct.Struct("<BI")


class Piece(NamedTuple):
    """What came out of one socket at once."""

    from_guest: bool
    data: bytes


def names() -> list[str]:
    """The recordings that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.capture"))


def load(name: str) -> list[Piece]:
    """One recording."""
    packed = zlib.decompress((FOLDER / f"{name}.capture").read_bytes())
    pieces, used = [], 0
    while used < len(packed):
        from_guest, size = _HEAD.unpack_from(packed, used)
        used += _HEAD.size + size
        pieces.append(Piece(bool(from_guest), packed[used - size : used]))
    return pieces


def save(name: str, pieces: list[Piece]) -> None:
    """Keep a recording."""
    packed = b"".join(_HEAD.pack(piece.from_guest, len(piece.data)) + piece.data for piece in pieces)
    (FOLDER / f"{name}.capture").write_bytes(zlib.compress(packed, 9))


def stream(name: str, *, from_guest: bool = True) -> bytes:
    """One direction of a recording, whole."""
    return b"".join(piece.data for piece in load(name) if piece.from_guest is from_guest)


class Relay:
    """Takes one connection, passes it on to a port of this machine, and keeps what goes through.

    Attributes:
        port: Where it listens.
        pieces: What has gone through.
    """

    def __init__(self, target: int) -> None:
        self.pieces: list[Piece] = []
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def join(self) -> None:
        """Wait for the end of the connection."""
        self._thread.join()

    def _run(self) -> None:
        with self._listener, socket.create_connection(("127.0.0.1", self._target)) as host:
            guest, _ = self._listener.accept()
            with guest:
                back = threading.Thread(target=self._pass, args=(host, guest), kwargs={"from_guest": False})
                back.start()
                self._pass(guest, host, from_guest=True)
                back.join()

    def _pass(self, source: socket.socket, target: socket.socket, *, from_guest: bool) -> None:
        try:
            while data := source.recv(1 << 20):
                self.pieces.append(Piece(from_guest, data))
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return
