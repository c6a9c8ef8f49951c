"""What the options ask for, as values, and the device that is made of them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from usbredir_mtp import __version__
from usbredir_mtp.config import EXPORT_KEYS, EXPORT_SETTINGS, ConfigError
from usbredir_mtp.device.identity import Identity, stable_serial
from usbredir_mtp.device.usb import Speed
from usbredir_mtp.exports import Export, ExportError, Shares, located, parse_export
from usbredir_mtp.mtp.device import MtpDevice
from usbredir_mtp.mtp.identity import ANDROID_EXTENSIONS, VENDOR_EXTENSIONS, ResponderIdentity
from usbredir_mtp.mtp.media.media import Media
from usbredir_mtp.mtp.memory import Memory
from usbredir_mtp.mtp.objects import ObjectTable
from usbredir_mtp.mtp.presentation import Presentation
from usbredir_mtp.mtp.watch_plan import parse_watch
from usbredir_mtp.session import Phone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usbredir_mtp.config import Section

SPEEDS = {speed.name.lower(): speed for speed in (Speed.FULL, Speed.HIGH, Speed.SUPER)}


@dataclass(slots=True, frozen=True)
class Setup:
    """All that a device is made of.

    Attributes:
        state: Folder for what guests have it remember, None for none.
        media: Whether pictures and music are read.
        cache: Folder for thumbnails.
        grace: Seconds that uploads may take to end before what they go to is taken away.
        has_serial: Whether its serial number does not come from its exports.
    """

    exports: tuple[Export, ...]
    usb: Identity
    mtp: ResponderIdentity
    speed: Speed
    presentation: Presentation
    allow_format: bool
    state: Path | None
    media: bool
    cache: Path | None
    grace: float
    has_serial: bool

    def make(self, name: str = "") -> tuple[Phone, Shares]:
        """The device, with nothing shared yet, and what decides about that; the log and the metrics call it `name`."""
        memory = Memory(self.state and self.state / f"{self.usb.serial}.json")
        objects = ObjectTable(presentation=self.presentation)
        media = Media(self.cache and self.cache / "thumbnails") if self.media else None
        device = MtpDevice(objects, self.mtp, memory, media, self.allow_format)
        return Phone(device, self.usb, self.speed, name), Shares(device)

    def is_same_device(self, other: Setup) -> bool:
        """Whether a running device can become what another setup asks for (see `update`)."""
        is_named = self.has_serial or other.has_serial
        usb = self.usb if is_named else replace(self.usb, serial=other.usb.serial)
        return usb == other.usb and self._fixed() == other._fixed()

    def _fixed(self) -> tuple[object, ...]:
        return self.mtp.vendor_extensions, self.speed, self.presentation, self.state, self.media, self.cache


def update(device: MtpDevice, shares: Shares, setup: Setup) -> None:
    """Let a running device become what a setup asks for, as far as one can; USB's side stays until the next start.

    Uploads to exports that go may take the setup's grace to end first.

    Raises:
        OSError: a folder cannot be opened; nothing has changed then.
    """
    shares.update(setup.exports, setup.grace)
    device.allow_format = setup.allow_format
    device.rename(replace(setup.mtp, serial_number=device.identity.serial_number))


def configure(options: Mapping[str, Any], section: Section | None = None, name: str = "") -> Setup:
    """What the options ask for.

    Args:
        options: By name, with underscores.
        section: What the configuration file has for the device.
        name: The device's, where there are several.

    Raises:
        ValueError: they contradict what a device can be, or each other; the text says why.
    """
    exports = exports_of(options, section)
    marks = [name] if name else [str(export.path) for export in exports]
    usb = Identity(
        vendor=options["vendor_id"],
        product=options["product_id"],
        manufacturer=options["manufacturer"],
        product_name=options["product_name"],
        serial=options["serial"] or stable_serial(_machine_id(), *marks),
    )
    mtp = ResponderIdentity(
        manufacturer=usb.manufacturer,
        model=usb.product_name,
        device_version=__version__,
        serial_number=usb.serial,
        friendly_name=options["friendly_name"] or usb.product_name,
        vendor_extensions=ANDROID_EXTENSIONS if options["android"] else VENDOR_EXTENSIONS,
    )
    return Setup(
        exports=exports,
        usb=usb,
        mtp=mtp,
        speed=SPEEDS[options["speed"]],
        presentation=Presentation(_zone(options["time_zone"]), windows_names=options["windows_names"]),
        allow_format=options["allow_format"],
        state=options["state_dir"],
        media=options["media"] and Media.available(),
        cache=options["cache_dir"],
        grace=options["grace"],
        has_serial=bool(options["serial"]) or bool(name),
    )


def exports_of(options: Mapping[str, Any], section: Section | None) -> tuple[Export, ...]:
    """The exports of the command line, then those of a section of the configuration file.

    Raises:
        ExportError: one of them cannot be used, or there is none.
        ConfigError: the section has what cannot be used.
    """
    defaults = replace(Export("", Path()), **_settings(options))
    exports = [parse_export(text, defaults) for text in options["exports"]]
    if section is not None:
        for number, table in enumerate(section.exports, 1):
            exports.append(_from_table(table, defaults, f"{section.where}: export {number}"))
    if not exports:
        where = f"{section.where}: " if section is not None else ""
        raise ExportError(f"{where}nothing to share: use --export [NAME=]PATH, or [[export]] in the file of --config")
    return tuple(dict.fromkeys(exports))


def _from_table(table: Mapping[str, Any], defaults: Export, where: str) -> Export:
    for key, value in table.items():
        if not isinstance(value, EXPORT_KEYS[key]):
            raise ConfigError(f"{where}: {key.replace('_', '-')} has to be a {EXPORT_KEYS[key].__name__}")
    try:
        settings = replace(defaults, **_settings(table))
        if "export" in table:
            return parse_export(table["export"], settings)
        if "path" in table:
            return located(settings, table.get("name"), table["path"])
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    raise ConfigError(f"{where}: the path is missing")


def _settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an export that options or a table have.

    Raises:
        ValueError: one of them cannot be used.
    """
    settings = {key: options[key] for key in EXPORT_SETTINGS if key in options}
    if "watch" in settings:
        try:
            settings["watch"] = parse_watch(settings["watch"])
        except ValueError as error:
            raise ValueError(f"watch: {error}") from error
    return settings


def _zone(name: str | None) -> ZoneInfo | None:
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(f"--time-zone: there is no time zone {name!r} (try Europe/Berlin or UTC)") from error


def _machine_id() -> str:
    """What tells this machine from others (systemd's machine-id(5)); the host name where there is none."""
    for path in (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"), Path("/etc/hostname")):
        with suppress(OSError):
            if text := path.read_text(encoding="ascii", errors="replace").strip():
                return text
    return "unknown"
