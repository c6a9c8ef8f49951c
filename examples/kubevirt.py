#!/usr/bin/env python3
"""Plugs a phone into a KubeVirt VM, and does so again whenever the VM is started anew or has moved.

    kubevirt.py VMI [ARGUMENT…]     e.g. kubevirt.py windows11 --export /share

`virtctl usbredir VMI --no-launch` takes one of the VM's slots for USB devices, prints a port of its own choice, relays
one connection, and ends with it. For each port that it prints, usbredir-mtp is started with --connect and the further
arguments. Both have to be in the PATH. SIGTERM and SIGINT unplug the phone. Exit codes: 0 ended by one of them, 2 wrong
usage, of usbredir-mtp's too, 3 a program is missing.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import sys
from contextlib import suppress

FIRST_DELAY, LAST_DELAY = 1.0, 30.0
"""Seconds until the next try after one that was in vain; twice as many after each more, up to the last."""

UNPLUGGING = 20.0
"""Seconds for the phone to be unplugged in: more than usbredir-mtp's --grace."""

USAGE, START = 2, 3
"""Exit codes of usbredir-mtp's."""

ADDRESS = re.compile(r"connect usbredir client at: (?:\[(?P<ipv6>[0-9a-f:]+)\]|(?P<host>[^\[\]:\s]+)):(?P<port>\d+)")


def say(text: str) -> None:
    """Tell whoever reads the log."""
    print(text, file=sys.stderr, flush=True)


async def address_of(output: asyncio.StreamReader) -> str:
    """Where virtctl listens, as --connect takes it; "" if it ends without saying so. All that it says is logged."""
    while line := (await output.readline()).decode(errors="replace"):
        say(f"virtctl: {line.rstrip()}")
        if match := ADDRESS.search(line):
            host = f"[{match['ipv6']}]" if match["ipv6"] else match["host"]
            return f"tcp:{host}:{match['port']}"
    return ""


async def log(output: asyncio.StreamReader) -> None:
    """Pass on what virtctl says."""
    while line := await output.readline():
        say(f"virtctl: {line.decode(errors='replace').rstrip()}")


async def end(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Have a process end."""
    with suppress(ProcessLookupError):
        process.send_signal(number)
    try:
        async with asyncio.timeout(UNPLUGGING):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def attach(vmi: str, arguments: list[str]) -> int | None:
    """Plug the phone in, until something ends; returns usbredir-mtp's exit code, None if it was never started."""
    command = ("virtctl", "usbredir", vmi, "--no-launch")
    virtctl = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert virtctl.stdout is not None
    try:
        address = await address_of(virtctl.stdout)
        if not address:
            return None
        server = await asyncio.create_subprocess_exec("usbredir-mtp", "--connect", address, *arguments)
        ends = [asyncio.ensure_future(each) for each in (virtctl.wait(), server.wait(), log(virtctl.stdout))]
        try:
            await asyncio.wait(ends[:2], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end(server, signal.SIGTERM)
            for each in ends:
                each.cancel()
        return server.returncode
    finally:
        await end(virtctl, signal.SIGINT)


async def keep_attached(vmi: str, arguments: list[str]) -> None:
    """Go on until the arguments prove to be wrong."""
    delay = FIRST_DELAY
    while (code := await attach(vmi, arguments)) != USAGE:
        delay = FIRST_DELAY if code == 0 else min(2 * delay, LAST_DELAY)
        say(f"{vmi}: not attached; next try in {delay:g} s")
        await asyncio.sleep(delay)
    sys.exit(USAGE)


async def main() -> None:
    """The program."""
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):  # noqa: PLR2004  (the name of the VM)
        say("usage: kubevirt.py VMI [ARGUMENT…]")
        sys.exit(USAGE)
    if missing := [name for name in ("virtctl", "usbredir-mtp") if shutil.which(name) is None]:
        say(f"{' and '.join(missing)}: not in the PATH")
        sys.exit(START)
    task = asyncio.ensure_future(keep_attached(sys.argv[1], sys.argv[2:]))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    asyncio.run(main())
