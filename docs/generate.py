"""Writes docs/responder.md from the responder's own tables: python docs/generate.py."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import (
    DataType,
    DeviceProperty,
    EventCode,
    ObjectFormat,
    ObjectProperty,
    OperationCode,
)
from usbredir_mtp.mtp.device_properties import DEVICE_PROPERTIES
from usbredir_mtp.mtp.events import EVENTS
from usbredir_mtp.mtp.formats import PLAYBACK_FORMATS, suffixes
from usbredir_mtp.mtp.identity import ANDROID_EXTENSIONS, VENDOR_EXTENSIONS
from usbredir_mtp.mtp.object_properties import CONTENT_PROPERTIES, OBJECT_PROPERTIES
from usbredir_mtp.mtp.operations import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

PAGE = Path(__file__).with_name("responder.md")

_HEAD = f"""# What the responder has

Made by `python docs/generate.py` from the tables that the responder runs by, which are also what DeviceInfo lists.
Vendor extensions: `{VENDOR_EXTENSIONS}`, with `--android` `{ANDROID_EXTENSIONS}`.
"""


def _table(titles: str, rows: Iterable[tuple[object, ...]]) -> str:
    columns = titles.split(" | ")
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _operations() -> str:
    rows = []
    for code, operation in OPERATIONS.items():
        text = (inspect.getdoc(operation.handler) or "").partition("\n")[0]
        rows.append((f"{OperationCode(code):04X}", text, "" if operation.needs_session else "no"))
    return _table("code | operation | needs a session", rows)


def _object_properties() -> str:
    rows = []
    for code, spec in {**OBJECT_PROPERTIES, **CONTENT_PROPERTIES}.items():
        notes = ["settable"] * spec.settable + ["pictures, music, films: only if asked for"] * (
            code in CONTENT_PROPERTIES
        )
        rows.append((f"{code:04X}", _words(ObjectProperty(code).name), DataType(spec.kind).name, ", ".join(notes)))
    return _table("code | property | type | ", rows)


def _device_properties() -> str:
    return _table(
        "code | property | type | settable",
        (
            (f"{code:04X}", _words(DeviceProperty(code).name), DataType(spec.kind).name, "yes" if spec.settable else "")
            for code, spec in DEVICE_PROPERTIES.items()
        ),
    )


def _events() -> str:
    return _table("code | event", ((f"{code:04X}", _words(EventCode(code).name)) for code in EVENTS))


def _formats() -> str:
    return _table(
        "code | format | files",
        (
            (f"{code:04X}", _words(ObjectFormat(code).name), ", ".join(f".{each}" for each in suffixes(code)))
            for code in PLAYBACK_FORMATS
        ),
    )


_SECTIONS = {
    "Operations": _operations,
    "Object properties": _object_properties,
    "Device properties": _device_properties,
    "Events": _events,
    "Formats": _formats,
}


def page() -> str:
    """The whole page."""
    return "\n\n".join([_HEAD.rstrip(), *(f"## {title}\n\n{make()}" for title, make in _SECTIONS.items())]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
