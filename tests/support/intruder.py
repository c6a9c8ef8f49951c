"""The program with a fault: once it listens, it tries what it never should, and says what came of it.

`python -m tests.support.intruder JSON ARGUMENT…`, where JSON is a list of attempts, each a name of `ATTEMPTS` and its
argument. A line "Outcomes: JSON" comes before what the program prints: "ok" or an errno's name for each.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from usbredir_mtp import cli, program
from usbredir_mtp.banner import banner
from usbredir_mtp.mtp.containment import Root
from usbredir_mtp.sandbox import enter

if TYPE_CHECKING:
    from collections.abc import Callable


def _connect(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), 5).close()


def _bind(port: int) -> None:
    socket.create_server(("127.0.0.1", port)).close()


def _edit(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY))


def _across(folder: str) -> None:
    """From one folder to another: Landlock has a right of its own for that."""
    for name in ("one", "two"):
        Path(folder, name).mkdir()
    Path(folder, "one", "file").touch()
    Path(folder, "one", "file").rename(Path(folder, "two", "file"))
    for name in ("one", "two"):
        shutil.rmtree(Path(folder, name))


def _hole(path: str) -> None:
    """From now on whatever a guest reads is the file at `path`."""

    def open_file(_root: Root, _path: object, access: int) -> tuple[int, os.stat_result]:
        descriptor = os.open(path, access)
        return descriptor, os.fstat(descriptor)

    _fault.setattr(Root, "open_file", open_file)


ATTEMPTS: dict[str, Callable[[Any], object]] = {
    "read": lambda path: Path(path).read_bytes(),
    "list": os.listdir,
    "edit": _edit,
    "create": lambda path: Path(path).touch(),
    "truncate": lambda path: os.truncate(path, 0),
    "make folder": os.mkdir,
    "link": lambda path: Path(path).symlink_to("nowhere"),
    "remove": os.unlink,
    "rename": lambda path: Path(path).rename(path + ".new"),
    "across": _across,
    "execute": lambda path: subprocess.run([path], check=True),
    "connect": _connect,
    "bind": _bind,
    "signal": lambda pid: os.kill(pid, 0),
    "hole": _hole,
    "threads": lambda number: None if _threads == number else 1 / 0,
}

_threads = 0
_fault = pytest.MonkeyPatch()


def _outcome(name: str, argument: object) -> str:
    try:
        ATTEMPTS[name](argument)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok"


def main() -> None:
    attempts = json.loads(sys.argv[1])
    outcomes: list[str] = []

    def counting(*arguments: Any) -> Any:
        global _threads  # noqa: PLW0603  (there is one program)
        _threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208  (just how many)
        return enter(*arguments)

    def intrude(*arguments: Any) -> str:
        thread = threading.Thread(target=lambda: outcomes.extend(_outcome(*each) for each in attempts))
        thread.start()
        thread.join()
        return f"Outcomes: {json.dumps(outcomes)}\n{banner(*arguments)}"

    _fault.setattr(cli, "enter", counting)
    _fault.setattr(program, "banner", intrude)
    cli.command(sys.argv[2:])


if __name__ == "__main__":
    main()
