"""The server's side of SPICE's wire format, written apart from the package's."""

from __future__ import annotations

import struct
from functools import cache

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

AUTH_SELECTION, AUTH_SPICE, AUTH_SASL, MINI_HEADER = 1, 2, 4, 8
"""Bits of the common capabilities."""

OK, INVALID_MAGIC, PERMISSION_DENIED, BAD_CONNECTION_ID, CHANNEL_NOT_AVAILABLE = 0, 2, 7, 8, 9
MAIN, USBREDIR = 1, 9


@cache
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)


def public_key() -> bytes:
    return private_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def open_ticket(ticket: bytes) -> bytes:
    return private_key().decrypt(ticket, padding.OAEP(padding.MGF1(SHA1()), SHA1(), None))


def link_reply(capabilities: int, error: int = OK, key: bytes | None = None, size: int | None = None) -> bytes:
    words = struct.pack("<II", capabilities, 0x1234)
    body = struct.pack("<I", error) + (public_key() if key is None else key) + struct.pack("<III", 1, 1, 178) + words
    return struct.pack("<4sIII", b"REDQ", 2, 2, len(body) if size is None else size) + body


def refusal(error: int) -> bytes:
    return struct.pack("<4sIII", b"REDQ", 2, 2, 178) + struct.pack("<I", error) + bytes(174)


def message(kind: int, body: bytes = b"", mini: bool = True, serial: int = 1, sub_messages: int = 0) -> bytes:
    header = (
        struct.pack("<HI", kind, len(body)) if mini else struct.pack("<QHII", serial, kind, len(body), sub_messages)
    )
    return header + body


def messages(data: bytes, mini: bool = True) -> list[tuple[int, bytes]]:
    """What a client sent, cut up; every byte of it must belong to a message."""
    found = []
    while data:
        layout = "<HI" if mini else "<QHII"
        fields = struct.unpack_from(layout, data)
        kind, size = fields if mini else fields[1:3]
        start = struct.calcsize(layout)
        assert len(data) >= start + size
        found.append((kind, data[start : start + size]))
        data = data[start + size :]
    return found


def init(session: int) -> bytes:
    return message(103, struct.pack("<8I", session, 1, 3, 1, 0, 0, 0, 0))


def channels_list(*channels: tuple[int, int]) -> bytes:
    return message(104, struct.pack("<I", len(channels)) + b"".join(struct.pack("<BB", *each) for each in channels))
