"""A desktop's file manager: gvfs keeps one session open and listens to events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.phone import SIZES, digests, guest_digests, pattern, write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.guest import Guest
    from tests.e2e.phone import Phone

pytestmark = pytest.mark.usefixtures("phone", "desktop")


def test_changes_by_a_file_manager(guest: Guest, phone: Phone, share: Path) -> None:
    write_tree(share, {"a.txt": b"a", "b.txt": b"b", "box/c.txt": b"c"})
    uri = phone.uri()
    assert sorted(guest.check(f"gio list {uri}").split()) == ["a.txt", "b.txt", "box"]
    guest.check(f"gio mkdir {uri}/made")
    guest.check(f"gio rename {uri}/a.txt renamed.txt")
    guest.check(f"gio remove {uri}/b.txt")
    guest.check(f"gio rename {uri}/box crate")
    assert guest.check(f"gio cat {uri}/crate/c.txt") == "c"
    assert {name: (share / name).read_bytes() for name in digests(share)} == {
        "renamed.txt": b"a",
        "crate/c.txt": b"c",
    }
    assert (share / "made").is_dir()


def test_every_size_is_copied_both_ways(guest: Guest, phone: Phone, share: Path, scratch: str) -> None:
    write_tree(share, {f"down-{size}": pattern(size, size) for size in SIZES})
    uri = phone.uri()
    lines = [f"gio copy {uri}/down-{size} down-{size}" for size in SIZES]
    lines += [f"head -c {size} /dev/urandom >up-{size}" for size in SIZES]
    lines += [f"gio copy up-{size} {uri}/up-{size}" for size in SIZES]
    guest.check(f"set -e; cd {scratch}\n" + "\n".join(lines), timeout=300)
    assert guest_digests(guest, scratch) == digests(share)


def test_copying_over_a_file(guest: Guest, phone: Phone, share: Path, scratch: str) -> None:
    (share / "note.txt").write_bytes(pattern(100_000))
    uri = phone.uri()
    guest.check(f"head -c 5000 /dev/urandom >{scratch}/note.txt")
    guest.check(f"gio copy {scratch}/note.txt {uri}/note.txt")
    assert digests(share) == guest_digests(guest, scratch)


def test_host_changes_are_events(guest: Guest, phone: Phone, share: Path) -> None:
    write_tree(share, {"there.txt": b"there", "box/inner.txt": b"inner"})
    uri = phone.uri()
    guest.check(f"gio list {uri} && gio list {uri}/box")
    guest.check(
        f"gio monitor -d {uri} >/tmp/monitor.log 2>&1 </dev/null &\n"
        f"gio monitor -d {uri}/box >/tmp/monitor-box.log 2>&1 </dev/null &\n"
        # a monitor is set up when its call has been answered: the next one comes behind it
        f"gio info {uri} && gio info {uri}/box"
    )

    def sees(log: str, change: str) -> None:
        guest.check(f"wait-for 30 grep -q '{change}' /tmp/{log}.log || cat /tmp/{log}.log >&2")
        assert change in guest.check(f"cat /tmp/{log}.log")

    (share / "new.txt").write_text("new")
    sees("monitor", "new.txt: created")
    (share / "there.txt").unlink()
    sees("monitor", "there.txt: deleted")
    (share / "box" / "second.txt").write_text("second")
    sees("monitor-box", "second.txt: created")
    assert sorted(guest.check(f"gio list {uri}").split()) == ["box", "new.txt"]
    assert guest.check(f"gio cat {uri}/box/second.txt") == "second"
    guest.run("killall gio")
