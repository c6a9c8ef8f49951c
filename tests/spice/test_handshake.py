from __future__ import annotations

import struct
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from tests.spice import wire
from tests.spice.wire import AUTH_SASL, AUTH_SELECTION, AUTH_SPICE, MINI_HEADER
from usbredir_mtp.protocol.errors import RemoteProtocolError
from usbredir_mtp.spice.constants import ChannelType, LinkError
from usbredir_mtp.spice.errors import LinkRefusedError, MissingLibraryError, PasswordError, SpiceProtocolError
from usbredir_mtp.spice.handshake import Handshake
from usbredir_mtp.spice.ticket import check_password

USUAL = AUTH_SELECTION | AUTH_SPICE | MINI_HEADER


def started(password: bytes = b"") -> Handshake:
    handshake = Handshake(ChannelType.USBREDIR, 3, 0xFEDCBA98, password)
    handshake.start()
    return handshake


def test_the_link_message() -> None:
    sent = Handshake(ChannelType.USBREDIR, 3, 0xFEDCBA98).start()
    assert sent[:16] == b"REDQ" + struct.pack("<III", 2, 2, len(sent) - 16)
    assert struct.unpack("<IBBIII", sent[16:34]) == (0xFEDCBA98, 9, 3, 1, 0, 18)
    assert struct.unpack("<I", sent[34:]) == (AUTH_SELECTION | AUTH_SPICE | MINI_HEADER,)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("password", [b"", b"geheim", "pässwörd".encode(), b"x" * 60])
def test_a_ticket_holds_the_password_and_its_end(chunk: int, password: bytes) -> None:
    handshake = started(password)
    reply = wire.link_reply(USUAL)
    answer = b"".join(handshake.receive(reply[at : at + chunk]) for at in range(0, len(reply), chunk))
    assert struct.unpack("<I", answer[:4]) == (1,)
    assert wire.open_ticket(answer[4:]) == password + b"\0"
    assert handshake.receive(struct.pack("<I", 0)[:3]) == handshake.rest == b""
    assert handshake.receive(b"\0first") == b""
    assert handshake.linked
    assert handshake.mini_header
    assert handshake.rest == b"first"


def test_an_old_server_gets_the_ticket_alone_and_long_headers() -> None:
    handshake = started(b"old")
    answer = handshake.receive(wire.link_reply(0))
    assert wire.open_ticket(answer) == b"old\0"
    handshake.receive(bytes(4))
    assert handshake.linked
    assert not handshake.mini_header


@pytest.mark.parametrize("code", [code for code in LinkError if code])
def test_refused_in_the_reply(code: LinkError) -> None:
    with pytest.raises(LinkRefusedError, match=code.name.lower().split("_")[0]) as caught:
        started().receive(wire.refusal(code))
    assert caught.value.code is code


@pytest.mark.parametrize("code", [code for code in LinkError if code])
def test_refused_in_the_result(code: LinkError) -> None:
    handshake = started()
    handshake.receive(wire.link_reply(USUAL))
    with pytest.raises(LinkRefusedError) as caught:
        handshake.receive(struct.pack("<I", code))
    assert caught.value.code is code
    assert not handshake.linked
    assert handshake.rest == b""


def key_of(bits: int) -> bytes:
    key = rsa.generate_private_key(65537, bits).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def elliptic_key() -> bytes:
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        pytest.param(b"HTTP/1.1 400 Bad", "no SPICE server", id="another-protocol"),
        pytest.param(b"REDQ" + struct.pack("<III", 1, 0, 178), "version 1", id="version"),
        pytest.param(wire.link_reply(USUAL, size=177), "177 bytes", id="short"),
        pytest.param(wire.link_reply(USUAL, size=4097), "4097 bytes", id="long"),
        pytest.param(wire.link_reply(USUAL, error=10), "unknown error 10", id="unknown-error"),
        pytest.param(wire.link_reply(AUTH_SELECTION | AUTH_SASL), "SASL", id="sasl"),
        pytest.param(wire.link_reply(USUAL, key=bytes(162)), "key", id="no-key"),
        pytest.param(wire.link_reply(USUAL, key=key_of(1040)[:162]), "key", id="another-size"),
        pytest.param(wire.link_reply(USUAL, key=elliptic_key().ljust(162, b"\0")), "key", id="another-kind"),
    ],
)
def test_a_bad_reply(reply: bytes, text: str) -> None:
    with pytest.raises(SpiceProtocolError, match=text):
        started().receive(reply)


@pytest.mark.parametrize(("count", "offset"), [(1, 0), (1, 177), (3, 178), (0xFFFFFFFF, 178), (1, 0xFFFFFFFF)])
def test_capabilities_that_lie_elsewhere(count: int, offset: int) -> None:
    reply = bytearray(wire.link_reply(USUAL))
    reply[16 + 166 : 16 + 170] = struct.pack("<I", count)
    reply[16 + 174 : 16 + 178] = struct.pack("<I", offset)
    with pytest.raises(SpiceProtocolError, match="capabilities"):
        started().receive(reply)


def test_a_server_without_capabilities() -> None:
    reply = bytearray(wire.link_reply(USUAL))
    reply[16 + 166 : 16 + 178] = bytes(12)
    handshake = started(b"old")
    assert wire.open_ticket(handshake.receive(reply)) == b"old\0"
    assert not handshake.mini_header


def test_a_key_that_nobody_can_have() -> None:
    even = bytearray(wire.public_key())
    even[-6] &= 0xFE  # the last byte of the modulus; behind it is the exponent, 65537
    with pytest.raises(SpiceProtocolError, match="the server's key cannot be used"):
        started().receive(wire.link_reply(USUAL, key=bytes(even)))


def test_an_unknown_result() -> None:
    handshake = started()
    handshake.receive(wire.link_reply(USUAL))
    with pytest.raises(SpiceProtocolError, match="unknown error 77"):
        handshake.receive(struct.pack("<I", 77))


@given(st.binary(max_size=600), st.integers(0, 220), st.booleans())
def test_garbage_raises_nothing_else(garbage: bytes, keep: int, from_reply: bool) -> None:
    start = wire.link_reply(USUAL)[:keep] if from_reply else b"REDQ\2\0\0\0"
    with_result = Handshake(ChannelType.MAIN)
    try:
        with_result.receive(start + garbage)
        with_result.receive(garbage)
    except (RemoteProtocolError, LinkRefusedError):
        assert not with_result.linked


@pytest.mark.parametrize(("password", "text"), [("x" * 61, "at most 60 bytes"), ("ä" * 31, "62"), ("a\0b", "NUL")])
def test_passwords_that_none_has(password: str, text: str) -> None:
    with pytest.raises(PasswordError, match=text):
        check_password(password)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.rsa", None)
    with pytest.raises(MissingLibraryError, match=r"pip install 'usbredir-mtp\[spice\]'"):
        started().receive(wire.link_reply(USUAL))
