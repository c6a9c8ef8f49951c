from __future__ import annotations

import json
from typing import TYPE_CHECKING

from usbredir_mtp.mtp import memory
from usbredir_mtp.mtp.memory import Memory

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_values_outlive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "file.json"
    one = Memory(path)
    assert one.get("key") is None
    assert one.get("key", 7) == 7
    one.set("key", ["a\udc80", {"b": 1}])
    one.set("other", "x")
    one.set("other", None)
    other = Memory(path)
    assert other.get("key") == ["a\udc80", {"b": 1}]
    assert other.get("other") is None
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["file.json"]


def test_the_same_value_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    one = Memory(path)
    one.set("key", 1)
    path.unlink()
    one.set("key", 1)
    assert not path.exists()


def test_without_a_file() -> None:
    one = Memory()
    one.set("key", 1)
    assert one.get("key") == 1


def test_what_cannot_be_read_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "file.json"
    for text in ("", "[]", "{", "\xe4"):
        path.write_text(text, "latin-1")
        assert Memory(path).get("key") is None
    path.write_text(json.dumps({"key": "x" * 100}))
    monkeypatch.setattr(memory, "MAX_BYTES", 100)
    assert Memory(path).get("key") is None
    assert len(caplog.records) == 5


def test_what_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    one = Memory(tmp_path / "file" / "file.json")
    one.set("key", 1)
    one.set("key", 2)
    assert one.get("key") == 2
    assert len(caplog.records) == 1


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file.json").mkdir()
    one = Memory(tmp_path / "file.json" / "..")
    one.set("key", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]
