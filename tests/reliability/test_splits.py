"""However the network cuts a session into pieces, it is the same session."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.protocol.test_reader import SESSION
from tests.reliability import captures
from tests.reliability.bench import Bench, fill, no_faults, plugged
from tests.reliability.figures import figure
from tests.reliability.targets import packets
from usbredir_mtp.mtp.folder import FolderStorage
from usbredir_mtp.mtp.folder_files import describe
from usbredir_mtp.mtp.storage import Space
from usbredir_mtp.protocol.constants import Capability, Side
from usbredir_mtp.protocol.reader import PacketReader

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from usbredir_mtp.mtp.storage import Entry, Stat
    from usbredir_mtp.mtp.storage import Path as StoragePath
    from usbredir_mtp.protocol.packets import Packet

DEEPEST_CUT = 64
"""Into a packet: all headers, parameters and datasets end before that, the rest is payload."""

STREAMS: dict[str, tuple[Side, bytes]] = {
    f"{name} {side.value}": (side, captures.stream(name, from_guest=side is Side.GUEST))
    for name in captures.names()
    for side in Side
}
STREAMS["by hand"] = (Side.GUEST, SESSION[:600])  # it ends within a large transfer

FROM_GUESTS = [name for name, (side, _) in STREAMS.items() if side is Side.GUEST]


# The decoder


def read(side: Side, *pieces: bytes | memoryview) -> list[Packet]:
    reader = PacketReader(side, frozenset(Capability))
    return [packet for piece in pieces for packet in reader.feed(piece)]


@pytest.mark.parametrize("name", FROM_GUESTS)
def test_in_two_at_every_byte(name: str) -> None:
    side, stream = STREAMS[name]
    whole, view = read(side, stream), memoryview(stream)
    assert len(whole) > 5
    for cut in range(len(stream)):
        assert read(side, view[:cut], view[cut:]) == whole, cut


@pytest.mark.parametrize("name", STREAMS)
def test_byte_by_byte(name: str) -> None:
    side, stream = STREAMS[name]
    view = memoryview(stream)
    assert read(side, *(view[at : at + 1] for at in range(len(view)))) == read(side, stream)


def test_figures() -> None:
    figure("recorded sessions", len(captures.names()))
    figure("places at which they were cut", sum(len(STREAMS[name][1]) for name in FROM_GUESTS))


# The whole server but for its sockets


class SteadyStorage(FolderStorage):
    """A folder that tells the same whenever it is asked, and wherever it lies."""

    def space(self) -> Space:
        return Space(1 << 40, 1 << 39)

    def scan(self, folder: StoragePath) -> Iterator[Entry]:
        return iter(sorted(super().scan(folder), key=lambda entry: entry.name))

    def scan_stat(self, folder: StoragePath) -> Iterator[tuple[str, Stat]]:
        return iter(sorted(super().scan_stat(folder), key=lambda row: row[0]))


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., bytes]]:
    """Plays a recorded session to a new server, cut into pieces by a function; all that the server sends."""

    def steady(status: os.stat_result, **options: Any) -> Stat:
        return replace(describe(status, **options), modified=0, identity=7)

    for module in ("folder", "folder_files"):
        monkeypatch.setattr(f"usbredir_mtp.mtp.{module}.describe", steady)
    played = 0

    def play(name: str, cut: Callable[[bytes], list[bytes]]) -> bytes:
        nonlocal played
        played += 1
        share = tmp_path / f"{played}"
        fill(share)
        with SteadyStorage(share, description="share", volume="volume") as storage:
            bench = Bench(plugged(storage))
            sent = [bench.feed(piece) for whole in as_sent(name) for piece in cut(whole)]
            bench.end()
        assert bench.error is None
        return b"".join(sent)

    with no_faults():
        yield play


def as_sent(name: str) -> Iterator[bytes]:
    """What the guest sent at once; the server has answered all before the next piece came."""
    return (piece.data for piece in captures.load(name) if piece.from_guest)


@pytest.mark.parametrize("name", captures.names())
def test_the_server_answers_alike(play: Callable[..., bytes], name: str) -> None:
    whole = play(name, lambda piece: [piece])
    assert len(read(Side.HOST, whole)) > 50
    assert whole == play(name, lambda piece: [piece[at : at + 1] for at in range(len(piece))])
    for depth in range(1, DEEPEST_CUT):
        assert whole == play(name, lambda piece, depth=depth: cut_packets(piece, depth)), depth


def cut_packets(piece: bytes, depth: int) -> list[bytes]:
    """Each packet in two, that deep within it; or before its end if it is shorter."""
    cuts, used = [0], 0
    while used + 8 <= len(piece):
        end = used + (12 if piece[used : used + 4] == bytes(4) else 16)
        end += int.from_bytes(piece[used + 4 : used + 8], "little")
        cuts.append(min(used + depth, max(end - 1, used)))
        used = end
    return [piece[start:stop] for start, stop in zip(cuts, [*cuts[1:], len(piece)], strict=True)]


def test_packets_are_told_apart() -> None:
    stream = captures.stream(captures.names()[0])
    assert b"".join(packets(stream)) == stream
    assert len(packets(stream)) == len(read(Side.GUEST, stream))
    assert b"".join(cut_packets(stream, 9)) == stream
