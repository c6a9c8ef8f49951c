"""Names that somebody might hope to get something out of."""

from __future__ import annotations

import struct
from typing import NamedTuple

_PATHS = [
    *("", ".", "..", "/", "//", "./", "../", "/.", "/..", "../..", "../../", "./.", "./..", ".//..", "..//"),
    *("../outside", "../outside/new", "../../outside", "../share", "../share/new", "./new", "new/", "new/.", "new/.."),
    *("a/b", "a//b", "a/../../outside/new", "folder/new", "folder/../new", "folder/../../outside/new", "file/new"),
    *("/etc/passwd", "/tmp/new", "//server/share", "/proc/self/cwd/new", "/dev/null", "/dev/stdout", "/proc/self/fd/1"),
    *("file:///etc/passwd", "http://localhost/", "~/new", "..;/new", "....//", "..\\../new", "C:/new", "%2e%2e/new"),
    *("a" * 100 + "/" + "b" * 100, "../" * 40 + "new", "/" * 200, " /", "/ ", "\n/", "\u202e/", "a/\u0301"),
]
_NUL = ["\0", "a\0", "\0a", "a\0b", "..\0", "..\0a", "file\0.txt", "\0\0", "../outside\0", "new\0/../../outside"]
_SURROGATES = [
    *(
        "\ud800",
        "\udbff",
        "\udc00",
        "\udfff",
        "\udc00\ud800",
        "a\ud800",
        "\ud800a",
        "a\udc80",
        "\udc2f",
        "\udc2e\udc2e",
    ),
    *("\udcc0\udcaf", "\udce0\udc80\udcaf", "..\udcc0\udcafoutside", "\udcff", "\ud83c", "x\udfb5", "\ud800\ud800"),
]
"""Halves of pairs; those from U+DC80 on are how Python writes bytes that are no UTF-8: C0 AF is an overlong slash."""

_LENGTHS = [
    *("n" * 253, "n" * 254, "n" * 255, "n" * 256, "n" * 300, "é" * 127, "é" * 128, "é" * 254, "日" * 85, "日" * 86),
    *("🎵" * 63, "🎵" * 64, "🎵" * 127, "e\u0301" * 85, "e\u0301" * 86, "." + "n" * 253, "." * 254, " " * 254, "." * 3),
]
_CONTROLS = [f"a{chr(code)}b" for code in [*range(1, 0x20), *range(0x7F, 0x8A)]] + [
    "\n",
    "\r\n",
    "\x1b[2J",
    "\x7f",
    "\x01",
]
_WINDOWS = [
    *("CON", "PRN", "AUX", "NUL", "con", "nul.txt", "CON.", "COM1", "COM9.log", "LPT1", "LPT9", "CLOCK$", "$Mft"),
    *(
        "a:b",
        "a::$DATA",
        "C:",
        "C:\\new",
        "\\",
        "..\\outside",
        "..\\..\\outside",
        "\\\\server\\share",
        "\\\\?\\C:\\new",
    ),
    *("a\\b", "*", "?", '"', "<", ">", "|", "desktop.ini", "Thumbs.db", "\uf02a\uf03f", "\uf05c\uf02f"),
]
_EDGES = [
    *(" ", "  ", " a", "a ", "a.", "a..", ". ", " .", ".. ", " ..", "...", "....", ".a", "..a", ".hidden.", "-", "--"),
    *(
        "-rf",
        "~",
        "~root",
        "~0123abcd",
        "a~0123abcd.txt",
        "a.b.c.d",
        "#",
        "$(reboot)",
        "`id`",
        "a;b",
        "a&b",
        "%s%n",
        "%00",
    ),
]
_LOOK_ALIKES = [
    *(
        "\u2024\u2024",
        "\u2025",
        "\u2026",
        "\uff0e\uff0e",
        "\uff0f",
        "\u2215",
        "\u2044",
        "\u29f8",
        "\uff0e\uff0e\uff0fnew",
    ),
    *("\xc0\xaf", "..\xc0\xaf..", "\xe0\x80\xaf", "%2e%2e%2fnew", "%c0%af", "..%2foutside", "\u3002\u3002", ".\u200b."),
]
_DIRECTIONS = [
    *(
        "\u202etxt.exe",
        "a\u202eb",
        "\u202d",
        "\u2066a\u2069",
        "\u200f",
        "\u200e.",
        "\u200b",
        "\u200d",
        "\ufeffa",
        "\ufeff",
    ),
    *("مرحبا", "שלום.txt", "a\u0300\u0301\u0302", "\u0301", "\u00a0", "\u3000", "\u2028", "\u2029", "\u0085"),
]
_NON_CHARACTERS = ["\ufffe", "\uffff", "\ufdd0", "\ufdef", "\U0001fffe", "\U0010ffff", "\U000f0000", "\ufffd", "\ue000"]
_OURS = [".usbredir-mtp-0.part", ".usbredir-mtp-", ".part", ".usbredir-mtp-../outside.part"]

HOSTILE: list[str] = list(
    dict.fromkeys(
        [
            *_PATHS,
            *_NUL,
            *_SURROGATES,
            *_LENGTHS,
            *_CONTROLS,
            *_WINDOWS,
            *_EDGES,
            *_LOOK_ALIKES,
            *_DIRECTIONS,
            *_NON_CHARACTERS,
            *_OURS,
        ]
    )
)

HOST_ONLY: list[bytes] = [
    *(
        b"\xff",
        b"caf\xe9",
        b"\xc0\xaf",
        b"..\xc0\xaf..",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xed\xb2\xaf",
        b"\xf5\x80\x80\x80",
    ),
    *(b"n" * 255, b"\x80" * 255, b"\xc3", b"a\xffb", b"\xfe\xff", b"\xf0\x9f\x8e"),
]
"""Names that files can have, and that cannot be said in MTP as they are."""


class Verdict(NamedTuple):
    """Whether a file can have the name, by the rules of Linux and of MTP, and the name on the wire."""

    legal: bool
    wire: bytes


def judge(name: str) -> Verdict:
    """What is to become of a name; a string that MTP has no room for goes out with a count that it cannot keep."""
    units = name.encode("utf-16-le", "surrogatepass") + b"\0\0"
    wire = struct.pack("<B", min(len(units) // 2, 255)) + units if name else b"\0"
    forbidden = name in {"", ".", ".."} or "/" in name or "\0" in name
    paired = name.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore") == name
    fits = len(units) <= 2 * 255 and len(name.encode("utf-8", "surrogatepass")) <= 255
    ours = name.startswith(".usbredir-mtp-") and name.endswith(".part")
    return Verdict(not forbidden and paired and fits and not ours, wire)
