from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.hotplug.fake_qemu import PERIPHERAL, FakeQemu, RefusalError
from usbredir_mtp.hotplug import plug, qmp
from usbredir_mtp.hotplug.attach import Ending, attach
from usbredir_mtp.hotplug.errors import AttachError
from usbredir_mtp.hotplug.qmp import open_monitor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 20.0
WORDS = b"what the phone says"


@pytest.fixture
def qemu(tmp_path: Path) -> Iterator[FakeQemu]:
    with FakeQemu(tmp_path / "qmp").running() as qemu:
        yield qemu


async def goodbye(sock: socket.socket) -> None:
    """A phone that ends at once."""
    sock.close()


def run(qemu: FakeQemu, adopt: Any = goodbye, **options: Any) -> Ending:
    async def bounded() -> Ending:
        async with asyncio.timeout(PATIENCE):
            return await attach(qemu.path, adopt, **options)

    return asyncio.run(bounded())


def complaint(qemu: FakeQemu) -> str:
    """What it says, if it says anything: one line."""
    try:
        run(qemu)
    except AttachError as error:
        return str(error)
    return ""


def is_clean(qemu: FakeQemu) -> bool:
    """Nothing of ours is left in the VM."""
    return not qemu.devices and not qemu.chardevs and not qemu._named


def test_plugged_in_and_taken_out(qemu: FakeQemu) -> None:
    seen: list[dict[str, Any]] = []

    async def adopt(sock: socket.socket) -> None:
        with sock:
            (name,) = qemu.devices
            seen.append(dict(qemu.devices[name]))
            sock.sendall(WORDS)
            assert qemu.chardevs[name].recv(100) == WORDS

    assert run(qemu, adopt) is Ending.DETACHED
    ((device),) = seen
    assert re.fullmatch("usbredir-mtp-[0-9a-f]{8}", device["id"])
    assert device == {
        "driver": "usb-redir",
        "id": device["id"],
        "chardev": device["id"],
        "bus": "xhci.0",
        "port": "1",
    }
    assert is_clean(qemu)


def test_the_monitor_is_free_meanwhile(qemu: FakeQemu) -> None:
    async def adopt(sock: socket.socket) -> None:
        with sock:
            async with open_monitor(qemu.path) as monitor:
                assert await monitor.execute("query-status")

    assert run(qemu, adopt) is Ending.DETACHED


def test_several_phones_have_ports_of_their_own(qemu: FakeQemu) -> None:
    ports: list[list[tuple[str, str]]] = []

    async def several() -> None:
        together = asyncio.Barrier(6)

        async def adopt(sock: socket.socket) -> None:
            with sock:
                await together.wait()
                ports.append(sorted((d["bus"], d["port"]) for d in qemu.devices.values() if "port" in d))
                await together.wait()

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            for _ in range(6):
                group.create_task(attach(qemu.path, adopt))

    asyncio.run(several())
    first = ports[0]
    assert len(set(first)) == 6  # 4 on the controller that was there, and 2 on one that was plugged in for them
    assert [bus for bus, _ in first].count("xhci.0") == 4
    assert len({bus for bus, _ in first}) == 2
    assert is_clean(qemu)


@pytest.mark.parametrize(
    ("controllers", "speed", "bus"),
    [
        ({"uhci": "piix3-usb-uhci", "ehci": "usb-ehci", "xhci": "qemu-xhci"}, "high", "xhci.0"),
        ({"xhci": "nec-usb-xhci", "ehci": "usb-ehci"}, "super", "xhci.0"),
        ({"uhci": "piix3-usb-uhci", "ehci": "usb-ehci"}, "high", "ehci.0"),
        ({"uhci": "piix3-usb-uhci", "ehci": "usb-ehci"}, "full", "ehci.0"),
        ({"uhci": "piix3-usb-uhci"}, "full", "uhci.0"),
        ({"uhci": "piix3-usb-uhci"}, "high", r"usbredir-mtp-xhci-[0-9a-f]{8}\.0"),
        ({"ehci": "usb-ehci"}, "super", r"usbredir-mtp-xhci-[0-9a-f]{8}\.0"),
        ({}, "full", r"usbredir-mtp-xhci-[0-9a-f]{8}\.0"),
    ],
)
def test_the_best_controller(tmp_path: Path, controllers: dict[str, str], speed: str, bus: str) -> None:
    buses: list[str] = []

    async def adopt(sock: socket.socket) -> None:
        sock.close()
        buses.extend(device["bus"] for device in vm.devices.values() if device["driver"] == "usb-redir")

    with FakeQemu(tmp_path / "qmp", controllers).running() as vm:
        assert run(vm, adopt, speed=speed) is Ending.DETACHED
        (found,) = buses
        assert re.fullmatch(bus, found)
        assert is_clean(vm)


def fill(qemu: FakeQemu) -> None:
    bus = qemu.tree[f"{PERIPHERAL}/xhci/xhci.0"]
    bus.update({f"child[{port}]": "link<usb-tablet>" for port in range(1, 5)})


def test_a_full_controller_gets_a_second_one(qemu: FakeQemu) -> None:
    fill(qemu)
    assert run(qemu) is Ending.DETACHED
    (controller,) = {name for name in qemu.names("device_del") if name.startswith("usbredir-mtp-xhci-")}
    assert controller in qemu.names("device_add")
    assert is_clean(qemu)


def test_no_controller_is_added_where_none_may(qemu: FakeQemu) -> None:
    fill(qemu)
    with pytest.raises(AttachError, match=r"no free port .* does high speed.*-device qemu-xhci.*in use"):
        run(qemu, add_controller=False)
    assert is_clean(qemu)


@pytest.mark.parametrize(("pci", "reason"), [(True, "does not support hotplugging"), (False, "nor has it PCI")])
def test_no_controller_fits(tmp_path: Path, pci: bool, reason: str) -> None:
    with FakeQemu(tmp_path / "qmp", {}, slots=0).running() as qemu:
        if not pci:
            qemu.tree["/machine/unattached/device[0]"].clear()
        with pytest.raises(AttachError, match=f"-device qemu-xhci.*{reason}"):
            run(qemu)
        assert is_clean(qemu)


def test_a_controller_that_takes_no_phone_goes_again(tmp_path: Path) -> None:
    with FakeQemu(tmp_path / "qmp", {}).running() as qemu:
        add = qemu._device_add

        def refuse(arguments: dict[str, Any]) -> Any:
            if arguments["driver"] == "usb-redir":
                raise RefusalError("not this one")
            return add(arguments)

        qemu.answers["device_add"] = refuse
        with pytest.raises(AttachError, match="not this one"):
            run(qemu)
        assert is_clean(qemu)


def test_a_controller_stays_with_the_last_phone(tmp_path: Path) -> None:
    with FakeQemu(tmp_path / "qmp", {}).running() as qemu:

        async def outer(sock: socket.socket) -> None:
            with sock:
                assert await attach(qemu.path, goodbye) is Ending.DETACHED
                assert len(qemu.devices) == 2  # the phone and its controller

        assert run(qemu, outer) is Ending.DETACHED
        assert is_clean(qemu)


def test_a_guest_that_keeps_the_controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plug, "CONTROLLER_SECONDS", 0.01)
    with FakeQemu(tmp_path / "qmp", {}, keeps_controllers=True).running() as qemu:
        assert run(qemu) is Ending.DETACHED
        assert not qemu.chardevs
        (controller,) = qemu.devices
        assert run(qemu) is Ending.DETACHED
        assert list(qemu.devices) == [controller]


def test_a_dead_phone_is_taken_out_first(qemu: FakeQemu) -> None:
    async def die() -> None:
        async with open_monitor(qemu.path) as monitor:
            ours, theirs = socket.socketpair()
            with theirs, ours:
                await plug.plug_in(monitor, theirs, "high", add_controller=False)

    living, other = socket.socketpair()
    qemu.chardevs["usbredir-mtp-living"] = living
    asyncio.run(die())
    ours, theirs = socket.socketpair()
    with other:
        ours.close()
        qemu.chardevs["usbredir-mtp-lonely"] = theirs  # died before it had a device
        (dead,) = qemu.devices
        ports: list[str] = []

        async def adopt(sock: socket.socket) -> None:
            sock.close()
            assert dead not in qemu.devices
            ports.extend(device["port"] for device in qemu.devices.values())

        assert run(qemu, adopt) is Ending.DETACHED
        assert ports == ["1"]
        assert list(qemu.chardevs) == ["usbredir-mtp-living"]


def test_somebody_else_unplugs_it(qemu: FakeQemu) -> None:
    async def adopt(sock: socket.socket) -> None:
        with sock:
            sock.settimeout(PATIENCE)
            qemu.unplug(next(iter(qemu.devices)))
            assert sock.recv(1) == b""

    assert run(qemu, adopt) is Ending.UNPLUGGED
    assert is_clean(qemu)


@pytest.mark.parametrize("is_orderly", [True, False])
def test_the_vm_ends(qemu: FakeQemu, is_orderly: bool) -> None:
    async def adopt(sock: socket.socket) -> None:
        with sock:
            qemu.kill()
            if is_orderly:
                qemu.path.unlink()

    assert run(qemu, adopt) is Ending.VM_ENDED


def test_cancelled(qemu: FakeQemu) -> None:
    async def cancel() -> None:
        plugged = asyncio.Event()

        async def adopt(sock: socket.socket) -> None:
            with sock:
                plugged.set()
                await asyncio.Event().wait()

        task = asyncio.ensure_future(attach(qemu.path, adopt))
        await plugged.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert is_clean(qemu)


@pytest.mark.parametrize("command", ["query-status", "getfd", "chardev-add", "device_add", "qom-list"])
def test_cancelled_while_a_command_is_under_way(tmp_path: Path, command: str) -> None:
    with FakeQemu(tmp_path / "qmp", {}).running() as qemu:

        async def cancel() -> None:
            loop, begun = asyncio.get_running_loop(), asyncio.Event()
            handler, cancelled = qemu._handler(command), threading.Event()

            def slow(arguments: dict[str, Any]) -> Any:
                loop.call_soon_threadsafe(begun.set)
                assert cancelled.wait(PATIENCE)
                return handler(arguments)

            qemu.answers[command] = slow
            task = asyncio.ensure_future(attach(qemu.path, goodbye))
            await begun.wait()
            task.cancel()
            qemu.answers.clear()
            cancelled.set()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancel())
        assert is_clean(qemu)


def test_a_dead_phone_that_stays_keeps_nobody_from_it(qemu: FakeQemu, caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    qemu.chardevs["usbredir-mtp-dead"] = theirs
    remove = qemu._device_del
    qemu.answers["device_del"] = lambda arguments: refuse("no") if "dead" in arguments["id"] else remove(arguments)
    assert run(qemu) is Ending.DETACHED
    assert "QEMU refuses device_del: no" in caplog.text
    assert list(qemu.chardevs) == ["usbredir-mtp-dead"]


def test_qemu_dies_while_a_dead_phone_is_taken_out(qemu: FakeQemu) -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    qemu.chardevs["usbredir-mtp-dead"] = theirs
    qemu.die_at = 5
    with pytest.raises(AttachError, match="QEMU has ended"):
        run(qemu)
    assert qemu.commands[-1][0] == "device_del"


def test_a_fault_of_the_phone_is_passed_on(qemu: FakeQemu) -> None:
    async def adopt(sock: socket.socket) -> None:
        sock.close()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(qemu, adopt)
    assert is_clean(qemu)


def test_what_cannot_be_taken_out_is_left(qemu: FakeQemu, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_: dict[str, Any]) -> Any:
        raise RefusalError("not\nnow")

    qemu.answers["device_del"] = refuse
    assert run(qemu) is Ending.LEFT
    assert "QEMU refuses device_del: not now" in caplog.text
    del qemu.answers["device_del"]
    assert run(qemu) is Ending.DETACHED
    assert is_clean(qemu)


def test_a_device_that_stays(qemu: FakeQemu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plug, "DEVICE_SECONDS", 0.01)
    qemu.answers["device_del"] = lambda _: {}
    assert run(qemu) is Ending.LEFT


def commands_of_one_attach(folder: Path) -> list[str]:
    with FakeQemu(folder / "count", {}).running() as qemu:
        run(qemu)
        return [command for command, _ in qemu.commands]


def test_qemu_dies_at_each_step(tmp_path: Path) -> None:
    commands = commands_of_one_attach(tmp_path)
    plugged = commands.index("qmp_capabilities", 1)
    for number, command in enumerate(commands, 1):
        with FakeQemu(tmp_path / f"{number}", {}, die_at=number).running() as qemu:
            if number <= plugged:
                with pytest.raises(AttachError, match=r"closed its monitor"):
                    run(qemu)
            else:
                assert run(qemu) is Ending.VM_ENDED, command


GARBAGE: list[Any] = [None, 1, "x", [], {}, [1], [[]], [{}], [{"name": 1, "type": 2}], {"running": 1}, {"status": []}]


@pytest.mark.parametrize("answer", GARBAGE, ids=repr)
def test_unusual_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    monkeypatch.setattr(plug, "DEVICE_SECONDS", 0.01)
    monkeypatch.setattr(plug, "CONTROLLER_SECONDS", 0.01)
    for number, command in enumerate(sorted(set(commands_of_one_attach(tmp_path)))):
        with FakeQemu(tmp_path / f"{number}", {"uhci": "piix3-usb-uhci"}).running() as qemu:
            qemu.answers[command] = lambda _: answer
            assert "\n" not in complaint(qemu)


@pytest.mark.parametrize(
    "line",
    [
        b"garbage\n",
        b"[]\n",
        b'{"return": {}}\n',
        b'{"error": {}}\n',
        b'{"error": 1, "id": "__qmp#00000"}\n',
        b'{"event": []}\n',
        b'{"event": "DEVICE_DELETED"}\n',
        b'{"id": "__qmp#00000"}\n',
        b"[" * 100_000 + b"\n",
        b"\xff\n",
    ],
    ids=lambda line: repr(line[:24]),
)
def test_lines_out_of_turn(tmp_path: Path, line: bytes) -> None:
    with FakeQemu(tmp_path / "qmp").running() as qemu:

        def speak(_: dict[str, Any]) -> Any:
            assert qemu._client is not None
            qemu._client.sendall(line)
            return {"status": "running", "running": True}

        qemu.answers["query-status"] = speak
        assert "\n" not in complaint(qemu)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            {"query-status": lambda _: {"status": "paused", "running": False}},
            r"does not run \('paused'\): let it go on",
        ),
        ({"device-list-properties": lambda _: refuse("no such type")}, r"no usb-redir device.*no such type"),
        ({"getfd": lambda _: refuse("No file descriptor supplied")}, r"refuses getfd.*has to reach QEMU itself"),
        ({"chardev-add": lambda _: refuse("no")}, "refuses chardev-add: no"),
    ],
)
def test_refusals(qemu: FakeQemu, answers: dict[str, Callable[[Any], Any]], message: str) -> None:
    qemu.answers |= answers
    with pytest.raises(AttachError, match=message):
        run(qemu)
    assert is_clean(qemu)


def test_objects_that_go_while_they_are_looked_at(qemu: FakeQemu) -> None:
    """A controller in the list that is not there any more, one that says nothing of its ports, and its bus."""
    qemu.tree[PERIPHERAL]["gone"] = "child<qemu-xhci>"
    qemu.answers["qom-get"] = lambda _: refuse("no such property")

    async def adopt(sock: socket.socket) -> None:
        with sock:
            del qemu.tree[f"{PERIPHERAL}/xhci/xhci.0"]

    assert run(qemu, adopt) is Ending.DETACHED
    assert is_clean(qemu)

    controller = FakeQemu(qemu.path.with_name("second"), {})
    with controller.running():

        async def remove(sock: socket.socket) -> None:
            with sock:
                for path in [path for path in controller.tree if path.endswith(".0")]:
                    del controller.tree[path]

        assert run(controller, remove) is Ending.DETACHED
        assert not controller.chardevs


def test_the_end_of_qemu_right_after_an_answer(qemu: FakeQemu) -> None:
    async def adopt(sock: socket.socket) -> None:
        sock.close()
        qemu.answers["device_del"] = answer_and_die

    def answer_and_die(_: dict[str, Any]) -> Any:
        assert qemu._client is not None
        qemu._client.sendall(b'{"return": {}, "id": "__qmp#00000"}\n')
        qemu.kill()
        return {}

    assert run(qemu, adopt) is not Ending.DETACHED


def test_the_monitor_closes_before_the_descriptor_is_sent(qemu: FakeQemu) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            async with open_monitor(qemu.path) as monitor:
                qemu.kill()
                with pytest.raises(AttachError):
                    await monitor.hand_over(theirs, "x")

    asyncio.run(main())


def refuse(text: str) -> Any:
    raise RefusalError(text)


# -- the monitor -------------------------------------------------------------------------------------------------------


def failure(path: Path) -> str:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await attach(path, goodbye)

    with pytest.raises(AttachError) as caught:
        asyncio.run(bounded())
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_no_socket(tmp_path: Path) -> None:
    assert failure(tmp_path / "x") == (
        f"{tmp_path / 'x'}: there is no such socket; start the VM with -qmp unix:PATH,server=on,wait=off"
    )


def test_nobody_listens(tmp_path: Path) -> None:
    path = tmp_path / "qmp"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
    assert failure(path) == f"{path}: no QEMU listens there (any more)"


def test_an_ending_is_a_line_for_the_user() -> None:
    assert str(Ending.VM_ENDED) == "the VM has ended"


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forbidden(socket.socket):
        def connect(self, _: object) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("usbredir_mtp.hotplug.qmp.socket.socket", Forbidden)
    assert "permission denied; run as the user" in failure(tmp_path / "qmp")


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    assert "too long" in failure(tmp_path / ("x" * 200))


def test_a_busy_monitor(qemu: FakeQemu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmp, "GREETING_TIMEOUT", 0.05)
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(qemu.path))
        assert other.recv(100)
        text = failure(qemu.path)
        assert "no greeting within 0.05 s: another program has this monitor" in text
        assert "-qmp unix:PATH,server=on,wait=off" in text


def test_a_full_queue_is_waited_for(qemu: FakeQemu) -> None:
    """Others that wait fill the socket's backlog: connecting has to be tried again."""
    sockets = [socket.socket(socket.AF_UNIX) for _ in range(8)]

    async def main() -> Ending:
        attaching = asyncio.ensure_future(attach(qemu.path, goodbye))
        await asyncio.sleep(0)
        for sock in sockets:
            sock.close()
        return await attaching

    for sock in sockets:
        sock.setblocking(False)
        try:
            sock.connect(str(qemu.path))
        except BlockingIOError:
            break
    else:
        pytest.fail("the queue is not full")
    assert asyncio.run(main()) is Ending.DETACHED


def test_qemu_is_busy(qemu: FakeQemu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmp, "ANSWER_TIMEOUT", 0.05)

    def stall(_: dict[str, Any]) -> Any:
        assert qemu._client is not None
        while qemu._client.recv(100):
            pass

    qemu.answers["query-status"] = stall
    assert failure(qemu.path) == f"{qemu.path}: QEMU did not answer query-status within 0.05 s"


@pytest.mark.parametrize(
    ("greeting", "message"),
    [
        (b"QEMU 7.2.22 monitor - type 'help' for more information\r\n(qemu) ", "not a QMP monitor"),
        (b"{}\n", "not a QMP monitor"),
        (b'{"QMP": {}}\n', "not a QMP monitor"),
        (b"[" * 100_000 + b"\n", "QEMU has closed its monitor"),
        (b"x" * 11_000_000, "QEMU has closed its monitor"),
    ],
    ids=["hmp", "empty", "half", "deep", "long"],
)
def test_other_monitors(tmp_path: Path, greeting: bytes, message: str) -> None:
    with FakeQemu(tmp_path / "qmp", greeting=greeting).running() as qemu:
        assert message in failure(qemu.path)


def test_the_package_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qemu.qmp", None)
    assert failure(tmp_path / "qmp") == ("QEMU's monitor needs the package qemu.qmp: pip install 'usbredir-mtp[qmp]'")


# -- SPICE -------------------------------------------------------------------------------------------------------------


def channels(qemu: FakeQemu, answer: Any) -> list[tuple[int, int, int]]:
    qemu.answers["query-spice"] = (lambda _: answer) if not callable(answer) else answer
    found = asyncio.run(qmp.query_spice(qemu.path))
    return [(each.connection_id, each.channel_type, each.channel_id) for each in found]


def test_spice_channels(qemu: FakeQemu) -> None:
    rows = [
        {"connection-id": -2, "channel-type": 1, "channel-id": 0, "host": "127.0.0.1", "tls": False},
        {"connection-id": 77, "channel-type": 9, "channel-id": 1},
    ]
    assert channels(qemu, {"enabled": True, "channels": rows}) == [(0xFFFFFFFE, 1, 0), (77, 9, 1)]
    assert channels(qemu, {"enabled": True}) == []


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (json.loads('{"enabled": false}'), "no SPICE; start it with -spice"),
        (lambda _: refuse("The command query-spice has not been found"), "this QEMU has no SPICE: The command"),
        (None, "not understood"),
        ({"enabled": True, "channels": [{"connection-id": "1"}]}, "not understood"),
    ],
)
def test_no_spice(qemu: FakeQemu, answer: Any, message: str) -> None:
    with pytest.raises(AttachError, match=message):
        channels(qemu, answer)
