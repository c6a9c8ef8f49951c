from __future__ import annotations

import importlib.util
import json
import os
import random
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.mtp.media import fakes, samples
from tests.mtp.media.test_process import alive, descriptors
from usbredir_mtp.mtp.codes import ObjectProperty, ResponseCode
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.media.jpeg import jpeg_size
from usbredir_mtp.mtp.media.media import Media
from usbredir_mtp.mtp.media.model import Limits, MediaKey, MediaType, ThumbnailInfo
from usbredir_mtp.mtp.media.process import worker_command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

P = ObjectProperty
SECONDS = 30.0
LIMITS = Limits(seconds=SECONDS)


@dataclass(slots=True)
class File:
    """A media file, and how often it was opened."""

    path: Path
    opened: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def key(self) -> MediaKey:
        status = self.path.stat()
        return MediaKey("volume", status.st_ino, status.st_size, status.st_mtime_ns)

    def open(self) -> int:
        self.opened.append(1)
        return os.open(self.path, os.O_RDONLY)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def png(tmp_path: Path) -> File:
    return written(tmp_path, "a.png", samples.image("PNG"))


@pytest.fixture
def media(tmp_path: Path) -> Iterator[Media]:
    before = descriptors()
    with Media(tmp_path / "cache", LIMITS) as made:
        yield made
        process = made._worker._process
    assert process is None or not alive(process.pid)
    assert descriptors() == before


def written(folder: Path, name: str, data: bytes) -> File:
    (folder / name).write_bytes(data)
    return File(folder / name)


def no_thumbnail(media: Media, file: File, code: ResponseCode = ResponseCode.NO_THUMBNAIL_PRESENT) -> None:
    with pytest.raises(MtpError) as caught:
        media.thumbnail(file.key, file.name, file.open)
    assert caught.value.code is code


def properties(media: Media, file: File) -> dict[int, int | str]:
    return dict(media.properties(file.key, file.name, file.open))


def test_nothing_is_started_before_it_is_needed(media: Media, png: File) -> None:
    assert media.handles("a.jpg") is MediaType.IMAGE
    assert media.known_properties(png.key) is None
    assert media.known_thumbnail(png.key) is None
    assert media.properties(png.key, "a.txt", png.open) == {}
    assert media._worker._process is None


def test_properties_are_read_once(media: Media, png: File) -> None:
    expected = {P.WIDTH: 320, P.HEIGHT: 200}
    assert properties(media, png) == expected
    assert properties(media, png) == expected
    assert media.known_properties(png.key) == expected
    assert len(png.opened) == 1


def test_a_thumbnail_is_made_once(media: Media, png: File, tmp_path: Path) -> None:
    data = media.thumbnail(png.key, png.name, png.open)
    assert jpeg_size(data) == (160, 100)
    assert media.thumbnail(png.key, png.name, png.open) == data
    assert media.known_thumbnail(png.key) == ThumbnailInfo(len(data), 160, 100)
    assert len(png.opened) == 1
    with Media(tmp_path / "cache", LIMITS) as later:
        assert later.known_thumbnail(png.key) is None
        assert later.thumbnail(png.key, png.name, png.open) == data
        assert later.known_thumbnail(png.key) == ThumbnailInfo(len(data), 160, 100)
        assert later._worker._process is None
    assert len(png.opened) == 1


def test_changed_content_is_read_anew(media: Media, png: File) -> None:
    properties(media, png)
    png.path.write_bytes(samples.image("PNG", (64, 48)) + b"more")
    assert properties(media, png) == {P.WIDTH: 64, P.HEIGHT: 48}


def test_what_was_kept_and_is_broken_is_made_anew(media: Media, png: File, tmp_path: Path) -> None:
    data = media.thumbnail(png.key, png.name, png.open)
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(b"")
    with Media(tmp_path / "cache", LIMITS) as later:
        assert later.thumbnail(png.key, png.name, png.open) == data
    assert kept.read_bytes() == data


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("song.mp3", samples.mp3(samples.ID3.TPE1(text="Her"))),
        ("song.flac", samples.flac({"artist": "Her"})),
        ("song.opus", samples.opus({"artist": "Her"})),
        ("film.mp4", samples.mp4({"\xa9ART": ["Her"]})),
        ("song.wma", samples.asf("x", "Her")),
    ],
)
def test_music_and_films(media: Media, tmp_path: Path, name: str, data: bytes) -> None:
    file = written(tmp_path, name, data)
    assert properties(media, file)[P.ARTIST] == "Her"
    no_thumbnail(media, file)


def test_long_texts_are_cut(media: Media, tmp_path: Path) -> None:
    file = written(tmp_path, "long.mp3", samples.mp3(samples.ID3.TPE1(text="ö" * 300_000), samples.ID3.TALB(text="x")))
    found = properties(media, file)
    assert (found[P.ARTIST], found[P.ALBUM_NAME]) == ("ö" * 254, "x")


HOSTILE = {
    "empty.jpg": b"",
    "text.jpg": b"this is no picture",
    "cut.jpg": samples.image("JPEG")[:300],
    "noise.jpg": samples.image("JPEG")[:200] + random.Random(1).randbytes(4000),
    "bomb.png": samples.png_that_says(31_623, 31_623),
    "huge.png": samples.png_that_says(0x7FFFFFFF, 0x7FFFFFFF),
    "cut.mp3": samples.mp3(samples.ID3.TIT2(text="x" * 100))[:40],
    "noise.flac": b"fLaC" + random.Random(2).randbytes(500),
    "noise.ogg": b"OggS" + random.Random(3).randbytes(500),
    "loop.mp4": samples.box(b"moov", samples.box(b"trak", b"\0\0\0\0trak" * 50)),
    "deep.mp4": b"".join((8 * (20_000 - n)).to_bytes(4, "big") + b"moov" for n in range(20_000)),
    "cover.mp3": samples.mp3(samples.ID3.APIC(type=3, data=samples.png_that_says(60_000, 60_000))),
}


def test_hostile_files_get_no_thumbnail_and_harm_nobody(media: Media, tmp_path: Path, png: File) -> None:
    for name, data in HOSTILE.items():
        file = written(tmp_path, name, data)
        properties(media, file)
        no_thumbnail(media, file)
        no_thumbnail(media, file)
        assert len(file.opened) == 2, name  # once for each of the two questions
    assert properties(media, png) == {P.WIDTH: 320, P.HEIGHT: 200}


def test_memory_is_limited(tmp_path: Path) -> None:
    file = written(tmp_path, "a.png", samples.image("PNG", (6000, 6000), mode="L", color=0))
    with Media(None, Limits(seconds=SECONDS, memory=64 << 20)) as media:
        no_thumbnail(media, file)
    with Media(None, LIMITS) as media:
        assert jpeg_size(media.thumbnail(file.key, file.name, file.open)) == (160, 160)


def test_an_image_file_that_is_too_large_is_not_read(tmp_path: Path, png: File, log: Path) -> None:
    with Media(None, Limits(bytes=10), fakes.command("serves", log)) as media:
        no_thumbnail(media, png)
        assert properties(media, png) == {}
    assert fakes.runs(log) == []


def test_what_is_no_file(tmp_path: Path, log: Path) -> None:
    folder = tmp_path / "folder.png"
    folder.mkdir()
    with Media(None, LIMITS, fakes.command("serves", log)) as media:
        no_thumbnail(media, File(folder))
    assert fakes.runs(log) == []


@pytest.mark.parametrize("behaviour", ["crashes", "exits", "garbage", "half", "quits"])
@pytest.mark.parametrize("thumbnail_first", [False, True])
def test_content_that_a_process_did_not_survive_is_left_alone(
    png: File, log: Path, behaviour: str, thumbnail_first: bool
) -> None:
    with Media(None, LIMITS, fakes.command(behaviour, log)) as media:
        if thumbnail_first:
            no_thumbnail(media, png)
        for _ in range(2):
            assert properties(media, png) == {}
            no_thumbnail(media, png)
        assert media.known_properties(png.key) == {}
        assert media.known_thumbnail(png.key) is None
        assert len(png.opened) == 1


def test_content_that_takes_too_long_is_left_alone(png: File, log: Path) -> None:
    with Media(None, Limits(seconds=0.05), fakes.command("hangs", log)) as media:
        assert properties(media, png) == {}
        no_thumbnail(media, png)
    assert len(fakes.runs(log)) == 1


@pytest.mark.parametrize("behaviour", ["not a picture", "large picture"])
def test_a_picture_is_looked_at_before_it_is_passed_on(png: File, log: Path, tmp_path: Path, behaviour: str) -> None:
    with Media(tmp_path / "cache", LIMITS, fakes.command(behaviour, log)) as media:
        no_thumbnail(media, png)
        no_thumbnail(media, png)
    assert len(png.opened) == 1
    assert not (tmp_path / "cache").exists()


def test_properties_that_are_none(png: File, log: Path) -> None:
    with Media(None, LIMITS, fakes.command("lies", log)) as media:
        assert properties(media, png) == {}


def test_a_process_that_does_not_start_is_not_the_files_fault(png: File, log: Path) -> None:
    with Media(None, LIMITS, fakes.command("never ready", log)) as media:
        assert properties(media, png) == {}
        no_thumbnail(media, png)
        assert media.known_properties(png.key) is None
        assert len(png.opened) == 2


def test_a_file_that_cannot_be_opened(media: Media, png: File) -> None:
    def refuse() -> int:
        raise PermissionError

    assert media.properties(png.key, png.name, refuse) == {}
    with pytest.raises(PermissionError):
        media.thumbnail(png.key, png.name, refuse)
    assert properties(media, png) == {P.WIDTH: 320, P.HEIGHT: 200}
    assert media.thumbnail(png.key, png.name, png.open)


def test_others_files_take_too_long(png: File, log: Path) -> None:
    with Media(None, Limits(seconds=0.05), fakes.command("serves", log)) as media:
        with media._turn:
            assert properties(media, png) == {}
            no_thumbnail(media, png, ResponseCode.DEVICE_BUSY)
        media._worker._seconds = SECONDS
        assert properties(media, png) == {P.WIDTH: 1}


def test_two_sessions_ask_for_the_same(media: Media, png: File) -> None:
    pictures: list[bytes] = []
    start = threading.Barrier(4)

    def ask() -> None:
        start.wait(SECONDS)
        pictures.append(media.thumbnail(png.key, png.name, png.open))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert len(pictures) == 4
    assert len(set(pictures)) == 1
    assert len(png.opened) == 1


def test_closing_ends_a_running_job(png: File, log: Path) -> None:
    media = Media(None, LIMITS, fakes.command("hangs", log))
    opened = threading.Event()
    answers: list[object] = []

    def open_file() -> int:
        opened.set()
        return png.open()

    thread = threading.Thread(target=lambda: answers.append(media.properties(png.key, png.name, open_file)))
    thread.start()
    assert opened.wait(SECONDS)
    media.close()
    thread.join(SECONDS)
    assert answers == [{}]
    assert media.known_properties(png.key) is None
    assert not any(alive(process) for process in fakes.runs(log))
    no_thumbnail(media, png)
    media.close()


@pytest.mark.parametrize("missing", ["PIL", "mutagen"])
def test_without_the_extra(png: File, tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    assert Media.available()
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    assert not Media.available()
    with Media(tmp_path / "cache", LIMITS, fakes.command("serves", log)) as media:
        assert media.handles(png.name) is None
        assert properties(media, png) == {}
        no_thumbnail(media, png)
    assert (png.opened, fakes.runs(log)) == ([], [])


def test_the_process_has_our_modules_and_nothing_of_the_environment(
    png: File, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "PIL.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    command = worker_command(LIMITS)
    assert command[:2] == [sys.executable, "-I"]
    assert "" not in command
    assert Limits(**json.loads(command[4])) == LIMITS
    with Media(None, LIMITS) as media:
        assert properties(media, png) == {P.WIDTH: 320, P.HEIGHT: 200}


def test_a_process_that_ended_of_idleness_is_started_again(png: File, tmp_path: Path) -> None:
    other = written(tmp_path, "b.png", samples.image("PNG", (10, 20)))
    with Media(None, Limits(seconds=SECONDS, idle=2.0)) as media:
        assert properties(media, png) == {P.WIDTH: 320, P.HEIGHT: 200}
        first = media._worker._process
        assert first is not None
        assert first.wait(SECONDS) == 0
        assert properties(media, other) == {P.WIDTH: 10, P.HEIGHT: 20}
