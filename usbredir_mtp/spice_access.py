"""How to get into VMs' SPICE servers; loaded only where one is connected to, for it brings libraries with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from usbredir_mtp.hotplug.errors import AttachError
from usbredir_mtp.hotplug.qmp import check_library as check_qmp
from usbredir_mtp.network.spice import spice_opener
from usbredir_mtp.spice.errors import MissingLibraryError, PasswordError
from usbredir_mtp.spice.password import find_password
from usbredir_mtp.spice.ticket import check_library

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from ssl import SSLContext

    from usbredir_mtp.network.addresses import Spice
    from usbredir_mtp.network.link import Link, Owner
    from usbredir_mtp.network.spice import SpiceOpener


class SpiceAccessError(ValueError):
    """SPICE cannot be spoken; the text says why."""


@dataclass(slots=True, frozen=True)
class SpiceAccess:
    """How to get in.

    Attributes:
        password: From `spice.password.find_password`; "" for none.
        file: Where it comes from, if it does from a file.
        qmp: Unix socket of the VM's QMP monitor.
    """

    password: str = field(default="", repr=False)
    file: Path | None = None
    qmp: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """What is read again on SIGHUP."""
        return () if self.file is None else (self.file,)

    def check(self) -> None:
        """Look whether all libraries are there, before the sandbox shuts.

        Raises:
            SpiceAccessError: one is missing.
        """
        try:
            check_library()
            if self.qmp is not None:
                check_qmp()
        except (MissingLibraryError, AttachError) as error:
            raise SpiceAccessError(str(error)) from error

    def opener(self, owner: Owner, target: Spice, tls: SSLContext | None) -> SpiceOpener[Link]:
        """How to connect to a server; `tls` is for its TLS port."""
        return spice_opener(owner, target, self.password, tls if target.tls else None, self.qmp)


def find_access(
    file: Path | None, environment: Mapping[str, str], ask: Callable[[], str] | None, qmp: Path | None
) -> SpiceAccess:
    """What the user has said, or is asked for.

    Args:
        file: With the password.
        environment: Likewise.
        ask: Asks for it; None where nobody shall be asked.
        qmp: See `SpiceAccess`.

    Raises:
        SpiceAccessError: there is no password where it should be.
    """
    try:
        return SpiceAccess(find_password(file, environment, ask), file, qmp)
    except PasswordError as error:
        raise SpiceAccessError(f"SPICE: {error}") from error
