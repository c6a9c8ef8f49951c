"""libmtp's own programs. Their exit codes tell little, so output and host files are looked at."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from tests.e2e.phone import SIZES, digests, guest_digests, pattern, write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.guest import Guest
    from tests.e2e.phone import Phone


def tree_ids(guest: Guest) -> dict[str, int]:
    """Object ids by name, as mtp-filetree shows them."""
    shown = guest.check("mtp-filetree")
    return {name: int(number) for number, name in re.findall(r"^ *(\d+) (.+)$", shown, re.MULTILINE)}


def test_files_and_folders_are_listed(guest: Guest, phone: Phone, share: Path) -> None:
    files = {"top.txt": b"top", "music/song.mp3": b"song", "music/live/encore.ogg": b"more"}
    write_tree(share, files)
    assert set(tree_ids(guest)) >= {"top.txt", "music", "song.mp3", "live", "encore.ogg"}
    folders = guest.check("mtp-folders")
    assert "music" in folders
    assert "live" in folders
    listed = guest.check("mtp-files")
    sizes = dict(re.findall(r"Filename: (.*)\n +File size (\d+)", listed))
    assert sizes == {"top.txt": "3", "song.mp3": "4", "encore.ogg": "4"}


def test_every_size_is_sent(guest: Guest, phone: Phone, share: Path, scratch: str) -> None:
    lines = [f"head -c {size} /dev/urandom >s{size}.bin" for size in SIZES]
    lines += [f"mtp-sendfile s{size}.bin / >/dev/null 2>&1" for size in SIZES]
    guest.check(f"cd {scratch}\n" + "\n".join(lines), timeout=300)
    sent = guest_digests(guest, scratch)
    assert len(sent) == len(SIZES)
    assert digests(share) == sent


def test_every_size_is_got(guest: Guest, phone: Phone, share: Path, scratch: str) -> None:
    write_tree(share, {f"s{size}.bin": pattern(size, size) for size in SIZES})
    ids = tree_ids(guest)
    lines = [f"mtp-getfile {ids[f's{size}.bin']} s{size}.bin >/dev/null 2>&1" for size in SIZES]
    guest.check(f"cd {scratch}\n" + "\n".join(lines), timeout=300)
    assert guest_digests(guest, scratch) == digests(share)


def test_sent_over_an_existing_name_leaves_one_whole_file(
    guest: Guest, phone: Phone, share: Path, scratch: str
) -> None:
    (share / "same.bin").write_bytes(pattern(100_000))
    guest.check(f"cd {scratch} && echo short >same.bin && mtp-sendfile same.bin /")
    names = [path.name for path in share.iterdir()]
    contents = {path.read_bytes() for path in share.iterdir()}
    assert "same.bin" in names
    assert contents <= {b"short\n", pattern(100_000)}
    assert b"short\n" in contents


def test_folder_made_filled_and_emptied(guest: Guest, phone: Phone, share: Path, scratch: str) -> None:
    assert "New folder created" in guest.check("mtp-newfolder box 0 0")
    assert (share / "box").is_dir()
    guest.check(f"cd {scratch} && echo data >in.txt && mtp-sendfile in.txt /box")
    assert (share / "box" / "in.txt").read_text() == "data\n"
    guest.check("mtp-delfile -f /box/in.txt")
    assert list((share / "box").iterdir()) == []
    guest.check(f"mtp-delfile -n {tree_ids(guest)['box']}")
    assert list(share.iterdir()) == []


def test_a_download_is_not_torn_by_its_name(guest: Guest, phone: Phone, share: Path, scratch: str) -> None:
    data = pattern(50_000)
    (share / "Grüße 日本 🎵.txt").write_bytes(data)
    number = tree_ids(guest)["Grüße 日本 🎵.txt"]
    guest.check(f"cd {scratch} && mtp-getfile {number} got.txt >/dev/null")
    digest = guest.check(f"sha256sum {scratch}/got.txt").split()[0]
    assert digest == hashlib.sha256(data).hexdigest()
