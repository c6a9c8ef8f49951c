"""The configuration file: TOML, with the long options as keys, and a table for each export."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path


class ConfigError(ValueError):
    """A file that cannot be used; the text names the file and the key."""


def read_config(path: Path, keys: Collection[str]) -> dict[str, Any]:
    """A file's settings by option name, with underscores; `export` holds texts or tables.

    Args:
        path: The file.
        keys: The names of the options that it may set.

    Raises:
        ConfigError: it cannot be read, is not TOML, or has a key that is no option.
    """
    try:
        settings = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    return _renamed(settings, {*keys, "export"}, str(path))


def _renamed(settings: Mapping[str, Any], keys: Collection[str], where: str) -> dict[str, Any]:
    renamed = {key.replace("-", "_"): value for key, value in settings.items()}
    for key in renamed:
        if key not in keys:
            known = ", ".join(sorted(known.replace("_", "-") for known in keys))
            raise ConfigError(f"{where}: there is no setting {key.replace('_', '-')!r} (known: {known})")
    return renamed


def export_tables(settings: Mapping[str, Any], keys: Collection[str], where: str) -> list[dict[str, Any]]:
    """What `export` holds, each a table; a text is a table's `export` key.

    Raises:
        ConfigError: it is neither a text, nor a table, nor a list of such; or a table has an unknown key.
    """
    exports = settings.get("export", [])
    tables = []
    for number, item in enumerate(exports if isinstance(exports, list) else [exports], 1):
        table = {"export": item} if isinstance(item, str) else item
        if not isinstance(table, dict):
            raise ConfigError(f"{where}: export {number}: a text or a table is expected")
        tables.append(_renamed(table, keys, f"{where}: export {number}"))
    return tables
