from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from usbredir_mtp.exports import Export, ExportError, Shares, located, parse_export
from usbredir_mtp.mtp.codes import EventCode
from usbredir_mtp.mtp.device import MtpDevice
from usbredir_mtp.mtp.folder import FolderStorage
from usbredir_mtp.mtp.folder_links import LinkedFolderStorage
from usbredir_mtp.mtp.nodes import storage_of
from usbredir_mtp.mtp.objects import ObjectTable
from usbredir_mtp.mtp.watch_plan import parse_watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbredir_mtp.mtp.events import Event


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a folder `share`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "share").mkdir()
    return tmp_path


# -- syntax ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "read_only"),
    [
        ("share", "share", False),
        ("./share/", "share", False),
        ("{here}/share", "share", False),
        ("share/../share", "share", False),
        ("share:ro", "share", True),
        ("Photos=share", "Photos", False),
        ("Photos=share:ro", "Photos", True),
        ("Zoë's photos={here}/share:ro", "Zoë's photos", True),
        ("a:b=share", "a:b", False),
        ("ro=share:ro", "ro", True),
    ],
)
def test_syntax(here: Path, text: str, name: str, read_only: bool) -> None:
    export = parse_export(text.format(here=here))
    assert export == Export(name, here / "share", read_only)


@pytest.mark.parametrize("name", ["share:ro", "Photos=share", "a=b:ro", "a=b=c", ":ro", "="])
def test_a_folder_that_is_really_called_so_comes_first(here: Path, name: str) -> None:
    (here / name).mkdir()
    assert parse_export(name) == Export(name, here / name)
    assert parse_export(f"{here}/{name}") == Export(name, here / name)


def test_a_slash_before_the_sign_makes_it_part_of_the_path(here: Path) -> None:
    (here / "a=b").mkdir()
    assert parse_export(f"{here}/a=b:ro") == Export("a=b", here / "a=b", read_only=True)


@pytest.mark.parametrize("text", ["~/share", "~/share:ro", "Name=~/share"])
def test_the_home_folder(here: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("HOME", str(here))
    assert parse_export(text).path == here / "share"


def test_links_to_the_folder_are_followed_once_and_for_all(here: Path) -> None:
    (here / "link").symlink_to("share")
    assert parse_export("link") == Export("share", here / "share")


def test_the_root_has_a_name_too() -> None:
    assert located(Export("", Path()), None, "/").name == "/"


def test_settings_hold_where_the_text_says_nothing(here: Path) -> None:
    settings = Export("", Path(), read_only=True, show_hidden=True, follow_symlinks=True, watch=parse_watch("off"))
    assert parse_export("share", settings) == replace(settings, name="share", path=here / "share")
    assert parse_export("N=share", settings) == replace(settings, name="N", path=here / "share")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("missing", "missing: No such file or directory"),
        ("Name=missing:ro", "missing: No such file or directory"),
        ("file", "file: Not a directory"),
        ("Name=", "Name=: No such file or directory"),
        (":ro", ":ro: No such file or directory"),
        ("share/missing", "share/missing: No such file or directory"),
        ("file/below", "file/below: Not a directory"),
        ("loop", "loop: Too many levels of symbolic links"),
    ],
)
def test_what_cannot_be_exported(here: Path, text: str, said: str) -> None:
    (here / "file").touch()
    (here / "loop").symlink_to("loop")
    with pytest.raises(ExportError) as caught:
        parse_export(text)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("x" * 300, id="too long"),
        pytest.param("x" * 300 + "=share", id="long name"),
        pytest.param(
            "~nobody of this name/x",
            id="nobody's home",
        ),
    ],
)
def test_whatever_is_wrong_is_an_error_of_the_user_s(here: Path, text: str) -> None:
    with pytest.raises(ExportError):
        parse_export(text)


def test_an_export_as_text() -> None:
    assert str(Export("Photos", Path("/srv/p"))) == "Photos: /srv/p (read-write)"
    assert str(Export("Photos", Path("/srv/p"), read_only=True)) == "Photos: /srv/p (read-only)"


# -- storages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("follow", "kind"), [(False, FolderStorage), (True, LinkedFolderStorage)])
def test_the_storage_of_an_export(here: Path, follow: bool, kind: type[FolderStorage]) -> None:
    export = Export("Photos", here / "share", read_only=True, follow_symlinks=follow)
    (here / "share" / ".hidden").touch()
    with export.open() as storage:
        assert type(storage) is kind
        assert (storage.description, storage.path, storage.read_only) == ("Photos", str(here / "share"), True)
        assert storage.hides(".hidden")
    with Export("Photos", here / "share", show_hidden=True, follow_symlinks=follow).open() as storage:
        assert not storage.read_only
        assert not storage.hides(".hidden")


class Scene:
    """What a device shares, and what its guests hear of it."""

    def __init__(self, here: Path) -> None:
        self.device = MtpDevice(ObjectTable())
        self.shares = Shares(self.device)
        self.heard: list[Event] = []
        self.device.objects.publisher.subscribe(self)
        for name in ("a", "b", "c"):
            (here / name).mkdir()
        self.a, self.b, self.c = (Export(name, here / name) for name in ("a", "b", "c"))

    def notify(self, event: Event, /) -> None:
        self.heard.append(event)

    def shared(self) -> dict[str, int]:
        return {storage_of(root).description: root.storage_id for root in self.device.objects.stores}

    def take(self) -> list[tuple[EventCode, int]]:
        heard, self.heard = [(event.code, event.parameter) for event in self.heard], []
        return heard


@pytest.fixture
def scene(here: Path) -> Iterator[Scene]:
    made = Scene(here)
    yield made
    made.shares.update([])
    made.device.close()


def test_shares_come_and_go(scene: Scene) -> None:
    scene.shares.update([scene.a, scene.b])
    assert scene.shared() == {"a": 0x10001, "b": 0x20001}
    assert scene.take() == [(EventCode.STORE_ADDED, 0x10001), (EventCode.STORE_ADDED, 0x20001)]
    scene.shares.update([scene.b, scene.c])
    assert scene.shared() == {"b": 0x20001, "c": 0x30001}
    assert scene.take() == [(EventCode.STORE_REMOVED, 0x10001), (EventCode.STORE_ADDED, 0x30001)]
    scene.shares.update([scene.c, scene.b])
    assert scene.take() == []


def test_the_same_share_twice_is_one(scene: Scene) -> None:
    scene.shares.update([scene.a, scene.a])
    assert scene.shared() == {"a": 0x10001}


def test_a_share_with_other_settings_is_another(scene: Scene, here: Path) -> None:
    scene.shares.update([scene.a])
    scene.shares.update([Export("a", here / "a", read_only=True)])
    assert scene.shared() == {"a": 0x20001}
    [root] = scene.device.objects.stores
    assert storage_of(root).read_only


def test_two_shares_may_have_one_name(scene: Scene, here: Path) -> None:
    scene.shares.update([scene.a, Export("a", here / "b")])
    assert [storage_of(root).description for root in scene.device.objects.stores] == ["a", "a"]
    assert len({storage_of(root).volume for root in scene.device.objects.stores}) == 2


def test_a_share_that_cannot_be_opened_changes_nothing(scene: Scene, here: Path) -> None:
    scene.shares.update([scene.a])
    scene.take()
    with pytest.raises(FileNotFoundError):
        scene.shares.update([scene.b, Export("gone", here / "gone")])
    assert scene.shared() == {"a": 0x10001}
    assert scene.take() == []


def test_a_share_that_cannot_be_opened_leaves_no_other_open(scene: Scene, here: Path) -> None:
    fds = Path("/proc/self/fd")
    if not fds.exists():
        pytest.skip("needs /proc")
    before = len(list(fds.iterdir()))
    with pytest.raises(FileNotFoundError):
        scene.shares.update([scene.b, Export("gone", here / "gone")])
    assert len(list(fds.iterdir())) == before


def test_a_folder_of_whatever_name_can_be_shown(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    assert parse_export(str(odd)).name.startswith("caf%E9~")
    assert parse_export(f"N={odd}").name == "N"
