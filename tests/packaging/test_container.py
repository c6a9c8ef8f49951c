"""The container's file, and the health check that it comes with."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from tests.network.program import ROOT, program

if TYPE_CHECKING:
    from pathlib import Path

FILE = ROOT / "packaging" / "Containerfile"


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """Instruction and arguments, comments and continuations apart."""
    lines = re.sub(r"\\\n", " ", re.sub("^#.*\n", "", FILE.read_text(), flags=re.MULTILINE)).splitlines()
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines if line.strip()]


def test_what_it_copies_is_there(instructions: list[tuple[str, str]]) -> None:
    for name, arguments in instructions:
        if name == "COPY" and "--from=" not in arguments:
            *sources, _ = [each for each in shlex.split(arguments) if not each.startswith("--")]
            assert [source for source in sources if not (ROOT / source).exists()] == []


def test_it_runs_as_nobody_and_is_watched(instructions: list[tuple[str, str]]) -> None:
    rows = dict(instructions)
    assert rows["USER"] == "65532:65532"
    assert rows["HEALTHCHECK"].endswith('CMD ["usbredir-mtp-healthcheck"]')
    assert instructions[-1] == ("FROM", "usbredir-mtp"), "what is built where no target is said"


def healthcheck(address: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "healthcheck.py")],
        env={**os.environ, "USBREDIR_MTP_METRICS": address},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return done.returncode, done.stderr


def test_the_health_check(place: Path) -> None:
    where = f"unix:{place}/health"
    with program(place, "--port", "0", "--metrics", where):
        assert healthcheck(where) == (0, "")
    code, said = healthcheck(where)
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith(f"{where}: ")


class _Ill(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503)
        self.end_headers()
        self.wfile.write(b"the watcher is dead\n" if self.path == "/healthz" else b"")

    def log_message(self, *_arguments: object) -> None:
        pass


def test_what_is_not_well() -> None:
    with HTTPServer(("127.0.0.1", 0), _Ill) as server:
        Thread(target=server.handle_request).start()
        assert healthcheck(f"tcp:127.0.0.1:{server.server_port}") == (1, "the watcher is dead\n")


@pytest.mark.parametrize("address", ["", "tcp:here", "unix:"])
def test_a_health_check_of_nothing(address: str) -> None:
    code, said = healthcheck(address)
    assert (code, said.count("\n")) == (1, 1)
