"""The server of a monitor's pages: what it says, and what it takes to keep it from saying it."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usbredir_mtp.network import http
from usbredir_mtp.network.addresses import Tcp, Unix
from usbredir_mtp.network.http import MAX_CONNECTIONS, MAX_REQUEST, HttpServer, Kept, Page, Request, encode, parse
from usbredir_mtp.network.listening import Peer, listening
from usbredir_mtp.network.loop import run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from usbredir_mtp.network.addresses import Address

PATIENCE = 20.0
GET = b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n"
BODY = b"all is well\n"

Answer = tuple[int, dict[str, str], bytes]


@pytest.mark.parametrize(
    ("data", "request_"),
    [
        (GET, Request("/page", with_body=True)),
        (b"HEAD /page HTTP/1.0\r\n\r\n", Request("/page", with_body=False)),
        (b"GET /page?name[]=x HTTP/1.1\n\n", Request("/page", with_body=True)),
        (b"GET /\xff HTTP/1.1\r\n\r\n", Request("/\xff", with_body=True)),
        (b"GET http://x/page HTTP/1.1\r\n\r\n", Request("http://x/page", with_body=True)),
        (GET + b"more", Request("/page", with_body=True)),
        (b"", None),
        (GET[:-1], None),
        (b"POST /page HTTP/1.1\r\n\r\n", HTTPStatus.METHOD_NOT_ALLOWED),
        (b"get /page HTTP/1.1\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET /page\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"x" * (MAX_REQUEST - 1), None),
        (b"x" * MAX_REQUEST, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
        (b"x" * MAX_REQUEST + GET, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
    ],
)
def test_parse(data: bytes, request_: object) -> None:
    assert parse(data) == request_
    assert parse(bytearray(data)) == request_


@given(st.binary(max_size=200) | st.builds(lambda a, b: a + b, st.sampled_from([GET, b"GET "]), st.binary()))
def test_nothing_breaks_it(data: bytes) -> None:
    parsed = parse(data)
    assert parsed is None or isinstance(parsed, Request | HTTPStatus)


def test_encode() -> None:
    page = Page(BODY)
    assert encode(page) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 12\r\n"
        b"Cache-Control: no-store\r\nConnection: close\r\n\r\n" + BODY
    )
    assert encode(page, with_body=False) == encode(page).removesuffix(BODY)


class Bench:
    """A server on a thread of its own."""

    def __init__(self, server: HttpServer, address: Address, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self.address = address
        self.loop = loop

    def connect(self) -> socket.socket:
        if isinstance(self.address, Unix):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(PATIENCE)
            sock.connect(str(self.address.path))
            return sock
        assert isinstance(self.address, Tcp)
        return socket.create_connection((self.address.host, self.address.port), PATIENCE)

    def ask(self, *pieces: bytes) -> Answer:
        with self.connect() as sock:
            for piece in pieces:
                sock.sendall(piece)
            return answer(sock)

    def in_loop(self, function: Callable[[], object]) -> object:
        async def call() -> object:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(PATIENCE)


def answer(sock: socket.socket) -> Answer:
    """Status, fields and body, up to the end of the connection."""
    data = b""
    while piece := sock.recv(1 << 16):
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *fields = head.decode("ascii").split("\r\n")
    return int(first.split(" ")[1]), dict(field.split(": ", 1) for field in fields), body


def is_over(sock: socket.socket) -> bool:
    """Wait for the end of a connection, without an answer."""
    with suppress(ConnectionResetError):
        return sock.recv(1) == b""
    return True


async def page() -> Page:
    return Page(BODY)


async def fail() -> Page:
    raise ValueError("a fault")


@contextmanager
def serving(
    address: Address | None = None, make: Callable[[], Awaitable[Page]] = page, loop: str = "asyncio"
) -> Iterator[Bench]:
    began = threading.Event()
    benches: list[Bench] = []
    ends: list[asyncio.Event] = []

    async def main() -> None:
        with listening([address or Tcp("127.0.0.1", 0)], mode=0o600) as listeners:
            server = HttpServer(listeners, {"/page": make, "/fault": fail})
            await server.start()
            benches.append(Bench(server, listeners[0].address, asyncio.get_running_loop()))
            ends.append(asyncio.Event())
            began.set()
            await ends[0].wait()
            server.close()

    thread = threading.Thread(target=run, args=(main(), loop))
    thread.start()
    try:
        assert began.wait(PATIENCE)
        yield benches[0]
    finally:
        benches[0].loop.call_soon_threadsafe(ends[0].set)
        thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.fixture
def bench() -> Iterator[Bench]:
    with serving() as bench:
        yield bench


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_page(place: Path, loop: str) -> None:
    for address in (None, Unix(place / "http")):
        with serving(address, loop=loop) as bench:
            status, fields, body = bench.ask(GET)
            assert (status, body) == (200, BODY)
            assert fields["Content-Length"] == str(len(BODY))
            assert bench.ask(*(GET[at : at + 1] for at in range(len(GET)))) == (200, fields, BODY)
            assert bench.ask(GET.replace(b"GET", b"HEAD")) == (200, fields, b"")
    assert not (place / "http").exists()


def test_what_it_refuses(bench: Bench) -> None:
    assert bench.ask(b"GET /pages HTTP/1.1\r\n\r\n")[::2] == (404, b"Not Found: there are /page and /fault\n")
    status, fields, body = bench.ask(GET.replace(b"GET", b"DELETE"))
    assert (status, fields["Allow"], body) == (405, "GET, HEAD", b"Method Not Allowed\n")
    assert bench.ask(b"nonsense\r\n\r\n")[::2] == (400, b"Bad Request\n")
    assert bench.ask(b"GET /page HTTP/1.1\r\nX: ".ljust(MAX_REQUEST, b"x"))[0] == 431
    assert bench.ask(GET)[0] == 200


def test_a_fault_of_ours_is_one_answer(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    assert bench.ask(b"GET /fault HTTP/1.1\r\n\r\n")[::2] == (500, b"Internal Server Error\n")
    assert "please report it: GET /fault" in caplog.text
    assert bench.ask(GET)[0] == 200


def test_whoever_says_nothing_or_does_not_end_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "TIMEOUT", 0.05)
    with serving() as bench, bench.connect() as silent, bench.connect() as slow:
        slow.sendall(GET[:-1])
        assert is_over(silent)
        assert is_over(slow)


def test_whoever_takes_no_answer_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "TIMEOUT", 0.2)

    async def large() -> Page:
        return Page(bytes(64 << 20))

    with serving(make=large) as bench, bench.connect() as sock:
        sock.sendall(GET)
        ended = threading.Event()

        def watch() -> None:
            connections = bench.server.connections
            if not connections:
                ended.set()
            else:
                bench.loop.call_later(0.01, watch)

        while not bench.in_loop(lambda: len(bench.server.connections)):
            pass
        bench.loop.call_soon_threadsafe(watch)
        assert ended.wait(PATIENCE)


@pytest.mark.parametrize("count", [MAX_CONNECTIONS, 5 * MAX_CONNECTIONS])
def test_the_oldest_connections_give_way(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(http, "TIMEOUT", 1e6)
    with serving() as bench:
        held = [bench.connect() for _ in range(count)]
        assert bench.ask(GET)[0] == 200
        for sock in held[: count - MAX_CONNECTIONS + 1]:
            assert is_over(sock)
        assert bench.in_loop(lambda: len(bench.server.connections)) == MAX_CONNECTIONS - 1
        for sock in held[count - MAX_CONNECTIONS + 1 :]:
            sock.sendall(GET)
            assert answer(sock)[0] == 200
        for sock in held:
            sock.close()


def test_the_user_of_a_unix_socket(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(Unix(place / "http")) as bench:
        monkeypatch.setattr(http, "peer_of", lambda _sock: Peer(1, 4_000_000_000))
        with bench.connect() as sock:
            assert is_over(sock)
        assert "refused a process of user 4000000000; --allow-user 4000000000" in caplog.text
        bench.server.users |= {4_000_000_000}
        assert bench.ask(GET)[0] == 200
    assert {0, os.geteuid(), 5} == HttpServer([], {}, [5]).users


def test_the_end_waits_for_nobody() -> None:
    asked, go_on = threading.Event(), asyncio.Event()

    async def never() -> Page:
        asked.set()
        await go_on.wait()
        return Page(BODY)

    with serving(make=never) as bench:
        silent, waiting = bench.connect(), bench.connect()
        waiting.sendall(GET)
        assert asked.wait(PATIENCE)
    for sock in (silent, waiting):
        assert is_over(sock)
        sock.close()


class Maker:
    """Makes pages on another thread, when it is let."""

    def __init__(self) -> None:
        self.made = 0
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def __call__(self) -> Page:
        assert threading.current_thread() is not threading.main_thread()
        self.begun.set()
        assert self.go_on.wait(PATIENCE)
        self.made += 1
        return Page(b"%d" % self.made)


def test_a_page_is_kept_and_made_once() -> None:
    make = Maker()
    kept = Kept(make, 1e6)

    async def main() -> None:
        first, second = asyncio.ensure_future(kept()), asyncio.ensure_future(kept())
        await asyncio.to_thread(make.begun.wait, PATIENCE)
        second.cancel()
        await asyncio.wait([second])
        make.go_on.set()
        assert (await first).body == (await kept()).body == b"1"

    asyncio.run(main())


def test_a_page_is_made_anew() -> None:
    make = Maker()
    make.go_on.set()
    kept = Kept(make, 0.0)

    async def main() -> None:
        assert [(await kept()).body for _ in range(3)] == [b"1", b"2", b"3"]

    asyncio.run(main())


def test_a_page_that_cannot_be_made_is_tried_again() -> None:
    pages: Iterator[Page | ValueError] = iter([ValueError("a fault"), Page(BODY)])

    def make() -> Page:
        made = next(pages)
        if isinstance(made, Page):
            return made
        raise made

    async def main() -> None:
        kept = Kept(make, 0.0)
        with pytest.raises(ValueError, match="a fault"):
            await kept()
        assert (await kept()).body == BODY

    asyncio.run(main())
