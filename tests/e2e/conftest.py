"""Fixtures of the end-to-end tests: guests, servers, phones, and what a failure report shows."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e import image
from tests.e2e.guest import QEMU, Guest
from tests.e2e.phone import Phone
from tests.e2e.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from tests.e2e.image import GuestImage

HERE = Path(__file__).parent
pytest.register_assert_rewrite("tests.e2e.actions")

REQUIRE_VARIABLE = "USBREDIR_MTP_REQUIRE_ALL"
TEST_SECONDS = 600
"""Bound on one test with its fixtures, the download of a guest included."""

EVIDENCE = pytest.StashKey[dict[str, "Callable[[], str]"]]()
"""On a test: title of a section of its failure report -> its text."""


def boots(item: pytest.Item) -> bool:
    """Whether a test needs a guest."""
    return HERE in item.path.parents and "guest_image" in getattr(item, "fixturenames", ())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if boots(item):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(TEST_SECONDS))
            if config.pluginmanager.hasplugin("xdist"):
                item.add_marker(pytest.mark.xdist_group("e2e"))  # with --dist loadgroup: one boot


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for title, text in item.stash.get(EVIDENCE, {}).items():
            report.sections.append((title, text()))
    return report


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> dict[str, Callable[[], str]]:
    node: pytest.Item = request.node
    return node.stash.setdefault(EVIDENCE, {})


def pytest_runtest_setup(item: pytest.Item) -> None:
    # here and not in the fixture: so all tests that are skipped share one line of the summary
    if boots(item):
        reason = _unavailable()
        if reason and os.environ.get(REQUIRE_VARIABLE) == "1":
            pytest.fail(reason, pytrace=False)
        if reason:
            pytest.skip(reason)


@functools.cache
def _unavailable() -> str | None:
    """Why there can be no guest on this machine; builds its image if it can."""
    missing = image.missing()
    if shutil.which(QEMU) is None:
        missing.insert(0, f"{QEMU} (package qemu-system-x86)")
    if missing:
        return f"end-to-end tests need {', '.join(missing)}"
    try:
        image.image()
    except image.ImageError as error:
        return f"end-to-end tests need a guest image: {error}"
    return None


@pytest.fixture(scope="session")
def guest_image() -> GuestImage:
    """What guests boot; tests that ask for it are skipped where it cannot be had."""
    return image.image()


@dataclass(slots=True)
class GuestPool:
    """Keeps one guest running for all tests, and boots another when a test has lost it."""

    image: GuestImage
    folder: Path
    guest: Guest | None = None
    boots: int = 0

    def get(self) -> Guest:
        if self.guest is None or self.guest.status() is not None:
            self.boots += 1
            folder = self.folder / f"guest-{self.boots}"
            self.guest = Guest.start(self.image, folder)
        return self.guest


@pytest.fixture(scope="session")
def guest_pool(guest_image: GuestImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuestPool]:
    pool = GuestPool(guest_image, tmp_path_factory.mktemp("guests"))
    yield pool
    if pool.guest is not None and pool.guest.status() is None:
        assert pool.guest.stop() == 0, pool.guest.logs()


@pytest.fixture
def guest(guest_pool: GuestPool, evidence: dict[str, Callable[[], str]]) -> Iterator[Guest]:
    """The guest that the tests share: QEMU outlives every one of them, unless they end it."""
    guest = guest_pool.get()
    _show_guest(evidence, guest)
    yield guest
    assert guest.fault() is None, guest.fault()


@pytest.fixture
def boot(
    guest_image: GuestImage,
    tmp_path: Path,
    evidence: dict[str, Callable[[], str]],
) -> Iterator[Callable[[Sequence[str]], Guest]]:
    """Boots guests of a test's own, with further arguments for QEMU."""
    guests: list[Guest] = []

    def start(arguments: Sequence[str] = ()) -> Guest:
        folder = tmp_path / f"guest-{len(guests)}"
        guests.append(Guest.start(guest_image, folder, arguments))
        _show_guest(evidence, guests[-1], f" {len(guests)}")
        return guests[-1]

    yield start
    with contextlib.ExitStack() as stack:
        for guest in guests:
            stack.callback(guest.stop)
    faults = [guest.fault() for guest in guests]
    assert not any(faults), faults


@dataclass(slots=True)
class Bench:
    """Starts servers and plugs their phones into the shared guest; takes all away again."""

    guest: Guest
    folder: Path
    evidence: dict[str, Callable[[], str]]
    servers: list[Server] = field(default_factory=list)
    plugged: list[str] = field(default_factory=list)

    def serve(self, root: Path, options: Sequence[str] = (), port: int = 0) -> Server:
        log = self.folder / f"server-{len(self.servers)}.log"
        self.evidence[f"server {len(self.servers)}"] = log.read_text
        server = Server.start([root], log, options, port)
        self.servers.append(server)
        return server

    def plug(self, server: Server, root: Path, bus: str = "xhci.0") -> Phone:
        name = f"phone{len(self.plugged)}"
        before = set(self.guest.wait_phones(len(self.plugged)))
        self.guest.plug(server.port, bus, name)
        self.plugged.append(name)
        (place,) = set(self.guest.wait_phones(len(self.plugged))) - before
        return Phone(self.guest, server, root, *place)

    def clear(self) -> None:
        with contextlib.ExitStack() as stack:
            for server in self.servers:
                stack.callback(server.stop)
            if self.guest.status() is None:
                for name in self.plugged:
                    self.guest.unplug(name)
                self.guest.wait_phones(0)


@pytest.fixture
def bench(guest: Guest, tmp_path: Path, evidence: dict[str, Callable[[], str]]) -> Iterator[Bench]:
    bench = Bench(guest, tmp_path, evidence)
    try:
        yield bench
    finally:
        bench.clear()


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """The folder that a test shares with the guest."""
    folder = tmp_path / "share"
    folder.mkdir()
    return folder


@pytest.fixture
def phone(bench: Bench, share: Path) -> Phone:
    """A phone on xHCI at the default speed, sharing `share`."""
    return bench.plug(bench.serve(share), share)


@pytest.fixture
def desktop(guest: Guest) -> Iterator[None]:
    """A session bus in the guest, so that gio and gvfs work."""
    guest.check("desktop start")
    yield
    guest.check("desktop stop")


@pytest.fixture
def scratch(guest: Guest) -> Iterator[str]:
    """An empty folder in the guest."""
    guest.check("rm -rf /tmp/scratch && mkdir /tmp/scratch")
    yield "/tmp/scratch"
    guest.run("rm -rf /tmp/scratch")


def _show_guest(evidence: dict[str, Callable[[], str]], guest: Guest, suffix: str = "") -> None:
    earlier = len(guest.transcript)
    evidence[f"guest{suffix}"] = guest.logs
    evidence[f"guest{suffix} commands"] = lambda: "\n".join(guest.transcript[earlier:])
