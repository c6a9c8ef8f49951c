"""The password on its way to the server: SPICE's ticket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usbredir_mtp.spice.constants import MAX_PASSWORD, TICKET_SIZE
from usbredir_mtp.spice.errors import MissingLibraryError, PasswordError, SpiceProtocolError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey


def check_password(password: str) -> bytes:
    """The password's bytes.

    Raises:
        PasswordError: no SPICE server can have this password.
    """
    encoded = password.encode(errors="surrogateescape")
    if len(encoded) > MAX_PASSWORD:
        raise PasswordError(f"a SPICE password has at most {MAX_PASSWORD} bytes, this one has {len(encoded)}")
    if b"\0" in encoded:
        raise PasswordError("a SPICE password cannot hold a NUL character")
    return encoded


def check_library() -> None:
    """See to it that tickets can be made, before somebody waits for one.

    Raises:
        MissingLibraryError: they cannot.
    """
    try:
        import cryptography.hazmat.primitives.asymmetric.rsa  # noqa: F401, PLC0415  (an extra)
    except ImportError as error:
        text = "SPICE needs the library 'cryptography': pip install 'usbredir-mtp[spice]'"
        raise MissingLibraryError(text) from error


def encrypt_ticket(public_key: bytes, password: bytes) -> bytes:
    """The ticket for a link: RSA-OAEP with SHA-1 of the password and its NUL.

    Args:
        public_key: SubjectPublicKeyInfo (DER), from the link reply.
        password: From `check_password`; empty where the server asks for none.

    Returns:
        128 bytes.

    Raises:
        SpiceProtocolError: that is no RSA key of 1024 bits.
        MissingLibraryError: `cryptography` is not installed.
    """
    check_library()
    from cryptography.hazmat.primitives.asymmetric import padding  # noqa: PLC0415  (an extra)
    from cryptography.hazmat.primitives.hashes import SHA1  # noqa: PLC0415

    # The protocol says SHA-1; OAEP does not rely on what is weak in it.
    scheme = padding.OAEP(padding.MGF1(SHA1()), SHA1(), None)  # noqa: S303
    try:
        return _load(public_key).encrypt(password + b"\0", scheme)
    except ValueError as error:
        raise SpiceProtocolError(f"the server's key cannot be used: {error}") from error


def _load(public_key: bytes) -> RSAPublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  (an extra)
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_der_public_key  # noqa: PLC0415

    try:
        key = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SpiceProtocolError("the server's key is none") from error
    if not isinstance(key, RSAPublicKey) or key.key_size != TICKET_SIZE * 8:
        raise SpiceProtocolError("the server's key is no RSA key of 1024 bits")
    return key
