"""TLS: what the files that the user gives become."""

from __future__ import annotations

import logging
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


logger = logging.getLogger(__name__)


class TlsError(ValueError):
    """Files that cannot be used; the text names the option and says why."""


@dataclass(slots=True, frozen=True)
class TlsFiles:
    """PEM files.

    Attributes:
        cert: Our certificate, with those between it and the authority.
        key: Its key, without a password; None if it is in the same file.
        ca: The authorities that others' certificates must come from; None for the system's when we connect.
    """

    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None

    def __bool__(self) -> bool:
        return self.cert is not None or self.ca is not None

    def __iter__(self) -> Iterator[Path]:
        return (path for path in (self.cert, self.key, self.ca) if path is not None)

    def for_listening(self) -> ssl.SSLContext:
        """Guests are asked for certificates where there is an authority for them.

        Raises:
            TlsError: a file cannot be used, or there is no certificate.
        """
        if self.cert is None:
            raise TlsError("--tls-ca alone is for --connect: whoever listens needs --tls-cert and --tls-key too")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sslobject_class = _Telling
        self.load(context)
        if self.ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def for_connecting(self) -> ssl.SSLContext:
        """The other end has to be who its address says.

        Raises:
            TlsError: a file cannot be used.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca is None:
            context.load_default_certs()
            _load_folder(context)
        self.load(context)
        return context

    def load(self, context: ssl.SSLContext) -> None:
        """Put what the files hold into a context.

        Raises:
            TlsError: a file cannot be used.
        """
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.ca is not None:
            try:
                context.load_verify_locations(self.ca)
            except (OSError, ValueError) as error:
                raise TlsError(f"--tls-ca {self.ca}: {_reason(error)}") from error
        if self.cert is not None:
            try:
                context.load_cert_chain(self.cert, self.key, "")  # without a password, rather than to ask for one
            except (OSError, ValueError) as error:
                names = f"--tls-cert {self.cert}" + (f" --tls-key {self.key}" if self.key else "")
                raise TlsError(f"{names}: {_reason(error)}") from error
        elif self.key is not None:
            raise TlsError("--tls-key needs --tls-cert")


class _Telling(ssl.SSLObject):
    """Says why a guest is refused; event loops keep that to themselves."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            logger.warning("refused a connection over TLS: %s", reason_of(error))
            raise


def reason_of(error: ssl.SSLError) -> str:
    """What was wrong."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message} (see --tls-ca)"
    return (error.reason or error.strerror or str(error)).replace("_", " ").lower()


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "it is no PEM file of the right kind").replace("_", " ").lower()
        return reason if reason != "pem lib" else "it is not what it should be, or has a password"
    return getattr(error, "strerror", None) or str(error)


def _load_folder(context: ssl.SSLContext) -> None:
    """Read the system's authorities now: OpenSSL would look into their folder later, from inside of the sandbox."""
    folder = ssl.get_default_verify_paths().capath
    for file in Path(folder).glob("*.[0-9]") if folder else ():
        with suppress(OSError):  # ssl.SSLError is one
            context.load_verify_locations(file)
