from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from usbredir_mtp.spice.errors import PasswordError
from usbredir_mtp.spice.password import VARIABLE, find_password
from usbredir_mtp.spice.ticket import check_password

if TYPE_CHECKING:
    from pathlib import Path


def never() -> str:
    raise AssertionError("asked")


@pytest.mark.parametrize("text", [b"secret", b"secret\n", b"secret\r\n", b"secret\nsecond line\n"])
def test_the_first_line_of_a_file_comes_first(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "password"
    file.write_bytes(text)
    assert find_password(file, {VARIABLE: "other"}, never) == "secret"


def test_blanks_belong_to_it(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(" a b \n")
    assert find_password(file, {}) == " a b "


def test_then_the_environment() -> None:
    assert find_password(None, {VARIABLE: "secret"}, never) == "secret"


def test_then_the_user() -> None:
    assert find_password(None, {VARIABLE: ""}, lambda: "typed") == "typed"


def test_else_none() -> None:
    assert find_password(None, {}) == ""


def test_bytes_that_are_no_text_reach_the_server(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"p\xe4ss\n")
    assert check_password(find_password(file, {})) == b"p\xe4ss"


@pytest.mark.parametrize(
    ("text", "words"), [(b"", "empty"), (b"\nsecond", "empty"), (b"x" * 61, "at most 60"), (b"a\0b", "NUL")]
)
def test_a_file_without_a_password(tmp_path: Path, text: bytes, words: str) -> None:
    file = tmp_path / "password"
    file.write_bytes(text)
    with pytest.raises(PasswordError, match=words) as caught:
        find_password(file, {})
    assert str(file) in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PasswordError, match="No such file"):
        find_password(tmp_path / "none", {})


def test_the_text_never_shows_the_password() -> None:
    with pytest.raises(PasswordError) as caught:
        find_password(None, {VARIABLE: "hunter2" * 10})
    assert "hunter2" not in str(caught.value)
    assert VARIABLE in str(caught.value)
