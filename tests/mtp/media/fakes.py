"""Processes that do not parse media, and do what a hostile file might make one do."""

from __future__ import annotations

import sys
from pathlib import Path

_ROOT = str(Path(__file__).parents[3])

_HEAD = f"""
import os, signal, sys
sys.path.insert(0, {_ROOT!r})
from pathlib import Path
from usbredir_mtp.mtp.media.client import Channel
with open(sys.argv[1], "a") as file:
    print(os.getpid(), file=file)
run = len(Path(sys.argv[1]).read_text().split())
channel = Channel.inherited(0)
"""
_READY = 'channel.send({"ready": True})\n'
_JOB = "job = channel.receive_job(60)\nos.close(job.descriptor)\n"
_SERVE = f"while True:\n    {_JOB.replace(chr(10), chr(10) + '    ')}channel.send({{'properties': {{'56455': run}}}})\n"

BEHAVIOURS = {
    "serves": _READY + _SERVE,
    "hangs": _READY + _JOB + "signal.pause()\n",
    "crashes": _READY + _JOB + "os.kill(os.getpid(), signal.SIGSEGV)\n",
    "exits": _READY + _JOB + "os._exit(3)\n",
    "garbage": _READY + _JOB + "os.write(0, bytes([255]) * 100)\nsignal.pause()\n",
    "half": _READY + _JOB + "os.write(0, bytes([9, 0, 0]))\nos._exit(1)\n",
    "quits": _READY + _JOB + "os._exit(0)\n",
    "quits once": _READY + "if run == 1:\n    sys.exit()\n" + _SERVE,
    "quits with its first job": _READY + "if run == 1:\n    channel.receive_job(60)\n    os._exit(0)\n" + _SERVE,
    "never ready": "sys.exit(1)\n",
    "nonsense first": "os.write(0, bytes([255]) * 100)\nsignal.pause()\n",
    "not a picture": _READY + "while True:\n    " + _JOB.replace("\n", "\n    ") + "channel.send({}, b'GIF89a')\n",
    "large picture": (
        _READY
        + _JOB
        + "channel.send({}, bytes.fromhex('ffd8 ffc0 0011 08 0200 0200') + bytes(20))\n"
        + "channel.receive_job(60)\n"
    ),
    "lies": _READY + _JOB + "channel.send({'properties': [1], 'fault': {'x': 1}})\nchannel.receive_job(60)\n",
}


def command(behaviour: str, log: Path) -> list[str]:
    """Runs that; `log` gets a process id a line."""
    return [sys.executable, "-I", "-S", "-c", _HEAD + BEHAVIOURS[behaviour], str(log)]


def runs(log: Path) -> list[int]:
    """The processes that were started."""
    return [int(line) for line in log.read_text("ascii").split()] if log.exists() else []
