"""Storages that come and go while guests are connected, and how names and times are put to them."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.codes import Ev, Prop, Rc
from tests.support.initiator import Initiator, refused
from tests.support.server import phone, running_server
from tests.support.zones import host_zone

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    folders = {name: tmp_path / name for name in ("first", "second", "third")}
    for name, folder in folders.items():
        folder.mkdir()
        (folder / f"in {name}").write_text(name)
    return folders


def write_config(file: Path, *tables: str, **settings: object) -> None:
    head = "".join(f"{key.replace('_', '-')} = {value}\n" for key, value in settings.items())
    file.write_text(head + "".join(f"[[export]]\n{table}\n" for table in tables))


def storages(mtp: Initiator) -> dict[str, int]:
    return {mtp.storage_info(number).description: number for number in mtp.storage_ids()}


def descriptors(folder: Path) -> int:
    """How many descriptors of this process lead to a folder or below it."""
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            count += link.readlink().is_relative_to(folder)
    return count


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it did not come about")


def test_exports_come_and_go(folders: dict[str, Path], tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    write_config(config, f"path = '{folders['second']}'\nname = 'Zweite'")
    with running_server([folders["first"]], "--config", str(config)) as server:
        mtp = server.initiator()
        before = storages(mtp)
        assert list(before) == ["first", "Zweite"]
        handle = mtp.names(storage=before["Zweite"])["in second"]
        mtp.begin_edit(handle)

        write_config(config, f"path = '{folders['third']}'\nread-only = true")
        server.reload()
        assert (mtp.wait_event().code, mtp.wait_event().code) == (Ev.STORE_REMOVED, Ev.STORE_ADDED)
        after = storages(mtp)
        assert list(after) == ["first", "third"]
        assert after["first"] == before["first"]
        assert after["third"] not in before.values()
        assert list(mtp.names(storage=after["third"])) == ["in third"]
        for use in (mtp.object_info, mtp.get_object, mtp.end_edit):
            with refused(Rc.INVALID_OBJECT_HANDLE, Rc.STORE_NOT_AVAILABLE):
                use(handle)
        with refused(Rc.INVALID_STORAGE_ID):
            mtp.storage_info(before["Zweite"])
        with refused(Rc.STORE_READ_ONLY):
            mtp.send_file("new", b"", storage=after["third"])
        wait_until(lambda: descriptors(folders["second"]) == 0)


def test_a_transaction_in_a_storage_that_goes_ends_well(folders: dict[str, Path], tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    data = os.urandom(3_000_000)
    (folders["second"] / "large").write_bytes(data)
    write_config(config, f"path = '{folders['second']}'")
    with running_server([folders["first"]], "--config", str(config)) as server:
        mtp = server.initiator()
        large = mtp.names(storage=storages(mtp)["second"])["large"]
        number = mtp.send_command(0x1009, large)
        first = mtp.read_transfer()
        write_config(config)
        server.reload()
        rest = b""
        while len(first) + len(rest) < len(data) + 12:
            rest += mtp.read_transfer()
        assert (first + rest)[12:] == data
        assert mtp.finish(0x1009, number).code == Rc.OK
        assert list(storages(mtp)) == ["first"]


def test_a_configuration_that_became_unusable_changes_nothing(folders: dict[str, Path], tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    write_config(config, f"path = '{folders['second']}'")
    with running_server([folders["first"]], "--config", str(config)) as server:
        mtp = server.initiator()
        for text in ("[[export", "[[export]]\n", "[[export]]\npath = '/nowhere'\n", "colour = 1\n"):
            config.write_text(text)
            with pytest.raises(ValueError, match=r"config\.toml"):
                server.reload()
        assert list(storages(mtp)) == ["first", "second"]


def test_a_device_is_called_something_else(folders: dict[str, Path], tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    write_config(config)
    with running_server([folders["first"]], "--config", str(config)) as server:
        mtp = server.initiator()
        server.reload()
        write_config(config, product_name="'Neu'", manufacturer="'We'")
        server.reload()
        assert (mtp.wait_event().code, mtp.wait_event().code) == (Ev.DEVICE_INFO_CHANGED, Ev.DEVICE_PROP_CHANGED)
        info = mtp.device_info()
        assert (info.model, info.manufacturer) == ("Neu", "We")
        assert mtp.device_prop_value(Prop.FRIENDLY_NAME) == "Neu"
        write_config(config, product_name="'Neu'", manufacturer="'They'")
        server.reload()
        assert mtp.wait_event().code == Ev.DEVICE_INFO_CHANGED
        assert mtp.device_info().manufacturer == "They"


def test_free_space_that_changed_is_told(tmp_path: Path) -> None:
    with running_server([tmp_path]) as server:
        mtp = server.initiator()
        before = mtp.storage_info(mtp.storage).free
        mtp.send_file("large", os.urandom(8 << 20))
        event = mtp.wait_event(unless=())
        assert (event.code, event.params) == (Ev.STORAGE_INFO_CHANGED, (mtp.storage,))
        assert mtp.storage_info(mtp.storage).free != before


def test_times_are_in_the_guests_zone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.utime(tmp_path / "file", (1_600_000_000, 1_600_000_000))  # 2020-09-13 12:26:40 UTC
    shown = {}
    for zone in ("UTC", "Asia/Tokyo"):
        with phone(tmp_path, options=["--time-zone", zone]) as mtp:
            handle = mtp.names()["file"]
            shown[zone] = mtp.object_info(handle).modified
            assert mtp.prop_value(handle, Prop.MODIFIED, 0xFFFF) == shown[zone]
            mtp.send_file(zone.rpartition("/")[2], b"", modified="20200913T122640")
            mtp.send_file("said", b"", modified="20200913T122640Z")
    assert shown == {"UTC": "20200913T122640", "Asia/Tokyo": "20200913T212640"}
    times = {name: (tmp_path / name).stat().st_mtime for name in ("UTC", "Tokyo", "said")}
    assert times == {"UTC": 1_600_000_000, "Tokyo": 1_600_000_000 - 9 * 3600, "said": 1_600_000_000}


def test_without_a_zone_times_are_the_host_s(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.utime(tmp_path / "file", (1_600_000_000, 1_600_000_000))
    with host_zone("America/New_York"), phone(tmp_path) as mtp:
        assert mtp.object_info(mtp.names()["file"]).modified == "20200913T082640"


ODD = {
    'a:b*?"<>|.txt': "a\uf03ab\uf02a\uf03f\uf022\uf03c\uf03e\uf07c.txt",
    "dot.": "dot\uf02e",
    "back\\slash": "back\uf05cslash",
}


def test_names_that_windows_cannot_have(tmp_path: Path) -> None:
    for name in ODD:
        (tmp_path / name).touch()
    with phone(tmp_path) as mtp:
        assert set(mtp.names()) == set(ODD)
    with phone(tmp_path, options=["--windows-names"]) as mtp:
        assert set(mtp.names()) == set(ODD.values())
        mtp.send_file("new\uf03a", b"")
        mtp.rename(mtp.names()["dot\uf02e"], "space\uf020")
    assert {"new:", "space "} <= {path.name for path in tmp_path.iterdir()}
