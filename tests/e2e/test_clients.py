"""Every client and every action: the cells of the table that become docs/clients.md."""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass, field
from shlex import quote
from typing import TYPE_CHECKING

import pytest

from tests.e2e.actions import ACTIONS, LOCAL, Action, Seen
from tests.e2e.cells import RESULTS, Results
from tests.e2e.clients import CLIENTS
from tests.e2e.conftest import Bench, GuestPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.e2e.cells import Client, Works
    from tests.e2e.guest import Guest
    from tests.e2e.phone import Phone

CELLS = [pytest.param(client, name, id=f"{client.name}-{name}") for client in CLIENTS for name in client.recipes()]

WORK = "/tmp/cell"
"""Folder of the guest in which recipes run."""

IDS = r"""id() { mtp-filetree 2>/dev/null | sed -n "s/^ *\([0-9]*\) $1\$/\1/p"; }"""
"""For recipes: gives an object's handle by its name, which is all that some of mtp-tools take."""

SETTLE_SECONDS = 15
"""Bound on what a client does after its command has ended: some send a file when it is released."""


def _mounted(phone: Phone, client: Client, stack: contextlib.ExitStack) -> str:
    return stack.enter_context(phone.mounted(client.name)) + "/"


def _gio(phone: Phone, client: Client, stack: contextlib.ExitStack) -> str:
    phone.guest.check("desktop start")
    stack.callback(phone.guest.check, "desktop stop")
    return phone.uri() + "/"


def _gvfs_fuse(phone: Phone, client: Client, stack: contextlib.ExitStack) -> str:
    uri = _gio(phone, client, stack)
    return phone.guest.check(f"gio info {uri} | sed -n 's/^local path: //p'").strip() + "/"


OPENERS: dict[str, Callable[[Phone, Client, contextlib.ExitStack], str]] = {
    "mtp-tools": lambda *_: "/",
    "path": lambda *_: "",
    "gphoto2": lambda *_: "/store_00010001/",
    "mount": _mounted,
    "gio": _gio,
    "gvfs-fuse": _gvfs_fuse,
}
"""How a client is kept open -> opens it, leaves its end on the stack, and gives what stands before a folder's name."""


@dataclass(slots=True)
class Seat:
    """A client with a phone of its own, kept open from cell to cell."""

    client: Client
    options: Sequence[str]
    guest: Guest
    share: Path
    prefix: str
    log: Path
    stack: contextlib.ExitStack


@dataclass(slots=True)
class Seats:
    """Opens one client after another, each with folders for all actions."""

    pool: GuestPool
    folder: Path
    seat: Seat | None = None
    opened: int = 0
    evidence: dict[str, Callable[[], str]] = field(default_factory=dict)

    def take(self, client: Client, options: Sequence[str]) -> Seat:
        """The seat of a client, with a server's options; it stays until another one is taken."""
        seat = self.seat
        if seat is None or (seat.client, seat.options) != (client, options) or seat.guest.status() is not None:
            self.leave()
            self.seat = seat = self._open(client, options)
        return seat

    def leave(self) -> None:
        """Closes the client that is open, if any."""
        if self.seat is not None:
            seat, self.seat = self.seat, None
            seat.stack.close()

    def _open(self, client: Client, options: Sequence[str]) -> Seat:
        self.opened += 1
        share = self.folder / f"{self.opened}-{client.name}" / "share"
        share.mkdir(parents=True)
        for name in client.recipes():
            ACTIONS[name].prepare(share / name)
        guest = self.pool.get()
        self.evidence.clear()
        bench = Bench(guest, share.parent, self.evidence)
        with contextlib.ExitStack() as stack:
            stack.callback(bench.clear)
            server = bench.serve(share, ["-vv", *options])
            phone = bench.plug(server, share)
            prefix = OPENERS[client.opener](phone, client, stack)
            return Seat(client, options, guest, share, prefix, server.log, stack.pop_all())


@pytest.fixture(scope="module")
def seats(guest_pool: GuestPool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seats]:
    seats = Seats(guest_pool, tmp_path_factory.mktemp("clients"))
    yield seats
    seats.leave()


@pytest.fixture(scope="module")
def results(guest_pool: GuestPool) -> Iterator[Results]:
    results = Results.load() if RESULTS.exists() else Results()
    results.versions = dict(line.split() for line in guest_pool.get().check("cat /etc/packages").splitlines())
    yield results
    results.save()


def settled(check: Callable[[Seen], None], seen: Seen) -> None:
    """Repeats a check on the host's folder while a client may still be at work."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            return check(seen)
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def do(seat: Seat, cell: Works, action: Action) -> None:
    """Follows a recipe and looks at what has come of it."""
    guest, folder, earlier = seat.guest, seat.share / action.name, seat.log.stat().st_size
    frame = f"cd {WORK}\n{IDS}\nD={quote(seat.prefix + action.name)}\n"
    guest.check(f"rm -rf {WORK} && mkdir {WORK} && cd {WORK} && {LOCAL}\n{frame}{cell.before}")
    action.act(folder)
    shown = guest.run(frame + cell.script, timeout=240).text
    seen = Seen(folder, shown, guest.run(f"cat {WORK}/out").data)
    if not cell.unseen:
        settled(action.check, seen)
    if cell.operation:
        asked = seat.log.read_bytes()[earlier:].decode(errors="replace")
        assert re.search(rf": {cell.operation}\(.*\): OK", asked), shown


@pytest.mark.parametrize(("client", "name"), CELLS)
def test_cell(
    guest: Guest,
    seats: Seats,
    results: Results,
    evidence: dict[str, Callable[[], str]],
    client: Client,
    name: str,
) -> None:
    results.cells[f"{client.name}-{name}"] = False
    cell = client.recipes()[name]
    seat = seats.take(client, [*client.options, *cell.options])
    evidence.update(seats.evidence)
    with contextlib.ExitStack() as stack:
        stack.callback(seats.leave)  # what has failed may go on, and be in the way of the next
        do(seat, cell, ACTIONS[name])
        stack.pop_all()
    results.cells[f"{client.name}-{name}"] = True
