from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from mutagen import MutagenError

from tests.mtp.media import samples
from usbredir_mtp.mtp.codes import ObjectProperty
from usbredir_mtp.mtp.media import tags

if TYPE_CHECKING:
    from pathlib import Path

P = ObjectProperty
ID3 = samples.ID3
COVER = samples.image("PNG", (10, 10))


def told(tmp_path: Path, data: bytes, suffix: str) -> dict[int, int | str]:
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as file:
        return tags.properties(file, suffix)


def cover(tmp_path: Path, data: bytes, suffix: str) -> bytes | None:
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as file:
        found = tags.cover(file, suffix)
        return None if found is None else found.read()


def test_mp3(tmp_path: Path) -> None:
    data = samples.mp3(
        ID3.TIT2(text="Song"),
        ID3.TPE1(text=["One", "Two"]),
        ID3.TPE2(text="Band"),
        ID3.TALB(text="Album"),
        ID3.TRCK(text="3/12"),
        ID3.TCON(text="(17)"),
        ID3.TCOM(text="Bach"),
        ID3.TDRC(text="2004-05"),
        ID3.POPM(email="a@b", rating=255, count=1),
    )
    size = len(data)
    found = told(tmp_path, data, "mp3")
    assert isinstance(found[P.DURATION], int)
    assert 0 < found.pop(P.DURATION) <= size * 8 // 128  # type: ignore[operator]
    assert found == {
        P.NAME: "Song",
        P.ARTIST: "One",
        P.ALBUM_ARTIST: "Band",
        P.ALBUM_NAME: "Album",
        P.TRACK: 3,
        P.GENRE: "Rock",
        P.COMPOSER: "Bach",
        P.ORIGINAL_RELEASE_DATE: "20040501T000000",
        P.RATING: 100,
        P.SAMPLE_RATE: 44100,
        P.NUMBER_OF_CHANNELS: 2,
        P.AUDIO_BIT_RATE: 128000,
        P.TOTAL_BIT_RATE: 128000,
    }


def test_flac(tmp_path: Path) -> None:
    found = told(tmp_path, samples.flac({"artist": "Jürgen", "tracknumber": "07", "date": "1999-12-31"}), "flac")
    rate = found.pop(P.AUDIO_BIT_RATE)
    assert found.pop(P.TOTAL_BIT_RATE) == rate
    assert found == {
        P.ARTIST: "Jürgen",
        P.TRACK: 7,
        P.ORIGINAL_RELEASE_DATE: "19991231T000000",
        P.DURATION: 2000,
        P.SAMPLE_RATE: 48000,
        P.NUMBER_OF_CHANNELS: 2,
        P.AUDIO_BIT_DEPTH: 16,
    }


@pytest.mark.parametrize("suffix", ["opus", "ogg", "oga"])
def test_opus(tmp_path: Path, suffix: str) -> None:
    found = told(tmp_path, samples.opus({"ARTIST": "Someone", "album artist": "All"}), suffix)
    assert found[P.ARTIST] == "Someone"
    assert found[P.ALBUM_ARTIST] == "All"
    assert found[P.DURATION] == 2000
    assert found[P.AUDIO_BIT_RATE] == found[P.TOTAL_BIT_RATE]


def test_vorbis(tmp_path: Path) -> None:
    found = told(tmp_path, samples.vorbis({"TITLE": "Song", "ORIGINALDATE": "0000", "GENRE": ""}), "ogg")
    assert found == {
        P.NAME: "Song",
        P.DURATION: 2000,
        P.SAMPLE_RATE: 44100,
        P.NUMBER_OF_CHANNELS: 2,
        P.AUDIO_BIT_RATE: 160000,
        P.TOTAL_BIT_RATE: 160000,
    }


@pytest.mark.parametrize("wide", [False, True])
def test_mp4(tmp_path: Path, wide: bool) -> None:
    data = samples.mp4({"\xa9ART": ["Her"], "trkn": [(5, 9)], "\xa9day": ["2010-06-07T00:00:00Z"]}, wide=wide)
    assert told(tmp_path, data, "mp4") == {
        P.ARTIST: "Her",
        P.TRACK: 5,
        P.ORIGINAL_RELEASE_DATE: "20100607T000000",
        P.DURATION: 3000,
        P.TOTAL_BIT_RATE: round(len(data) * 8 / 3),
        P.WIDTH: 1280,
        P.HEIGHT: 720,
    }


def test_an_mp4_of_which_the_picture_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(samples.mp4())
    for end in range(0, len(samples.mp4()), 7):
        with (tmp_path / "file").open("rb") as file:
            assert tags._picture_size(file, end) in ({}, {P.WIDTH: 1280, P.HEIGHT: 720})


def test_wav(tmp_path: Path) -> None:
    assert told(tmp_path, samples.wav(2), "wav") == {
        P.DURATION: 2000,
        P.SAMPLE_RATE: 8000,
        P.NUMBER_OF_CHANNELS: 2,
        P.AUDIO_BIT_DEPTH: 16,
        P.AUDIO_BIT_RATE: 256000,
        P.TOTAL_BIT_RATE: 256000,
    }


def test_asf(tmp_path: Path) -> None:
    found = told(tmp_path, samples.asf("Film", "Her"), "wma")
    assert (found[P.NAME], found[P.ARTIST]) == ("Film", "Her")


@pytest.mark.parametrize(
    ("data", "suffix"),
    [
        (samples.mp3(ID3.APIC(type=4, data=b"back"), ID3.APIC(type=3, data=COVER, desc="x")), "mp3"),
        (samples.flac({}, COVER), "flac"),
        (samples.opus({}, COVER), "opus"),
        (samples.mp4({"covr": [COVER]}), "m4a"),
    ],
)
def test_the_front_cover(tmp_path: Path, data: bytes, suffix: str) -> None:
    assert cover(tmp_path, data, suffix) == COVER


@pytest.mark.parametrize(
    ("data", "suffix"),
    [(samples.mp3(), "mp3"), (samples.flac({}), "flac"), (samples.mp4(), "mp4"), (samples.asf("a", "b"), "wma")],
)
def test_no_cover(tmp_path: Path, data: bytes, suffix: str) -> None:
    assert cover(tmp_path, data, suffix) is None


@pytest.mark.parametrize("suffix", sorted(tags._CLASSES))
@pytest.mark.parametrize("data", [b"", b"no music at all" * 100, samples.mp4()[:60]])
def test_what_is_something_else(tmp_path: Path, suffix: str, data: bytes) -> None:
    with pytest.raises(MutagenError):
        told(tmp_path, data, suffix)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2004", "20040101T000000"),
        ("2004-05-06 07:08", "20040506T000000"),
        ("0000", ""),
        ("May 2004", ""),
        ("", ""),
    ],
)
def test_release_dates(text: str, date: str) -> None:
    assert tags._release_date(text) == date


def test_odd_values_of_tags() -> None:
    odd: dict[str, Any] = {"TPE1": [], "trkn": [()], "artist": ["", "x"], "title": [["deep"]]}
    assert tags._from_tags(odd) == {P.NAME: "deep"}
