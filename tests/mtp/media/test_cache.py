from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.media.cache import DiskCache, Recent
from usbredir_mtp.mtp.media.client import MAX_BODY
from usbredir_mtp.mtp.media.model import MediaKey

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def key(number: int) -> MediaKey:
    return MediaKey("volume", number, 1, 2)


def name(number: int) -> str:
    return DiskCache.file_name(key(number), 160)


def test_what_was_asked_for_last_stays() -> None:
    recent: Recent[int | None] = Recent(2)
    recent.put(key(1), 1)
    recent.put(key(2), None)
    assert recent.get(key(1)) == 1
    recent.put(key(3), 3)
    assert key(2) not in recent
    assert recent.get(key(2)) is None
    assert (recent.get(key(1)), recent.get(key(3))) == (1, 3)


def test_names_tell_content_and_size_apart() -> None:
    keys = [
        MediaKey("v", 1, 2, 3),
        MediaKey("w", 1, 2, 3),
        MediaKey("v", 9, 2, 3),
        MediaKey("v", 1, 9, 3),
        MediaKey("v", 1, 2, 9),
        MediaKey("\udcff", 1, 2, 3),
    ]
    assert len({DiskCache.file_name(each, side) for each in keys for side in (160, 80)}) == 12
    assert DiskCache.file_name(keys[0], 160) == DiskCache.file_name(MediaKey("v", 1, 2, 3), 160)


def test_kept_for_the_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "thumbnails"
    cache = DiskCache(folder, 1000)
    assert cache.get(name(1)) is None
    assert not folder.exists()
    cache.put(name(1), b"one")
    cache.put(name(1), b"two")
    assert [path.name for path in folder.iterdir()] == [name(1)]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / name(1)).stat().st_mode) == 0o600
    assert DiskCache(folder, 1000).get(name(1)) == b"two"


def test_no_folder() -> None:
    cache = DiskCache(None, 1000)
    cache.put(name(1), b"one")
    assert cache.get(name(1)) is None


def test_the_longest_unused_go_first(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 1000)
    for number in range(10):
        cache.put(name(number), bytes(100))
        os.utime(tmp_path / name(number), ns=(number, number))
    (tmp_path / "somebody's").write_bytes(bytes(5000))
    (tmp_path / ".new-left").write_bytes(bytes(10))
    os.utime(tmp_path / ".new-left", ns=(0, 0))
    assert cache.get(name(0)) == bytes(100)  # used now
    cache.put(name(10), bytes(100))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"somebody's", name(0), *(name(number) for number in range(5, 11))}


def test_files_of_an_earlier_run_count(tmp_path: Path) -> None:
    DiskCache(tmp_path, 1000).put(name(1), bytes(900))
    os.utime(tmp_path / name(1), ns=(1, 1))
    cache = DiskCache(tmp_path, 1000)
    cache.put(name(2), bytes(200))
    assert (cache.get(name(1)), cache.get(name(2))) == (None, bytes(200))


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = DiskCache(tmp_path / "file", 1000)
    cache.put(name(1), b"one")
    assert cache.get(name(1)) is None


def test_a_name_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / name(1)).mkdir()
    cache = DiskCache(tmp_path, 1000)
    cache.put(name(1), b"one")
    assert cache.get(name(1)) is None
    assert [path.name for path in tmp_path.iterdir()] == [name(1)]


def test_a_file_that_is_too_large_to_be_ours(tmp_path: Path) -> None:
    (tmp_path / name(1)).write_bytes(bytes(MAX_BODY + 1))
    assert DiskCache(tmp_path, 1 << 30).get(name(1)) is None


def test_one_that_another_process_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = DiskCache(tmp_path, 100)
    cache.put(name(1), bytes(80))

    def gone(path: str) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "unlink", gone)
    cache.put(name(2), bytes(80))
    assert cache.get(name(2)) == bytes(80)


def test_threads_at_once(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 500)

    def fill(first: int) -> None:
        for number in range(first, first + 20):
            cache.put(name(number), bytes(100))

    threads = [threading.Thread(target=fill, args=(first,)) for first in (0, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < sum(path.stat().st_size for path in tmp_path.iterdir()) <= 500
