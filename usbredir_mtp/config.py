"""The configuration file: TOML, with the long options as keys, and a table for each device and export."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

Table = dict[str, Any]


class ConfigError(ValueError):
    """A file that cannot be used; the text names the file and the key."""


@dataclass(slots=True, frozen=True)
class Section:
    """The whole file, or a device's table in it.

    Attributes:
        where: For messages.
        settings: Option, with underscores -> what it is set to.
        exports: A table for each; a text is a table's `export` key.
    """

    where: str
    settings: Table
    exports: list[Table]


@dataclass(slots=True, frozen=True)
class Config:
    """A file.

    Attributes:
        top: What holds for all devices.
        devices: Name -> what is a device's own; empty where there is but one, which has no table.
    """

    top: Section
    devices: dict[str, Section] = field(default_factory=dict)

    def section(self, device: str) -> Section:
        """What it has for a device; "" stands for what holds for all."""
        return self.devices[device] if device else self.top


def read_config(path: Path, keys: Collection[str], device_keys: Collection[str]) -> Config:
    """A file's settings.

    Args:
        path: The file.
        keys: The names of the options that it may set.
        device_keys: Those of them that each device may have its own of.

    Raises:
        ConfigError: it cannot be read, is not TOML, or has a key that is no option, or what cannot be there.
    """
    try:
        settings = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    tables = settings.pop("device", [])
    top = _section(settings, keys, str(path))
    devices: dict[str, Section] = {}
    for number, table in enumerate(tables if isinstance(tables, list) else [tables], 1):
        name, section = _device(table, device_keys, f"{path}: device {number}")
        if name in devices:
            raise ConfigError(f"{path}: there are two devices with the name {name!r}")
        devices[name] = section
    if devices and top.exports:
        raise ConfigError(f"{path}: an export outside of the [[device]] tables: say in which it belongs")
    return Config(top, devices)


def _device(table: object, keys: Collection[str], where: str) -> tuple[str, Section]:
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: a table is expected, [[device]]")
    settings = dict(table)
    name = settings.pop("name", None)
    if not isinstance(name, str) or not name or not name.isprintable():
        raise ConfigError(f"{where}: the name is missing: name = 'a text of your choice'")
    return name, _section(settings, keys, f"{where} ({name})")


def _section(settings: Mapping[str, Any], keys: Collection[str], where: str) -> Section:
    renamed = _renamed(settings, {*keys, "export"}, where)
    exports = renamed.pop("export", [])
    return Section(where, renamed, _export_tables(exports, where))


def _renamed(settings: Mapping[str, Any], keys: Collection[str], where: str) -> Table:
    renamed = {key.replace("-", "_"): value for key, value in settings.items()}
    for key in renamed:
        if key not in keys:
            known = ", ".join(sorted(known.replace("_", "-") for known in keys))
            raise ConfigError(f"{where}: there is no setting {key.replace('_', '-')!r} (known: {known})")
    return renamed


def _export_tables(exports: object, where: str) -> list[Table]:
    tables = []
    for number, item in enumerate(exports if isinstance(exports, list) else [exports], 1):
        table = {"export": item} if isinstance(item, str) else item
        if not isinstance(table, dict):
            raise ConfigError(f"{where}: export {number}: a text or a table is expected")
        tables.append(_renamed(table, EXPORT_KEYS.keys(), f"{where}: export {number}"))
    return tables


EXPORT_SETTINGS: dict[str, type] = {
    "read_only": bool,
    "show_hidden": bool,
    "follow_symlinks": bool,
    "watch": str,
    "fsync": bool,
}
"""Settings of an export's own, by option name; the options of the same name hold for all exports."""

EXPORT_KEYS: dict[str, type] = {"export": str, "path": str, "name": str, **EXPORT_SETTINGS}
"""All keys of an export's table."""
