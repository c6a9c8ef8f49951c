"""Where the password of a SPICE server comes from: never the command line, which every user of the machine can read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbredir_mtp.spice.errors import PasswordError
from usbredir_mtp.spice.ticket import check_password

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

VARIABLE = "USBREDIR_MTP_SPICE_PASSWORD"
"""The environment variable."""

_MAX_FILE = 4096
"""Bytes that are read of a file, which may be a device by mistake."""


def find_password(file: Path | None, environment: Mapping[str, str], prompt: Callable[[], str] | None = None) -> str:
    """The password: the first line of a file, else the environment's, else what the user types, else none.

    Args:
        file: As `--spice-password-file` has it.
        environment: As `os.environ`; an empty variable counts as none.
        prompt: Asks the user, as `getpass.getpass` does; None where nobody is there or shall be asked.

    Returns:
        The password, "" if there is none.

    Raises:
        PasswordError: The file cannot be read or holds none, or no server can have this password.
    """
    if file is not None:
        password, source = _read(file), str(file)
    elif environment.get(VARIABLE):
        password, source = environment[VARIABLE], VARIABLE
    else:
        password, source = prompt() if prompt is not None else "", "SPICE password"
    try:
        check_password(password)
    except PasswordError as error:
        raise PasswordError(f"{source}: {error}") from None
    return password


def _read(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            line = stream.read(_MAX_FILE).partition(b"\n")[0].removesuffix(b"\r")
    except OSError as error:
        raise PasswordError(f"{file}: {error.strerror or error}") from error
    if not line:
        raise PasswordError(f"{file}: its first line is empty, and no password")
    return line.decode(errors="surrogateescape")
