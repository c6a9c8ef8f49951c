from __future__ import annotations

import io
import os
import resource
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.mtp.media import samples
from usbredir_mtp.mtp.codes import ObjectProperty
from usbredir_mtp.mtp.media import images, worker
from usbredir_mtp.mtp.media.client import Channel, Message
from usbredir_mtp.mtp.media.jpeg import jpeg_size
from usbredir_mtp.mtp.media.model import Limits

if TYPE_CHECKING:
    from pathlib import Path

P = ObjectProperty
SECONDS = 30.0
LIMITS = Limits()


def perform(tmp_path: Path, data: bytes, **job: object) -> tuple[dict[str, object], bytes]:
    (tmp_path / "file").write_bytes(data)
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    os.lseek(descriptor, len(data), os.SEEK_SET)
    answer = worker.perform(Message(dict(job), b"", descriptor), LIMITS)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.close(descriptor)
    return answer


def test_properties(tmp_path: Path) -> None:
    header, body = perform(tmp_path, samples.image("PNG"), job="properties", kind="image", suffix="png")
    assert (header, body) == ({"properties": {P.WIDTH: 320, P.HEIGHT: 200}}, b"")
    header, _ = perform(tmp_path, samples.wav(), job="properties", kind="audio", suffix="wav")
    assert isinstance(header["properties"], dict)
    assert header["properties"][P.DURATION] == 1000


def test_thumbnails(tmp_path: Path) -> None:
    cover = samples.image("PNG")
    for data, kind, suffix in (
        (cover, "image", "png"),
        (samples.flac({}, cover), "audio", "flac"),
        (samples.mp4({"covr": [cover]}), "video", "mp4"),
    ):
        header, body = perform(tmp_path, data, job="thumbnail", kind=kind, suffix=suffix)
        assert header == {}
        assert jpeg_size(body) == (160, 100)
    assert perform(tmp_path, samples.flac({}), job="thumbnail", kind="audio", suffix="flac") == ({}, b"")


@pytest.mark.parametrize("job", ["properties", "thumbnail"])
@pytest.mark.parametrize(("kind", "suffix"), [("image", "jpg"), ("audio", "mp3"), ("audio", "exe"), ("film", "mp4")])
def test_what_goes_wrong_is_told(tmp_path: Path, job: str, kind: str, suffix: str) -> None:
    header, body = perform(tmp_path, b"nothing" * 100, job=job, kind=kind, suffix=suffix)
    assert list(header) == ["fault"]
    assert len(str(header["fault"])) <= 200
    assert body == b""


def test_no_file() -> None:
    assert worker.perform(Message({"job": "properties"}), LIMITS) == ({"fault": "no file"}, b"")


def test_out_of_memory_is_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(images, "thumbnail", exhausted)
    header, _ = perform(tmp_path, b"", job="thumbnail", kind="image", suffix="png")
    assert header == {"fault": "MemoryError: "}


def test_serving_until_the_other_side_hangs_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timers: list[float] = []
    monkeypatch.setattr(signal, "setitimer", lambda _which, seconds: timers.append(seconds))
    (tmp_path / "a.png").write_bytes(samples.image("PNG"))
    ours, theirs = Channel.pair()
    thread = threading.Thread(target=worker.serve, args=(theirs, LIMITS))
    thread.start()
    assert ours.receive(SECONDS).header == {"ready": True}
    with (tmp_path / "a.png").open("rb") as file:
        ours.send({"job": "properties", "kind": "image", "suffix": "png"}, descriptor=file.fileno())
        assert ours.receive(SECONDS).header == {"properties": {str(int(P.WIDTH)): 320, str(int(P.HEIGHT)): 200}}
    ours.close()
    thread.join(SECONDS)
    assert not thread.is_alive()
    theirs.close()
    assert timers == [LIMITS.seconds + 1, 0]


def test_serving_until_nothing_comes() -> None:
    ours, theirs = Channel.pair()
    worker.serve(theirs, Limits(idle=0.001))
    assert ours.receive(SECONDS).header == {"ready": True}
    ours.close()
    theirs.close()


def test_what_the_process_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[int, Any] = {}

    def set_limit(limit: int, values: tuple[int, int]) -> None:
        given[limit] = values
        if limit == resource.RLIMIT_AS:
            raise ValueError(limit)

    monkeypatch.setattr(resource, "setrlimit", set_limit)
    worker.confine(LIMITS)
    assert given == {
        resource.RLIMIT_AS: (LIMITS.memory, LIMITS.memory),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_NOFILE: (16, 16),
        resource.RLIMIT_CORE: (0, 0),
    }


def test_main(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Limits] = []
    handler = signal.getsignal(signal.SIGALRM)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    monkeypatch.setattr(worker, "confine", lambda _limits: None)
    monkeypatch.setattr(worker, "serve", lambda _channel, limits: served.append(limits))
    monkeypatch.setattr(Channel, "inherited", classmethod(lambda _cls, _descriptor: io.BytesIO()))
    try:
        worker.main('{"pixels": 1000, "side": 80}')
    finally:
        signal.signal(signal.SIGALRM, handler)
    assert served == [Limits(pixels=1000, side=80)]
    assert Image.MAX_IMAGE_PIXELS == 64_000
