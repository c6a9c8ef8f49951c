"""A phone mounted as a file system: trees in and out, names, times, changes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.e2e.phone import SIZES, digests, guest_digests, pattern, write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.guest import Guest
    from tests.e2e.phone import Phone

TREE = {
    "readme.txt": b"read me",
    "empty": b"",
    ".hidden": b"dot",
    "with space & sign.txt": b"odd",
    "a/b/c/deep.bin": pattern(70_000, 2),
    "a/b/wide.bin": pattern(300_000, 3),
    "Ärger/日本語/🎵 ноты.txt": "Füße".encode(),
}

NAMES = ["Füße.txt", "日本語.txt", "🎵 and more.txt", "e\u0301 combined.txt", "'quoted' $HOME.txt"]


def test_a_tree_comes_out_whole(guest: Guest, phone: Phone, share: Path, scratch: str) -> None:
    write_tree(share, TREE)
    with phone.mounted() as storage:
        guest.check(f"cp -r {storage}/. {scratch}/")
    shown = {name: digest for name, digest in digests(share).items() if not name.startswith(".")}
    assert guest_digests(guest, scratch) == shown


def test_a_tree_goes_in_whole(guest: Guest, phone: Phone, share: Path, scratch: str) -> None:
    lines = []
    for name, data in TREE.items():
        lines += [f"mkdir -p \"$(dirname '{name}')\"", f"head -c {len(data)} /dev/urandom >'{name}'"]
    guest.check(f"cd {scratch}\n" + "\n".join(lines))
    wanted = guest_digests(guest, scratch)
    assert set(wanted) == set(TREE)
    with phone.mounted() as storage:
        guest.check(f"cp -r {scratch}/. {storage}/", timeout=120)
    assert digests(share) == wanted


def test_every_size_both_ways(guest: Guest, phone: Phone, share: Path, scratch: str) -> None:
    down = {f"down/{size}": pattern(size, size) for size in SIZES}
    write_tree(share, down)
    lines = [f"head -c {size} /dev/urandom >up/{size}" for size in SIZES]
    guest.check(f"cd {scratch} && mkdir up\n" + "\n".join(lines))
    with phone.mounted() as storage:
        guest.check(f"cp -r {storage}/down {scratch}/ && cp -r {scratch}/up {storage}/", timeout=240)
    assert guest_digests(guest, scratch) == digests(share)


def test_names_in_any_script(guest: Guest, phone: Phone, share: Path, scratch: str) -> None:
    write_tree(share, {f"out-{name}": name.encode() for name in NAMES})
    for name in NAMES:
        quoted = name.replace("'", "'\\''")
        guest.check(f"printf %s '{quoted}' >{scratch}/'in-{quoted}'")
    with phone.mounted() as storage:
        shown = guest.check(f"ls {storage}").splitlines()
        assert sorted(shown) == sorted(f"out-{name}" for name in NAMES)
        guest.check(f"cp {scratch}/in-* {storage}/")
    arrived = {path.name: path.read_text() for path in share.glob("in-*")}
    assert arrived == {f"in-{name}": name for name in NAMES}


def test_the_host_s_times_are_shown(guest: Guest, phone: Phone, share: Path) -> None:
    (share / "old.txt").write_text("old")
    os.utime(share / "old.txt", (1_000_000_000, 1_000_000_000))
    with phone.mounted() as storage:
        assert guest.check(f"stat -c %Y {storage}/old.txt") == "1000000000\n"


def test_rename_delete_and_new_folder(guest: Guest, phone: Phone, share: Path) -> None:
    write_tree(share, {"first.txt": b"first", "gone.txt": b"gone", "old/inner.txt": b"inner"})
    with phone.mounted() as storage:
        guest.check(f"cd {storage} && mv first.txt second.txt && mv old new && rm gone.txt && mkdir made")
        assert guest.check(f"cat {storage}/second.txt {storage}/new/inner.txt") == "firstinner"
    assert {name: (share / name).read_bytes() for name in digests(share)} == {
        "second.txt": b"first",
        "new/inner.txt": b"inner",
    }
    assert (share / "made").is_dir()


def test_overwriting_leaves_no_old_bytes(guest: Guest, phone: Phone, share: Path, scratch: str) -> None:
    (share / "file.bin").write_bytes(pattern(200_000))
    guest.check(f"head -c 1000 /dev/urandom >{scratch}/file.bin")
    with phone.mounted() as storage:
        guest.check(f"cp {scratch}/file.bin {storage}/file.bin")
    assert digests(share) == guest_digests(guest, scratch)
