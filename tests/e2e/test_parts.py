"""Files read and written by parts, and files beyond 4 GiB.

android-file-transfer's mount works on parts of files, with 64-bit offsets (95C1 to 95C5); libmtp's
programs move whole files, and gvfs edits in place only what calls itself an Android device.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.e2e.phone import digests, guest_digests, pattern

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.guest import Guest
    from tests.e2e.phone import Phone

GIB = 1 << 30
TAIL = 1_000_003


def sparse(path: Path, size: int) -> bytes:
    """Writes a file that is a hole but for its end; returns the end."""
    tail = pattern(TAIL)
    with path.open("wb") as file:
        file.seek(size - TAIL)
        file.write(tail)
    return tail


def test_the_tail_of_a_sparse_file(guest: Guest, phone: Phone, share: Path) -> None:
    tail = sparse(share / "big.bin", 5 * GIB)
    with phone.mounted("aft-mtp-mount") as storage:
        assert guest.check(f"stat -c %s {storage}/big.bin") == f"{5 * GIB}\n"
        shown = guest.check(f"tail -c {TAIL} {storage}/big.bin | sha256sum", timeout=120)
    assert shown.split()[0] == hashlib.sha256(tail).hexdigest()


@pytest.mark.parametrize("size", [4 * GIB - 1, 4 * GIB, 4 * GIB + 1, 5 * GIB])
def test_sizes_around_the_boundary_are_told(guest: Guest, phone: Phone, share: Path, size: int) -> None:
    with (share / "big.bin").open("wb") as file:
        file.truncate(size)
    with phone.mounted() as storage:
        assert guest.check(f"stat -c %s {storage}/big.bin") == f"{size}\n"


def test_a_part_is_overwritten_in_place(guest: Guest, phone: Phone, share: Path) -> None:
    before = pattern(100_000)
    (share / "file.bin").write_bytes(before)
    with phone.mounted("aft-mtp-mount") as storage:
        guest.check(f"printf middle | dd of={storage}/file.bin bs=1 seek=50000 conv=notrunc 2>/dev/null")
    after = (share / "file.bin").read_bytes()
    assert after == before[:50_000] + b"middle" + before[50_006:]


def test_a_file_is_written_truncated_and_appended_to(guest: Guest, phone: Phone, share: Path, scratch: str) -> None:
    (share / "long.bin").write_bytes(pattern(100_000))
    guest.check(f"head -c 300000 /dev/urandom >{scratch}/new.bin")
    guest.check(f"head -c 5000 /dev/urandom >{scratch}/long.bin")
    with phone.mounted("aft-mtp-mount") as storage:
        guest.check(f"cp {scratch}/*.bin {storage}/")
        guest.check(f"echo more | tee -a {scratch}/long.bin >>{storage}/long.bin")
    assert digests(share) == guest_digests(guest, scratch)
