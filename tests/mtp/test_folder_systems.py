from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from usbredir_mtp.mtp import folder_systems
from usbredir_mtp.mtp.containment import Root
from usbredir_mtp.mtp.folder import FolderStorage
from usbredir_mtp.mtp.folder_systems import FileSystems

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    root = Root(tmp_path)
    yield root
    root.close()


@pytest.fixture
def ids(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """The file systems' ids by device number, as they are found out."""
    ids: dict[int, int] = {}
    monkeypatch.setattr(folder_systems, "_id", lambda device, name, folder: ids.get(device, 0))
    return ids


def device_of(root: Root) -> int:
    return os.fstat(root.fileno()).st_dev


def test_the_root_s_own_has_no_mark(root: Root, ids: dict[int, int]) -> None:
    ids[device_of(root)] = 7
    assert FileSystems(root).mark(device_of(root), "x", -1) == 0


def test_a_mark_survives_another_device_number(root: Root, ids: dict[int, int]) -> None:
    other = device_of(root) + 1
    ids[other] = ids[other + 1] = 0xABCD_0000_1234
    assert FileSystems(root).mark(other, "x", -1) == FileSystems(root).mark(other + 1, "x", -1) == 0x1234 ^ 0xABCD


def test_file_systems_are_told_apart_whatever_they_say(root: Root, ids: dict[int, int]) -> None:
    first = device_of(root) + 1
    ids.update({first: 5, first + 1: 5, first + 2: 0, first + 3: 5, first + 4: 1 << 32 | 1})
    systems = FileSystems(root)
    marks = [systems.mark(device, "x", -1) for device in range(first, first + 5)]
    assert len({0, *marks}) == 6
    assert max(marks) < 1 << 32
    assert marks == [systems.mark(device, "x", -1) for device in range(first, first + 5)]


def test_an_id_is_asked_for_once(root: Root, ids: dict[int, int]) -> None:
    other = device_of(root) + 1
    ids[other] = 5
    systems = FileSystems(root)
    mark = systems.mark(other, "x", -1)
    ids[other] = 6
    assert systems.mark(other, "x", -1) == mark


def test_a_root_mounted_anew_keeps_its_identities(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    systems = FileSystems(root)
    now = device_of(root)
    monkeypatch.setattr(systems, "_marks", {now + 1: 0})
    assert systems.mark(now, "x", -1) == 0


def test_what_cannot_be_asked_has_no_id(root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    device = device_of(root)
    assert folder_systems._id(device, "file", root.fileno()) == os.statvfs(tmp_path).f_fsid
    assert folder_systems._id(device + 1, "file", root.fileno()) == 0
    assert folder_systems._id(device, "missing", root.fileno()) == 0

    def refuse(fd: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fstatvfs", refuse)
    assert folder_systems._id(device, "file", root.fileno()) == 0


def test_objects_of_mounted_file_systems_are_told_apart() -> None:
    with FolderStorage("/", description="x") as storage:
        proc, root = storage.stat(("proc",)), storage.stat(())
        assert proc.identity >> 64 not in {0, root.identity >> 64}
        assert proc.identity < 1 << 96
        assert proc.identity & (1 << 64) - 1 == Path("/proc").stat().st_ino
        assert root.identity == Path("/").stat().st_ino
        assert dict(storage.scan_stat(()))["proc"].identity == proc.identity
        below = storage.stat(("proc", "sys")).identity
        assert below >> 64 == proc.identity >> 64


def test_an_upload_has_the_identity_that_it_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileSystems, "mark", lambda *_arguments: 77)
    with FolderStorage(tmp_path, description="x") as storage:
        upload = storage.create(("file",), 0)
        assert upload.commit(None).identity == storage.stat(("file",)).identity
        assert storage.stat(("file",)).identity >> 64 == 77
