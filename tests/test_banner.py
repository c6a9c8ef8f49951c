from __future__ import annotations

import shlex
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from usbredir_mtp.banner import banner, libvirt_xml, qemu_arguments
from usbredir_mtp.exports import Export

EXPORTS = (Export("Photos", Path("/srv/photos")), Export("Music", Path("/srv/music"), read_only=True))


def options(arguments: str, option: str) -> list[dict[str, str]]:
    """What QEMU reads out of an option's values."""
    words = shlex.split(arguments)
    values = [value for word, value in pairwise(words) if word == option]
    return [dict(part.partition("=")[::2] for part in value.split(",")) for value in values]


def test_qemu_s_arguments_fit_together() -> None:
    arguments = qemu_arguments("127.0.0.1", 4000)
    [chardev] = options(arguments, "-chardev")
    controller, redirection = options(arguments, "-device")
    assert chardev == {"socket": "", "id": "mtp", "host": "127.0.0.1", "port": "4000", "reconnect": "1"}
    assert controller == {"qemu-xhci": "", "id": "xhci"}
    assert redirection == {"usb-redir": "", "chardev": chardev["id"], "bus": f"{controller['id']}.0"}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%eth0", "host.example", "a&b'\"<c>"])
def test_libvirt_s_element(host: str) -> None:
    element = ET.fromstring(libvirt_xml(host, 4000))
    assert (element.tag, element.attrib) == ("redirdev", {"bus": "usb", "type": "tcp"})
    [source] = element
    assert source.attrib == {"mode": "connect", "host": host, "service": "4000"}
    [reconnect] = source
    assert reconnect.attrib == {"enabled": "yes", "timeout": "1"}


def test_the_banner() -> None:
    lines = banner(EXPORTS, [("127.0.0.1", 4000)]).splitlines()
    assert lines[:5] == [
        "Sharing",
        "  Photos: /srv/photos (read-write)",
        "  Music: /srv/music (read-only)",
        "Listening on 127.0.0.1:4000",
        "",
    ]
    assert f"  {qemu_arguments('127.0.0.1', 4000)}" in lines
    start = lines.index("libvirt, under <devices>:") + 1
    assert [line.removeprefix("  ") for line in lines[start:]] == libvirt_xml("127.0.0.1", 4000).splitlines()


@pytest.mark.parametrize(
    ("addresses", "listening", "dialled"),
    [
        ([("192.0.2.1", 4000)], "192.0.2.1:4000", "192.0.2.1"),
        ([("::1", 4000)], "[::1]:4000", "::1"),
        ([("0.0.0.0", 4000)], "0.0.0.0:4000", "127.0.0.1"),
        ([("::", 4000)], "[::]:4000", "::1"),
        ([("127.0.0.1", 4000), ("::1", 4001)], "127.0.0.1:4000, [::1]:4001", "127.0.0.1"),
    ],
)
def test_addresses(addresses: list[tuple[str, int]], listening: str, dialled: str) -> None:
    text = banner(EXPORTS, addresses)
    assert f"\nListening on {listening}\n" in text
    assert f"host={dialled},port=4000," in text
    element = ET.fromstring(text[text.index("<redirdev") :])
    assert [(source.get("host"), source.get("service")) for source in element] == [(dialled, "4000")]
