"""The pages that are made from the program's own tables are up to date, and every option is in the README."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from usbredir_mtp import cli

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_responder_s_page(generate: ModuleType) -> None:
    assert (ROOT / "docs/responder.md").read_text("utf-8") == generate.page(), "run: python docs/generate.py"


def test_every_option_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    options = {name for parameter in cli.command.params for name in parameter.opts if name.startswith("--")}
    assert {name for name in options - {"--version"} if f"`{name}" not in readme} == set()
