"""A QEMU that has a machine monitor and no machine: enough of one to plug phones in, and to go wrong as told."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

GREETING = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, "capabilities": ["oob"]}}
PERIPHERAL = "/machine/peripheral"
PC = {
    "/machine": {"peripheral": "child<container>", "unattached": "child<container>", "type": "string"},
    "/machine/unattached": {"device[0]": "child<i440FX>", "sysmem": "child<memory-region>"},
    "/machine/unattached/device[0]": {"pci.0": "child<PCI>", "parent_bus": "link<bus>"},
    PERIPHERAL: {},
}
"""The objects of a machine without USB: path -> name of a property -> its type."""

PORTS = {"qemu-xhci": 4, "nec-usb-xhci": 4, "usb-ehci": 6, "piix3-usb-uhci": 2}
"""USB controller -> its ports."""


class RefusalError(Exception):
    """An error of QMP's: its class and description."""

    def __init__(self, text: str, kind: str = "GenericError") -> None:
        super().__init__(text)
        self.kind = kind


@dataclass
class FakeQemu:
    """The machine, and the monitor's server, which runs on a thread and serves one client at a time.

    Attributes:
        path: of the monitor.
        controllers: the USB controllers that it has from the start, by id.
        slots: how many PCI devices can be plugged in.
        answers: command -> what to answer in its place: a function of its arguments.
        die_at: number of the command, from 1, at which to end as by SIGKILL; before it is carried out.
        greeting: what to say to a client, as bytes; None to say nothing.
        keeps_controllers: the guest does not let go of PCI devices.
        commands: those that came, and their arguments.
        devices: id -> arguments of device_add.
        chardevs: id -> our end.
    """

    path: Path
    controllers: dict[str, str] = field(default_factory=lambda: {"xhci": "qemu-xhci"})
    slots: int = 1
    answers: dict[str, Callable[[dict[str, Any]], Any]] = field(default_factory=dict)
    die_at: int = 0
    greeting: bytes | None = json.dumps(GREETING).encode() + b"\n"
    keeps_controllers: bool = False
    commands: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    devices: dict[str, dict[str, Any]] = field(default_factory=dict)
    chardevs: dict[str, socket.socket] = field(default_factory=dict)
    tree: dict[str, dict[str, str]] = field(default_factory=dict)
    _fds: deque[int] = field(default_factory=deque)
    _named: dict[str, int] = field(default_factory=dict)
    _sockets: list[socket.socket] = field(default_factory=list)
    _client: socket.socket | None = None
    _dead: bool = False

    @contextlib.contextmanager
    def running(self) -> Iterator[FakeQemu]:
        self.tree = {path: dict(entries) for path, entries in PC.items()}
        for name, driver in self.controllers.items():
            self._add_controller(name, driver)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.listen(1)
        self._sockets = [listener]
        thread = threading.Thread(target=self._serve, args=(listener,))
        thread.start()
        try:
            yield self
        finally:
            self.kill()
            thread.join()
            listener.close()

    def kill(self) -> None:
        """End, as by SIGKILL: the path of the socket stays. From any thread."""
        self._dead = True
        for sock in [*self._sockets, self._client, *self.chardevs.values()]:
            with contextlib.suppress(OSError):
                if sock is not None:
                    sock.shutdown(socket.SHUT_RDWR)

    def unplug(self, name: str) -> None:
        """What another monitor's device_del does. From any thread."""
        self._device_del({"id": name})

    def names(self, command: str) -> list[str]:
        """The ids or names that a command was given."""
        return [
            next((v for k, v in arguments.items() if k in {"id", "fdname"}), "")
            for name, arguments in self.commands
            if name == command
        ]

    # -- the monitor ---------------------------------------------------------------------------------------------------

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not self._dead:
                client, _ = listener.accept()
                with client:
                    self._client = client
                    with contextlib.suppress(OSError):
                        self._converse(client)
                    self._client = None
        for sock in self.chardevs.values():
            sock.close()
        for fd in [*self._fds, *self._named.values()]:
            os.close(fd)

    def _converse(self, client: socket.socket) -> None:
        if self.greeting is not None:
            client.sendall(self.greeting)
        unread = b""
        while not self._dead:
            data, fds, _, _ = socket.recv_fds(client, 65536, 4)
            self._fds.extend(fds)
            if not data:
                return
            *lines, unread = (unread + data).replace(b"}{", b"}\n{").split(b"\n") if data.strip() else [unread]
            # a command is whole when it parses: clients need not end it with a line
            with contextlib.suppress(ValueError):
                json.loads(unread)
                lines, unread = [*lines, unread], b""
            for line in lines:
                self._answer(client, json.loads(line))

    def _answer(self, client: socket.socket, request: dict[str, Any]) -> None:
        command, arguments = request["execute"], request.get("arguments", {})
        self.commands.append((command, arguments))
        if len(self.commands) == self.die_at:
            self.kill()
            return
        try:
            answer: dict[str, Any] = {"return": self._handler(command)(arguments)}
        except RefusalError as refusal:
            answer = {"error": {"class": refusal.kind, "desc": str(refusal)}}
        if "id" in request:
            answer["id"] = request["id"]
        client.sendall(json.dumps(answer).encode() + b"\r\n")

    def _handler(self, command: str) -> Callable[[dict[str, Any]], Any]:
        if command in self.answers:
            return self.answers[command]
        handler: Callable[[dict[str, Any]], Any] = getattr(self, "_" + command.replace("-", "_"))
        return handler

    def _event(self, name: str, **data: Any) -> None:
        event = {"event": name, "data": data, "timestamp": {"seconds": 1, "microseconds": 0}}
        if self._client is not None:
            with contextlib.suppress(OSError):  # it has just left
                self._client.sendall(json.dumps(event).encode() + b"\r\n")

    # -- the machine ---------------------------------------------------------------------------------------------------

    def _qmp_capabilities(self, _: dict[str, Any]) -> Any:
        return {}

    def _query_status(self, _: dict[str, Any]) -> Any:
        return {"status": "running", "running": True, "singlestep": False}

    def _device_list_properties(self, _: dict[str, Any]) -> Any:
        return [{"name": "chardev", "type": "str"}]

    def _query_chardev(self, _: dict[str, Any]) -> Any:
        return [
            {"label": name, "filename": self._describe(sock), "frontend-open": True}
            for name, sock in self.chardevs.items()
        ]

    def _describe(self, sock: socket.socket) -> str:
        with contextlib.suppress(BlockingIOError):
            if not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                return "disconnected:fd:x"
        return "unix:"

    def _getfd(self, arguments: dict[str, Any]) -> Any:
        if not self._fds:
            raise RefusalError("No file descriptor supplied via SCM_RIGHTS")
        self._named[arguments["fdname"]] = self._fds.pop()
        return {}

    def _closefd(self, arguments: dict[str, Any]) -> Any:
        if arguments["fdname"] not in self._named:
            raise RefusalError("no such fd")
        os.close(self._named.pop(arguments["fdname"]))
        return {}

    def _chardev_add(self, arguments: dict[str, Any]) -> Any:
        address = arguments["backend"]["data"]["addr"]
        assert arguments["backend"] == {"type": "socket", "data": {"addr": address, "server": False}}
        assert address["type"] == "fd"
        if address["data"]["str"] not in self._named:
            raise RefusalError("File descriptor named 'x' has not been found")
        self.chardevs[arguments["id"]] = socket.socket(fileno=self._named.pop(address["data"]["str"]))
        return {}

    def _chardev_remove(self, arguments: dict[str, Any]) -> Any:
        name = arguments["id"]
        if name not in self.chardevs:
            raise RefusalError(f"Chardev '{name}' not found")
        if name in self.devices:
            raise RefusalError(f"Chardev '{name}' is busy")
        self.chardevs.pop(name).close()
        return {}

    def _qom_list(self, arguments: dict[str, Any]) -> Any:
        entries = self.tree.get(arguments["path"])
        if entries is None:
            raise RefusalError(f"Device '{arguments['path']}' not found", "DeviceNotFound")
        return [{"name": name, "type": kind} for name, kind in entries.items()]

    def _qom_get(self, arguments: dict[str, Any]) -> Any:
        name = arguments["path"].rpartition("/")[2]
        driver = self.controllers.get(name) or self.devices.get(name, {}).get("driver")
        if driver is None or arguments["property"] not in {"p2", "p3"}:
            raise RefusalError("Property not found")
        return PORTS[driver]

    def _device_add(self, arguments: dict[str, Any]) -> Any:
        name, driver = arguments["id"], arguments["driver"]
        if driver == "usb-redir":
            self._add_phone(name, arguments)
        elif self.slots and arguments["bus"] == "pci.0":
            self.slots -= 1
            self._add_controller(name, driver)
        else:
            raise RefusalError(f"Bus '{arguments['bus']}' does not support hotplugging")
        self.devices[name] = arguments
        return {}

    def _add_controller(self, name: str, driver: str) -> None:
        self.tree[PERIPHERAL][name] = f"child<{driver}>"
        self.tree[f"{PERIPHERAL}/{name}"] = {f"{name}.0": "child<usb-bus>", "mmio": "child<qemu:memory-region>"}
        self.tree[f"{PERIPHERAL}/{name}/{name}.0"] = {}

    def _add_phone(self, name: str, arguments: dict[str, Any]) -> None:
        if arguments["chardev"] not in self.chardevs:
            raise RefusalError(f"Property 'usb-redir.chardev' can't find value '{arguments['chardev']}'")
        bus, port = arguments["bus"], arguments["port"]
        path = f"{PERIPHERAL}/{bus.removesuffix('.0')}/{bus}"
        driver = self.tree[PERIPHERAL][bus.removesuffix(".0")][len("child<") : -1]
        if f"child[{port}]" in self.tree[path] or int(port) > PORTS[driver]:
            raise RefusalError(f"usb port {port} (bus {bus}) not found (in use?)")
        self.tree[path][f"child[{port}]"] = "link<usb-redir>"
        self.tree[PERIPHERAL][name] = "child<usb-redir>"
        self.tree[f"{PERIPHERAL}/{name}"] = {}

    def _device_del(self, arguments: dict[str, Any]) -> Any:
        name = arguments["id"]
        if name not in self.devices:
            raise RefusalError(f"Device '{name}' not found", "DeviceNotFound")
        device = self.devices[name]
        if device["driver"] != "usb-redir" and self.keeps_controllers:
            return {}
        del self.devices[name], self.tree[PERIPHERAL][name]
        if device["driver"] == "usb-redir":
            bus = device["bus"]
            self.tree.get(f"{PERIPHERAL}/{bus.removesuffix('.0')}/{bus}", {}).pop(f"child[{device['port']}]", None)
            self.chardevs.pop(device["chardev"]).close()
        self._event("DEVICE_DELETED", device=name, path=f"{PERIPHERAL}/{name}")
        return {}
