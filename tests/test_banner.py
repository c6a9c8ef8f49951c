from __future__ import annotations

import shlex
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from usbredir_mtp.banner import banner, libvirt_xml, qemu_arguments
from usbredir_mtp.exports import Export
from usbredir_mtp.network.addresses import Address, Inherited, Tcp, Unix

EXPORTS = (Export("Photos", Path("/srv/photos")), Export("Music", Path("/srv/music"), read_only=True))


def options(arguments: str, option: str) -> list[dict[str, str]]:
    """What QEMU reads out of an option's values."""
    words = shlex.split(arguments)
    values = [value for word, value in pairwise(words) if word == option]
    return [dict(part.partition("=")[::2] for part in value.split(",")) for value in values]


def test_qemu_s_arguments_fit_together() -> None:
    arguments = qemu_arguments(Tcp("127.0.0.1", 4000))
    [chardev] = options(arguments, "-chardev")
    controller, redirection = options(arguments, "-device")
    assert chardev == {"socket": "", "id": "mtp", "host": "127.0.0.1", "port": "4000", "reconnect": "1"}
    assert controller == {"qemu-xhci": "", "id": "xhci"}
    assert redirection == {"usb-redir": "", "chardev": chardev["id"], "bus": f"{controller['id']}.0"}


def test_qemu_s_arguments_for_a_unix_socket() -> None:
    [chardev] = options(qemu_arguments(Unix(Path("/run/mtp"))), "-chardev")
    assert chardev == {"socket": "", "id": "mtp", "path": "/run/mtp", "reconnect": "1"}


def test_a_path_that_is_awkward() -> None:
    arguments = qemu_arguments(Unix(Path("/run/my phone,$HOME's")))
    words = shlex.split(arguments)
    assert words[words.index("-chardev") + 1] == "socket,id=mtp,path=/run/my phone,,$HOME's,reconnect=1"


@pytest.mark.parametrize("path", ["/run/mtp", "/run/a&b'\"<c>"])
def test_libvirt_s_element_for_a_unix_socket(path: str) -> None:
    element = ET.fromstring(libvirt_xml(Unix(Path(path))))
    assert (element.tag, element.attrib) == ("redirdev", {"bus": "usb", "type": "unix"})
    [source] = element
    assert source.attrib == {"mode": "connect", "path": path}
    [reconnect] = source
    assert reconnect.attrib == {"enabled": "yes", "timeout": "1"}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%eth0", "host.example", "a&b'\"<c>"])
def test_libvirt_s_element(host: str) -> None:
    element = ET.fromstring(libvirt_xml(Tcp(host, 4000)))
    assert (element.tag, element.attrib) == ("redirdev", {"bus": "usb", "type": "tcp"})
    [source] = element
    assert source.attrib == {"mode": "connect", "host": host, "service": "4000"}
    [reconnect] = source
    assert reconnect.attrib == {"enabled": "yes", "timeout": "1"}


def test_the_banner() -> None:
    address = Tcp("127.0.0.1", 4000)
    lines = banner(EXPORTS, [address]).splitlines()
    assert lines[:5] == [
        "Sharing",
        "  Photos: /srv/photos (read-write)",
        "  Music: /srv/music (read-only)",
        "Listening on tcp:127.0.0.1:4000",
        "",
    ]
    assert f"  {qemu_arguments(address)}" in lines
    start = lines.index("libvirt, under <devices>:") + 1
    assert [line.removeprefix("  ") for line in lines[start:]] == libvirt_xml(address).splitlines()


@pytest.mark.parametrize(
    ("address", "dialled"),
    [
        (Tcp("192.0.2.1", 4000), {"host": "192.0.2.1", "service": "4000"}),
        (Tcp("::1", 4000), {"host": "::1", "service": "4000"}),
        (Tcp("0.0.0.0", 4000), {"host": "127.0.0.1", "service": "4000"}),
        (Tcp("::", 4000), {"host": "::1", "service": "4000"}),
        (Unix(Path("/run/mtp")), {"path": "/run/mtp"}),
    ],
)
def test_addresses(address: Address, dialled: dict[str, str]) -> None:
    text = banner(EXPORTS, [address])
    assert f"\nListening on {address}\n" in text
    [chardev] = options(text[text.index("  -device") :].splitlines()[0], "-chardev")
    assert {
        "service" if name == "port" else name: chardev[name] for name in chardev.keys() & {"host", "port", "path"}
    } == (dialled)
    [source] = ET.fromstring(text[text.index("<redirdev") :])
    assert source.attrib == {"mode": "connect", **dialled}


def test_several_addresses() -> None:
    addresses: list[Address] = [Tcp("127.0.0.1", 4000), Inherited(3), Unix(Path("/run/mtp")), Tcp("::1", 4001)]
    text = banner((), addresses)
    lines = [line.strip() for line in text.splitlines()]
    assert lines[1] == "Listening on tcp:127.0.0.1:4000, fd:3, unix:/run/mtp, tcp:[::1]:4001"
    assert lines[4] == qemu_arguments(Tcp("127.0.0.1", 4000))
    others = lines[lines.index("or, in place of that -chardev:") + 1 :][:2]
    assert [options(line, "-chardev")[0].get("path") for line in others] == ["/run/mtp", None]
    assert [options(line, "-chardev")[0].get("host") for line in others] == [None, "::1"]
    elements = [ET.fromstring(line) for line in lines[lines.index("or:") + 1 :]]
    assert [element.attrib["type"] for element in elements] == ["unix", "tcp"]


def test_many_addresses_are_no_long_text() -> None:
    text = banner((), [Tcp("127.0.0.1", number) for number in range(1, 41)])
    assert "tcp:127.0.0.1:40" in text
    assert len(text.splitlines()) < 24


def test_an_address_that_nobody_can_name() -> None:
    assert banner(EXPORTS[:1], [Inherited(3)]).splitlines() == [
        "Sharing",
        "  Photos: /srv/photos (read-write)",
        "Listening on fd:3",
    ]
