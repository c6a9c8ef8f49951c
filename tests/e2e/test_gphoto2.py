"""gphoto2, which takes the phone for a camera: pictures, their thumbnails, and what a camera can be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.e2e.phone import digests, guest_digests

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.guest import Guest

pytestmark = pytest.mark.usefixtures("phone")


@pytest.fixture
def share(tmp_path: Path) -> Path:
    share = tmp_path / "share"
    share.mkdir()
    Image.linear_gradient("L").resize((640, 480)).convert("RGB").save(share / "picture.jpg")
    return share


def test_pictures_are_listed_and_got(guest: Guest, share: Path, scratch: str) -> None:
    shown = guest.check("gphoto2 --list-files")
    assert "picture.jpg" in shown
    guest.check(f"cd {scratch} && gphoto2 --get-all-files")
    assert guest_digests(guest, scratch) == digests(share)


def test_a_thumbnail(guest: Guest, share: Path, scratch: str) -> None:
    guest.check(f"cd {scratch} && gphoto2 --get-thumbnail 1")
    name = guest.check(f"ls {scratch}").strip()
    head = guest.check(f"od -An -tx1 -N2 {scratch}/{name} && wc -c <{scratch}/{name}").split()
    assert head[:2] == ["ff", "d8"]
    assert 100 < int(head[2]) < (share / "picture.jpg").stat().st_size


def test_a_picture_is_deleted(guest: Guest, share: Path) -> None:
    folder = guest.check("gphoto2 --list-files | sed -n \"s/.* in folder '\\(.*\\)'.*/\\1/p\" | tail -1").strip()
    guest.check(f"gphoto2 --folder {folder} --delete-file 1")
    assert list(share.iterdir()) == []
