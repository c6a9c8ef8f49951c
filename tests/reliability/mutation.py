"""Makes wrong bytes of right ones."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

_SIZES = {"B": 0xFF, "<H": 0xFFFF, "<I": 0xFFFFFFFF, "<Q": (1 << 64) - 1}
"""Layouts of numbers, and the largest of each."""


def _flip(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    for _ in range(random.randint(1, 4)):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _number(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    """A length, a count, a code: replaced by one at the edge of something, or one near it."""
    layout, largest = random.choice(list(_SIZES.items()))
    size = struct.calcsize(layout)
    if size > len(data):
        return
    at = random.randrange(len(data) - size + 1)
    (old,) = struct.unpack_from(layout, data, at)
    edges = [0, 1, largest, largest - 1, largest >> 1, (largest >> 1) + 1, len(data), len(data) - at, old + 1, old - 1]
    struct.pack_into(layout, data, at, random.choice([*edges, random.randint(0, largest)]) & largest)


def _cut(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    start = random.randrange(len(data))
    del data[start : start + random.choice([1, 2, 4, 8, 16, len(data)])]


def _repeat(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    start = random.randrange(len(data))
    piece = data[start : start + random.choice([1, 2, 4, 8, 16, 64])]
    data[start:start] = piece * random.choice([1, 2, 16])


def _insert(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    at = random.randrange(len(data) + 1)
    data[at:at] = random.randbytes(random.choice([1, 2, 4, 8, 30]))


def _splice(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    """The beginning of one, the end of another."""
    other = random.choice(others)
    data[random.randrange(len(data)) :] = other[random.randrange(len(other) + 1) :]


_MUTATIONS: list[Callable[[Random, bytearray, Sequence[bytes]], None]] = [
    _flip,
    _number,
    _number,
    _cut,
    _repeat,
    _insert,
    _splice,
]


def mutate(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """The data, wrong in one to four ways.

    Args:
        random: Decides.
        data: What to begin with.
        others: What else there is of the kind.
    """
    wrong = bytearray(data)
    for _ in range(random.randint(1, 4)):
        if wrong:
            random.choice(_MUTATIONS)(random, wrong, others)
    return bytes(wrong)
