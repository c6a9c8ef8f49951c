from __future__ import annotations

import os

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from usbredir_mtp.mtp.codes import ResponseCode
from usbredir_mtp.mtp.datatypes import decode_string, encode_string
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.names import from_windows, host_name, may_be_altered, to_windows, wire_name

CLEF = "\U0001d11e"
"""One character, two UTF-16 units, four bytes."""
NO_FILE = ["", ".", "..", "/", "a/b", "../x", "/etc/passwd", "\0", "a\0b"]

host_names = (
    st.binary(min_size=1, max_size=300).map(lambda data: data.replace(b"/", b"").replace(b"\0", b"")).map(os.fsdecode)
)
"""Whatever a Linux file system can have, and longer."""


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


# -- what initiators are shown --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["a", "Zoë Ω 日本.txt", CLEF * 127, "x" * 254, "ü" * 254, "a~b.txt", "100%", "trailing. ", "\u200e", "e\u0301"],
)
def test_names_that_mtp_can_say_stay(name: str) -> None:
    assert wire_name(name) == name


@pytest.mark.parametrize(
    ("name", "begins", "ends"),
    [
        ("x" * 255, "xxx", ""),
        ("x" * 300 + ".jpeg", "xxx", ".jpeg"),
        (CLEF * 128, CLEF, ""),
        ("y" * 260 + "." + "s" * 17, "yyy", ""),
        ("." + "h" * 300, ".hhh", ""),
        (os.fsdecode(b"caf\xe9.txt"), "caf%E9", ".txt"),
        (os.fsdecode(b"\xff"), "%FF", ""),
        (os.fsdecode(b"a.\xff\xfe"), "a~", ".%FF%FE"),
    ],
)
def test_names_that_it_cannot_say(name: str, begins: str, ends: str) -> None:
    shown = wire_name(name)
    assert shown.startswith(begins)
    assert shown.endswith(ends)
    assert units(shown) <= 254
    assert may_be_altered(shown)
    assert "~" in shown.removesuffix(ends)[-9:]


def test_shortened_names_use_what_room_there_is() -> None:
    assert units(wire_name("x" * 300 + ".jpeg")) == 254
    assert units(wire_name(CLEF * 200)) in {253, 254}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x" * 300, "x" * 301),
        (CLEF * 128 + "a", CLEF * 128 + "b"),
        (os.fsdecode(b"caf\xe9.txt"), os.fsdecode(b"caf\xe8.txt")),
        (os.fsdecode(b"caf\xe9.txt"), "caf%E9.txt"),
    ],
)
def test_names_stay_apart(one: str, other: str) -> None:
    assert wire_name(one) != wire_name(other)


@given(host_names)
def test_every_name_can_be_sent(name: str) -> None:
    assume(name)
    shown = wire_name(name)
    assert decode_string(encode_string(shown), 0)[0] == shown
    assert wire_name(name) == shown
    assert shown == name or may_be_altered(shown)


@given(host_names, host_names)
def test_no_two_names_are_shown_as_one(one: str, other: str) -> None:
    assume(one != other)
    assert wire_name(one) != wire_name(other)


@pytest.mark.parametrize(
    ("name", "altered"),
    [
        ("a~0123abcd", True),
        ("a~0123abcd.txt", True),
        ("a~0123abc", False),
        ("a~0123ABCD", False),
        ("a.txt", False),
    ],
)
def test_what_looks_altered(name: str, altered: bool) -> None:
    assert may_be_altered(name) is altered


# -- what initiators may give ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "...", ".a", "a\\b", "a:b", "~", "con", " ", "\n", "é" * 200])
def test_names_that_files_can_have(name: str) -> None:
    assert host_name(name) == name


@pytest.mark.parametrize("name", NO_FILE)
def test_names_that_no_file_can_have(name: str) -> None:
    with pytest.raises(MtpError) as caught:
        host_name(name)
    assert caught.value.code is ResponseCode.INVALID_OBJECT_PROP_VALUE


# -- Windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "windows"),
    [
        ("plain name.txt", "plain name.txt"),
        ('"*:<>?\\|', "\uf022\uf02a\uf03a\uf03c\uf03e\uf03f\uf05c\uf07c"),
        ("\x01\t\n\x1f", "\uf001\uf009\uf00a\uf01f"),
        ("ends in a dot.", "ends in a dot\uf02e"),
        ("ends in a blank ", "ends in a blank\uf020"),
        ("a. .", "a. \uf02e"),
        ("a b.c", "a b.c"),
    ],
)
def test_windows_names(host: str, windows: str) -> None:
    assert to_windows(host) == windows
    assert from_windows(windows) == host


@given(host_names)
def test_windows_names_come_back(name: str) -> None:
    assume(name)
    assume(not any("\uf000" <= char <= "\uf07f" for char in name))
    shown = to_windows(name)
    assert from_windows(shown) == name
    assert not set(shown) & {*map(chr, range(32)), *'"*:<>?\\|'}
    assert shown[-1] not in " ."


@pytest.mark.parametrize("code", range(0xF000, 0xF080))
def test_nothing_dangerous_comes_from_the_private_area(code: int) -> None:
    """Neither a path's separator nor a NUL is ever made of something else."""
    assert not set(from_windows(chr(code))) & {"/", "\0"}
