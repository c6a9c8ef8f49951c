"""go-mtpfs, which edits in place, and aft's command line."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.e2e.phone import digests, guest_digests, pattern, write_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.guest import Guest

pytestmark = pytest.mark.usefixtures("phone")


@contextmanager
def go_mtpfs(guest: Guest) -> Iterator[str]:
    """Mounted; gives the path of the storage."""
    guest.check("mkdir -p /mnt/go && (go-mtpfs /mnt/go >/tmp/go-mtpfs.log 2>&1 </dev/null &)")
    try:
        guest.check("wait-for 15 sh -c 'ls /mnt/go | grep -q share' || cat /tmp/go-mtpfs.log >&2")
        yield "/mnt/go/share"
    finally:
        guest.run("fusermount -u /mnt/go; wait-for 30 sh -c '! pgrep go-mtpfs'")


def test_go_mtpfs_copies_both_ways(guest: Guest, share: Path, scratch: str) -> None:
    write_tree(share, {"down.bin": pattern(100_000), "box/Größe 日本.txt": b"inner", "empty": b""})  # it knows no emoji
    guest.check(f"head -c 300000 /dev/urandom >{scratch}/up.bin")
    with go_mtpfs(guest) as storage:
        guest.check(
            f"cp {scratch}/up.bin {storage}/ && cp -r {storage}/down.bin {storage}/box {storage}/empty {scratch}/"
        )
    assert guest_digests(guest, scratch) == digests(share)


def test_go_mtpfs_changes(guest: Guest, share: Path) -> None:
    write_tree(share, {"old.txt": b"old", "gone.txt": b"gone", "full/inner": b"x"})
    with go_mtpfs(guest) as storage:
        guest.check(f"cd {storage} && mkdir made && mv old.txt new.txt && rm gone.txt && rm -r full")
    assert {path.name for path in share.iterdir()} == {"made", "new.txt"}


def test_go_mtpfs_edits_in_place(guest: Guest, share: Path) -> None:
    data = pattern(300_000)
    (share / "file").write_bytes(data)
    with go_mtpfs(guest) as storage:
        guest.check(f"printf tail >>{storage}/file")
        assert guest.check(f"tail -c 4 {storage}/file") == "tail"
        guest.check(f"printf head | dd of={storage}/file conv=notrunc 2>/dev/null")
    assert (share / "file").read_bytes() == b"head" + data[4:] + b"tail"


def test_aft_command_line(guest: Guest, share: Path, scratch: str) -> None:
    write_tree(share, {"down.bin": pattern(100_000), "gone.bin": b"gone", "box/inner.txt": b"inner"})
    guest.check(f"head -c 300000 /dev/urandom >{scratch}/up.bin")
    shown = guest.check(f"cd {scratch} && aft-mtp-cli ls-r 'get down.bin' 'put up.bin' 'mkdir made' 'rm gone.bin'")
    for name in ("down.bin", "box", "inner.txt"):
        assert name in shown
    assert (share / "made").is_dir()
    on_host = digests(share)
    assert on_host.pop("box/inner.txt")
    assert guest_digests(guest, scratch) == on_host
    guest.check("aft-mtp-cli 'put /tmp/scratch/up.bin box' 'rename down.bin Äpfel.bin'")
    assert {path.name for path in share.rglob("*")} == {"box", "inner.txt", "up.bin", "made", "Äpfel.bin"}
