"""Export something that is not a folder: files that live in memory, made when a guest asks for them.

    python examples/memory_storage.py --port 4000

Attach a guest as the README says; it sees a phone with one storage, "Notes".
"""

from __future__ import annotations

import argparse
import errno
import os
import time
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.device import MtpDevice
from usbredir_mtp.mtp.identity import ResponderIdentity
from usbredir_mtp.mtp.objects import ObjectTable
from usbredir_mtp.mtp.operation import BytesSource
from usbredir_mtp.mtp.storage import DataSource, Entry, Path, ReadOnlyStorage, Space, Stat
from usbredir_mtp.network.addresses import Tcp
from usbredir_mtp.network.listening import listening
from usbredir_mtp.network.loop import Servers, Ways, run, serve
from usbredir_mtp.network.server import Server
from usbredir_mtp.session import Phone

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class MemoryStorage(ReadOnlyStorage):
    """A tree of dictionaries: a mapping is a folder, a function gives a file's content."""

    def __init__(self, description: str, tree: Mapping[str, object]) -> None:
        self.description = description
        self.volume = f"memory-{description}"
        self._tree = tree
        self._started = time.time_ns()

    def space(self) -> Space:
        """Nothing can be added."""
        return Space(capacity=1 << 20, free=0)

    def scan(self, folder: Path) -> Iterator[Entry]:
        """The keys of a folder."""
        for name, value in self._folder(folder).items():
            yield Entry(name, isinstance(value, dict))

    def stat(self, path: Path) -> Stat:
        """A file's size is found by making it."""
        node = self._find(path)
        size = 0 if isinstance(node, dict) else len(self._content(path))
        return Stat(isinstance(node, dict), size, self._started, writable=False, identity=hash(path) & 0xFFFFFFFF)

    def open(self, path: Path, offset: int = 0, size: int | None = None) -> DataSource:
        """The content of this moment."""
        data = self._content(path)[offset:]
        return BytesSource(data if size is None else data[:size])

    def _find(self, path: Path) -> object:
        node: object = self._tree
        for name in path:
            if not isinstance(node, dict) or name not in node:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
            node = node[name]
        return node

    def _folder(self, path: Path) -> dict[str, object]:
        node = self._find(path)
        if not isinstance(node, dict):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path[-1])
        return node

    def _content(self, path: Path) -> bytes:
        node = self._find(path)
        if not callable(node):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path[-1] if path else None)
        return bytes(node())


def load() -> bytes:
    """The machine's load averages."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg()).encode() + b"\n"


def host() -> bytes:
    """Its system."""
    return " ".join(os.uname()).encode() + b"\n"


def main() -> None:
    """Serve a few notes."""
    parser = argparse.ArgumentParser(description="Serve files that live in memory as an MTP phone.")
    parser.add_argument("--port", type=int, default=4000)
    port: int = parser.parse_args().port

    notes = MemoryStorage(
        "Notes",
        {
            "welcome.txt": lambda: b"These files are on no disk.\n",
            "machine": {"load.txt": load, "host.txt": host},
        },
    )
    device = MtpDevice(ObjectTable(), ResponderIdentity(model="Notes", friendly_name="Notes"))
    device.add_storage(notes)
    with listening([Tcp("127.0.0.1", port)]) as [listener]:
        servers = Servers([(Server(Phone(device)), Ways([listener]))])
        run(serve(servers, lambda: print(f"Listening on {listener.address}", flush=True)))


if __name__ == "__main__":
    main()
