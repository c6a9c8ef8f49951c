"""KubeVirt: the example that attaches to a VM, against a slot that behaves as virtctl's does, and the manifest."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from examples import kubevirt
from tests.network.program import ROOT
from tests.support.initiator import Initiator
from tests.support.link import UnpluggedError
from tests.support.usbredir import Guest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXAMPLE = ROOT / "examples" / "kubevirt.py"
IMAGE_PATHS = {"/share", "/run/usbredir-mtp", "/var/lib/usbredir-mtp", "/var/cache/usbredir-mtp", "/tmp"}


@pytest.fixture
def slot(place: Path) -> Iterator[socket.socket]:
    """The VM's side of a usbredir slot: a QEMU's chardev with server=on."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.bind(str(place / "slot"))
        sock.listen(1)
        yield sock


@contextmanager
def attached(place: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    programs = place / "bin"
    programs.mkdir()
    for name, module in {"virtctl": "tests.packaging.fake_virtctl", "usbredir-mtp": "usbredir_mtp"}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        (programs / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "FAKE_SLOT": str(place / "slot"),
        "FAKE_LOCALHOST": "127.0.0.1",
    }
    folders = ["--state-dir", str(place / "state"), "--cache-dir", str(place / "cache")]
    with subprocess.Popen(
        [sys.executable, str(EXAMPLE), "vm", "--export", str(place / "share"), *folders, *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            finally:
                process.kill()


@contextmanager
def guest(slot: socket.socket) -> Iterator[Initiator]:
    sock, _ = slot.accept()
    sock.settimeout(20)
    with sock:
        guest = Guest(sock)
        guest.attach()
        guest.set_configuration(1)
        mtp = Initiator(guest)
        mtp.open_session()
        yield mtp


def test_a_vm_that_is_started_anew(place: Path, slot: socket.socket) -> None:
    with attached(place) as process:
        with guest(slot) as mtp:
            mtp.send_file("sent", b"from the guest")
            assert (place / "share" / "sent").read_bytes() == b"from the guest"
            assert mtp.get_object(mtp.names()["file"]) == b"shared"
        with guest(slot) as mtp:
            assert mtp.get_object(mtp.names()["sent"]) == b"from the guest"
            process.send_signal(signal.SIGTERM)
            with pytest.raises(UnpluggedError):
                mtp.guest.bulk_in(512)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read().count("virtctl: User can connect usbredir client at: 127.0.0.1:") == 2


def test_a_vm_that_is_not_there(place: Path) -> None:
    with attached(place) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "virtctl: Can't access VMI vm: No such file or directory\n"
        assert process.stderr.readline() == "vm: not attached; next try in 2 s\n"


def test_arguments_that_are_wrong(place: Path, slot: socket.socket) -> None:
    with attached(place, "--speed", "warp") as process:
        assert process.wait(20) == 2
        with slot.accept()[0] as taken:
            taken.settimeout(20)
            assert taken.recv(1) == b"", "virtctl has ended, and the slot is free"
        assert process.stderr is not None
        assert "'warp' is not one of" in process.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "path", "code", "said"),
    [
        ([], os.environ["PATH"], 2, "usage: kubevirt.py VMI [ARGUMENT…]\n"),
        (["--help"], os.environ["PATH"], 2, "usage: kubevirt.py VMI [ARGUMENT…]\n"),
        (["vm"], "/nowhere", 3, "virtctl and usbredir-mtp: not in the PATH\n"),
    ],
)
def test_how_it_is_called(arguments: list[str], path: str, code: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), *arguments],
        env={"PATH": path},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stderr) == (code, said)


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        ("User can connect usbredir client at: 127.0.0.1:41235\n", "tcp:127.0.0.1:41235"),
        ("\nsomething else\nUser can connect usbredir client at: [::1]:41235\n", "tcp:[::1]:41235"),
        ("Can't access VMI vm: not found\n", ""),
        ("User can connect usbredir client at: \n", ""),
    ],
)
def test_what_virtctl_prints(lines: str, address: str) -> None:
    async def found() -> str:
        stream = asyncio.StreamReader()
        stream.feed_data(lines.encode())
        stream.feed_eof()
        return await kubevirt.address_of(stream)

    assert asyncio.run(found()) == address


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    documents = yaml.safe_load_all((ROOT / "packaging" / "kubevirt.yaml").read_text())
    return {document["kind"]: document for document in documents}


def test_the_manifest_s_rights(manifest: dict[str, Any]) -> None:
    """They are to plug in USB devices, and nothing else."""
    assert manifest["Role"]["rules"] == [
        {
            "apiGroups": ["subresources.kubevirt.io"],
            "resources": ["virtualmachineinstances/usbredir"],
            "resourceNames": ["windows11"],
            "verbs": ["get"],
        }
    ]
    account = manifest["ServiceAccount"]["metadata"]["name"]
    binding = manifest["RoleBinding"]
    assert [subject["name"] for subject in binding["subjects"]] == [account]
    assert binding["roleRef"]["name"] == manifest["Role"]["metadata"]["name"]
    assert manifest["Deployment"]["spec"]["template"]["spec"]["serviceAccountName"] == account


def test_the_manifest_s_pod(manifest: dict[str, Any]) -> None:
    spec = manifest["Deployment"]["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}, "two would take two slots"
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    assert container["args"][0] == "windows11"
    assert {"--export", "/share"} <= set(container["args"])
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["terminationGracePeriodSeconds"] > kubevirt.UNPLUGGING
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert mounts.keys() >= IMAGE_PATHS, "nothing else can be written to"
    assert set(mounts.values()) == {volume["name"] for volume in pod["volumes"]}


def test_the_manifest_s_claim(manifest: dict[str, Any]) -> None:
    volumes = manifest["Deployment"]["spec"]["template"]["spec"]["volumes"]
    claims = [each["persistentVolumeClaim"]["claimName"] for each in volumes if "persistentVolumeClaim" in each]
    assert claims == [manifest["PersistentVolumeClaim"]["metadata"]["name"]]
