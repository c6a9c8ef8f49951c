from __future__ import annotations

from pathlib import Path

import pytest

from usbredir_mtp.network.addresses import MAX_PATH, Address, AddressError, Inherited, Tcp, Unix, parse_address

LONGEST = "/" + "x" * (MAX_PATH - 1)

ADDRESSES: list[tuple[str, Address]] = [
    ("tcp:127.0.0.1:4000", Tcp("127.0.0.1", 4000)),
    ("tcp:vm.example:0", Tcp("vm.example", 0)),
    ("tcp:[::1]:65535", Tcp("::1", 65535)),
    ("tcp:[fe80::1%eth0]:4000", Tcp("fe80::1%eth0", 4000)),
    ("unix:/run/mtp", Unix(Path("/run/mtp"))),
    ("unix:/run/a b:c,d", Unix(Path("/run/a b:c,d"))),
    (f"unix:{LONGEST}", Unix(Path(LONGEST))),
    ("fd:0", Inherited(0)),
    ("fd:3", Inherited(3)),
]


@pytest.mark.parametrize(("text", "address"), ADDRESSES)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


def test_brackets_around_a_name_are_no_part_of_it() -> None:
    assert parse_address("tcp:[127.0.0.1]:1") == Tcp("127.0.0.1", 1)


@pytest.mark.parametrize("text", ["unix:mtp", "unix:./mtp"])
def test_a_relative_path_is_meant_from_here(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_address(text) == Unix(tmp_path / "mtp")


def test_a_path_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert parse_address("unix:~/mtp") == Unix(Path("/home/somebody/mtp"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is no address: use tcp:HOST:PORT, unix:PATH, fd:N or systemd:[NAME]"),
        ("4000", "'4000' is no address: use tcp:"),
        ("tcp", "'tcp' is no address: use tcp:"),
        ("127.0.0.1:4000", "is no address: use tcp:"),
        ("udp:127.0.0.1:4000", "is no address: use tcp:"),
        ("TCP:127.0.0.1:4000", "is no address: use tcp:"),
        ("tcp:", "'tcp:' is no address: use tcp:HOST:PORT"),
        ("tcp:4000", "use tcp:HOST:PORT"),
        ("tcp::4000", "use tcp:HOST:PORT"),
        ("tcp:host", "use tcp:HOST:PORT"),
        ("tcp:host:", "use tcp:HOST:PORT"),
        ("tcp:host:http", "use tcp:HOST:PORT"),
        ("tcp:host:-1", "use tcp:HOST:PORT"),
        ("tcp:host:\u0661", "use tcp:HOST:PORT"),
        ("tcp:host:65536", "a port is a number from 0 to 65535"),
        ("tcp:host:999999", "use tcp:HOST:PORT"),
        ("tcp:::1:4000", "in brackets: tcp:[::1]:4000"),
        ("tcp:[::1:4000", "in brackets: tcp:[::1]:4000"),
        ("tcp:[]:4000", "use tcp:HOST:PORT"),
        ("unix:", "the path of a socket is needed"),
        ("unix:a\0b", "the path of a socket is needed"),
        ("unix:a\nb", "the path of a socket is needed"),
        ("unix:~no-such-user/socket", "unix:~no-such-user/socket: "),
        (f"unix:{LONGEST}x", f"{MAX_PATH + 1} bytes are too long for the path of a socket, {MAX_PATH} is the most"),
        ("unix:/" + "é" * (MAX_PATH // 2 + 1), "too long"),
        ("fd:", "the number of a file descriptor is needed"),
        ("fd:-1", "the number of a file descriptor is needed"),
        ("fd:x", "the number of a file descriptor is needed"),
        ("fd:3 ", "the number of a file descriptor is needed"),
        ("fd:" + "9" * 10, "the number of a file descriptor is needed"),
    ],
)
def test_what_is_no_address(text: str, said: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_address(text)
    assert said in str(caught.value)
