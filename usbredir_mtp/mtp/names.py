"""Names on the wire and names on the host.

A host name is whatever the medium allows (file systems: bytes, as PEP 383 strings); a name on the wire is at most 254
UTF-16 units of valid Unicode. Where the two differ the wire's is derived from the host's alone, so that it is stable.
"""

from __future__ import annotations

import hashlib
import os
import re

from usbredir_mtp.mtp.codes import ResponseCode
from usbredir_mtp.mtp.datatypes import MAX_STRING_UNITS
from usbredir_mtp.mtp.errors import MtpError

_ESCAPED_BYTES = range(0xDC80, 0xDD00)  # PEP 383


def wire_name(name: str) -> str:
    """What the initiator is shown for a host's name: the name itself wherever MTP can say it."""
    if name.isascii() and len(name) <= MAX_STRING_UNITS:
        return name
    readable = "".join(f"%{ord(char) - 0xDC00:02X}" if ord(char) in _ESCAPED_BYTES else char for char in name)
    if readable == name and _units(name) <= MAX_STRING_UNITS:
        return name
    return _shortened(readable, hashlib.blake2s(os.fsencode(name), digest_size=4).hexdigest())


_ALTERED = re.compile(r"~[0-9a-f]{8}(\.[^.]{0,16})?")


def may_be_altered(name: str) -> bool:
    """Whether a name on the wire looks like one that `wire_name` had to alter."""
    return _ALTERED.search(name) is not None


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _shortened(readable: str, digest: str) -> str:
    """The name with a digest before its suffix: names that look alike once altered stay apart."""
    stem, dot, suffix = readable.rpartition(".")
    if not stem or len(suffix) > 16:  # noqa: PLR2004  (longer than any file type's suffix)
        stem, dot, suffix = readable, "", ""
    tail = f"~{digest}{dot}{suffix}"
    while _units(stem) + _units(tail) > MAX_STRING_UNITS:
        stem = stem[:-1]
    return stem + tail


def host_name(name: str) -> str:
    """The host's name for one that an initiator wants to give.

    Raises:
        MtpError: INVALID_OBJECT_PROP_VALUE for a name that no file can have or that would lead elsewhere.
    """
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise MtpError(ResponseCode.INVALID_OBJECT_PROP_VALUE, f"not a file name: {name!r}")
    return name


# Where Windows, and what speaks to it, put the characters that it cannot have: the private use area from U+F000 on.
_PRIVATE = 0xF000
_ILLEGAL = [*range(1, 32), *map(ord, '"*:<>?\\|')]
_TO_WINDOWS = {code: _PRIVATE + code for code in _ILLEGAL}
_FROM_WINDOWS = {_PRIVATE + code: code for code in [*_ILLEGAL, ord(" "), ord(".")]}


def to_windows(name: str) -> str:
    """The name with all that Windows cannot have in one replaced; `from_windows` undoes it."""
    name = name.translate(_TO_WINDOWS)
    if name.endswith((" ", ".")):
        name = name[:-1] + chr(_PRIVATE + ord(name[-1]))
    return name


def from_windows(name: str) -> str:
    """The host's name for one that `to_windows` made."""
    return name.translate(_FROM_WINDOWS)
