"""Arrows between the layers point one way only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "usbredir_mtp"
NAME = PACKAGE.name

LAYERS = ("protocol", "device", "mtp")
_NETWORK = {
    *("network/dialing.py", "network/http.py", "network/link.py", "network/loop.py", "network/reporter.py"),
    *("network/server.py", "network/spice.py", "network/spice_channels.py"),
    "hotplug/qmp.py",
}
OWNERS = {
    "asyncio": _NETWORK,
    "uvloop": {"network/loop.py"},
    "ssl": {
        *("network/dialing.py", "network/loop.py", "network/server.py", "network/spice.py"),
        *("network/spice_channels.py", "network/tls.py", "program.py", "spice_access.py"),
    },
    "click": {"cli.py", "commands.py", "options.py"},
    "watchdog": {"mtp/observer.py"},
    "prometheus_client": {"exposition.py"},
    "socket": {
        *("mtp/media/client.py", "notify.py"),
        *("network/http.py", "network/link.py", "network/listening.py", "network/server.py"),
        *("network/spice.py", "network/spice_channels.py"),
        *("hotplug/attach.py", "hotplug/plug.py", "hotplug/qmp.py"),
    },
    "cryptography": {"spice/ticket.py"},
    "qemu": {"hotplug/qmp.py"},
    "PIL": {"mtp/media/images.py"},
    "mutagen": {"mtp/media/tags.py"},
}
"""Library -> the only modules that may import it."""


def imports(source: str) -> set[str]:
    """The full names of all modules that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where an arrow points"
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def faults(path: str, source: str) -> list[str]:
    """What a module of the package (its path below it) may not import, and does."""
    imported = imports(source)
    layer = path.partition("/")[0]
    wrong = [
        name
        for name in imported
        for owner, modules in OWNERS.items()
        if name.partition(".")[0] == owner and path not in modules
    ]
    if layer in LAYERS:
        own = f"{NAME}.{layer}"
        wrong += [name for name in imported if name.startswith(NAME) and name != own and not name.startswith(f"{own}.")]
    return sorted(wrong)


@pytest.mark.parametrize("module", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module(module: Path) -> None:
    assert faults(str(module.relative_to(PACKAGE)), module.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("path", "source", "wrong"),
    [
        ("protocol/codec.py", "import usbredir_mtp.device.usb", ["usbredir_mtp.device.usb"]),
        (
            "device/usb.py",
            "from usbredir_mtp.mtp.codes import X",
            ["usbredir_mtp.mtp.codes", "usbredir_mtp.mtp.codes.X"],
        ),
        (
            "mtp/folder.py",
            "def f():\n    from usbredir_mtp import session",
            ["usbredir_mtp", "usbredir_mtp.session"],
        ),
        ("mtp/folder.py", "import watchdog.events", ["watchdog.events"]),
        ("session.py", "import asyncio.streams", ["asyncio.streams"]),
        ("mtp/folder.py", "import usbredir_mtp.mtp.codes, os", []),
        ("session.py", "import usbredir_mtp.mtp.codes, usbredir_mtp.device, asyncio_like", []),
        ("network/server.py", "import asyncio", []),
    ],
)
def test_the_test_itself(path: str, source: str, wrong: list[str]) -> None:
    assert faults(path, source) == wrong
