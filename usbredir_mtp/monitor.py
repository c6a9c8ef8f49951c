"""What `--metrics` adds: its sockets, from before the sandbox on, and the pages /metrics and /healthz."""

from __future__ import annotations

from contextlib import ExitStack
from http import HTTPStatus
from typing import TYPE_CHECKING

from usbredir_mtp.metrics import health
from usbredir_mtp.network.addresses import AddressError
from usbredir_mtp.network.http import HttpServer, Kept, Page
from usbredir_mtp.network.listening import ListenError, check, listening

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from pathlib import Path

    from usbredir_mtp.metrics import Served
    from usbredir_mtp.network.addresses import Address
    from usbredir_mtp.network.listening import Listener


PATHS = ("/metrics", "/healthz")


class MonitorError(ValueError):
    """What is asked for cannot be had; the text says why, and what to do."""


def check_monitor(address: Address | None, *, insecure: bool) -> None:
    """Look whether there can be one, without a socket.

    Raises:
        MonitorError: there cannot.
    """
    if address is None:
        return
    try:
        from usbredir_mtp import exposition  # noqa: F401, PLC0415  (an extra, which costs time where nobody asks for it)
    except ImportError as error:
        raise MonitorError(
            "--metrics: prometheus-client is not installed (pip install 'usbredir-mtp[metrics]')"
        ) from error
    try:
        check([address], insecure=insecure)
    except AddressError as error:
        raise MonitorError(
            f"--metrics {address} is open to other machines: use 127.0.0.1, or unix:PATH, or --insecure if all who can "
            "reach it may see the names of devices and exports, and what is done with them"
        ) from error


class Monitor:
    """Listens from the start, answers once it is told for whom.

    Args:
        address: Where; None to do nothing at all.
        insecure: Whether other machines may connect.
        mode: Permissions of a unix socket.
        users: Ids of the users that may connect to it, beside our own and root.

    Raises:
        MonitorError: as of `check_monitor`.
        ListenError: the address cannot be had.
    """

    def __init__(self, address: Address | None, *, insecure: bool, mode: int, users: Collection[int]) -> None:
        check_monitor(address, insecure=insecure)
        self._users = users
        self._stack = ExitStack()
        try:
            self._listeners: Sequence[Listener] = self._stack.enter_context(
                listening([] if address is None else [address], insecure=insecure, mode=mode)
            )
        except ListenError as error:
            raise ListenError(f"--metrics: {error}") from error

    @property
    def banner(self) -> list[str]:
        """What to print when it is ready."""
        addresses = ", ".join(str(listener.address) for listener in self._listeners)
        return [f"Metrics at {addresses}: {' and '.join(PATHS)}"] if addresses else []

    @property
    def files(self) -> list[Path]:
        """Sockets to remove in the end."""
        return [listener.file for listener in self._listeners if listener.file]

    def server(self, devices: Callable[[], Iterable[Served]]) -> HttpServer | None:
        """What serves its pages, if anything does; to be called before a sandbox is entered.

        Args:
            devices: Those that there are at the moment; called by any thread.
        """
        if not self._listeners:
            return None
        from usbredir_mtp.exposition import CONTENT_TYPE, page_of  # noqa: PLC0415  (as above)

        make = page_of(devices)

        async def healthz() -> Page:
            """On the loop's thread: that there is an answer says that it turns."""
            trouble = health(devices())
            if trouble:
                text = "".join(f"{line}\n" for line in trouble)
                return Page(text.encode(), status=HTTPStatus.SERVICE_UNAVAILABLE)
            return Page(f"ok: {_count(len(list(devices())))} served\n".encode())

        metrics = Kept(lambda: Page(make(), CONTENT_TYPE))
        return HttpServer(self._listeners, dict(zip(PATHS, (metrics, healthz), strict=True)), self._users)

    def close(self) -> None:
        """Let go of the sockets."""
        self._stack.close()


def _count(devices: int) -> str:
    return "1 device is" if devices == 1 else f"{devices} devices are"
