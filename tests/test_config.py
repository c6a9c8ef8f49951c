from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from usbredir_mtp import cli
from usbredir_mtp.config import ConfigError, read_config
from usbredir_mtp.options import section_of
from usbredir_mtp.setup import Setup, configure

if TYPE_CHECKING:
    from pathlib import Path


def setup(*arguments: str, env: dict[str, str] | None = None) -> Setup:
    """What a command line comes to."""
    with cli.command.make_context("usbredir-mtp", list(arguments)) as context:
        return configure(context.params, section_of(context))


def write(folder: Path, text: str) -> str:
    (folder / "config.toml").write_text(text)
    return str(folder / "config.toml")


def test_settings_of_the_file_stand_behind_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write(tmp_path, "serial = 'from the file'\nproduct-name = 'file'\nspeed = 'super'\nread-only = true\n")
    export = ("--export", str(tmp_path))
    made = setup("--config", config, *export)
    assert (made.usb.serial, made.usb.product_name, made.speed.name) == ("from the file", "file", "SUPER")
    assert made.exports[0].read_only
    monkeypatch.setenv("USBREDIR_MTP_PRODUCT_NAME", "environment")
    assert setup("--config", config, *export).usb.product_name == "environment"
    assert setup("--config", config, *export, "--product-name", "line").usb.product_name == "line"


def test_exports_of_line_and_file(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).mkdir()
    config = write(
        tmp_path,
        f"export = ['{tmp_path}/b:ro', {{path = '{tmp_path}/c', name = 'See'}}, {{export = 'D={tmp_path}/d'}}]",
    )
    made = setup("--export", str(tmp_path / "a"), "--config", config)
    assert [str(export) for export in made.exports] == [
        f"a: {tmp_path}/a (read-write)",
        f"b: {tmp_path}/b (read-only)",
        f"See: {tmp_path}/c (read-write)",
        f"D: {tmp_path}/d (read-write)",
    ]


def test_the_same_export_twice_is_one(tmp_path: Path) -> None:
    config = write(tmp_path, f"export = '{tmp_path}'")
    assert len(setup("--export", str(tmp_path), "--config", config).exports) == 1


def test_an_export_s_own_setting(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    tables = f"read-only = true\n[[export]]\npath = '{tmp_path}'\nread-only = false\n[[export]]\npath = '{tmp_path}/a'"
    assert [export.read_only for export in setup("--config", write(tmp_path, tables)).exports] == [False, True]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "nothing to share"),
        ("= 1", "config.toml"),
        ("colour = 1", "no setting 'colour'"),
        ("config = 'x'", "no setting 'config'"),
        ("[[export]]\n", "export 1: the path is missing"),
        ("[[export]]\npath = '/nowhere at all'", "export 1: /nowhere at all: No such file"),
        ("[[export]]\npath = 7", "export 1: path has to be a str"),
        ("[[export]]\npath = '/'\nread-only = 'yes'", "export 1: read-only has to be a bool"),
        ("[[export]]\npath = '/'\ncolour = 1", "export 1: there is no setting 'colour'"),
        ("[[export]]\npath = '/'\nwatch = 'closely'", "export 1: watch: 'closely' is not one of auto"),
        ("export = '/'\nwatch = 'closely'", "watch: 'closely' is not one of auto"),
        ("export = [7]", "export 1: a text or a table"),
        ("export = '/nowhere at all'", "export 1: /nowhere at all: No such file"),
        ("export = '/'\nport = 'x'", "'x' is not a valid"),
        ("export = '/'\nspeed = 'ludicrous'", "ludicrous"),
        ("export = '/'\ntime-zone = 'Mars'", "there is no time zone 'Mars'"),
    ],
)
def test_what_a_file_cannot_say(tmp_path: Path, text: str, said: str) -> None:
    result = CliRunner().invoke(cli.command, ["--config", write(tmp_path, text)])
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"config\.toml"):
        read_config(tmp_path / "config.toml", [], [])


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_config(tmp_path / "config.toml", [], [])


def test_exports_that_are_no_list(tmp_path: Path) -> None:
    write(tmp_path, "export = 7")
    with pytest.raises(ConfigError, match="export 1"):
        read_config(tmp_path / "config.toml", [], [])


def test_the_file_is_read_anew(tmp_path: Path) -> None:
    for name in ("one", "two"):
        [plan] = cli.parse(["--config", write(tmp_path, f"export = '{name}={tmp_path}'")])
        assert [export.name for export in plan.setup.exports] == [name]


def test_no_folder_at_all() -> None:
    with cli.command.make_context("usbredir-mtp", []) as context, pytest.raises(ValueError, match="--export"):
        configure(context.params)
    assert isinstance(context, click.Context)
