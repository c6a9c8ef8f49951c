"""What stands around a device in these tests: something that takes completions, and a function behind the pipes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from usbredir_mtp.device.device import VirtualDevice
from usbredir_mtp.device.identity import Identity
from usbredir_mtp.device.requests import ControlReply, SetupPacket
from usbredir_mtp.device.usb import Buffer, Speed, TransferStatus

BULK_IN, BULK_OUT, INTERRUPT_IN = 0x81, 0x02, 0x83
MAX_PACKET = {Speed.FULL: 64, Speed.HIGH: 512, Speed.SUPER: 1024}

SUCCESS, CANCELLED, INVAL, STALL = (
    TransferStatus.SUCCESS,
    TransferStatus.CANCELLED,
    TransferStatus.INVAL,
    TransferStatus.STALL,
)


class Completion(NamedTuple):
    """One call of `complete`; `length` must be that of the data on an IN endpoint."""

    endpoint: int
    id: int
    status: TransferStatus
    length: int
    data: bytes


@dataclass(slots=True)
class Recorder:
    """Takes completions and events."""

    completions: list[Completion] = field(default_factory=list)
    events: list[tuple[int, bytes]] = field(default_factory=list)

    def complete(self, endpoint: int, id_: int, status: TransferStatus, length: int, data: Buffer) -> None:
        self.completions.append(Completion(endpoint, id_, status, length, bytes(data)))

    def emit(self, endpoint: int, data: Buffer) -> None:
        self.events.append((endpoint, bytes(data)))

    def take(self) -> list[Completion]:
        """The completions since the last call."""
        taken, self.completions = self.completions, []
        return taken


@dataclass(slots=True)
class RecordingFunction:
    """Writes down what reaches it."""

    calls: list[tuple[object, ...]] = field(default_factory=list)
    code: int = 0x2001

    def receive(self, data: Buffer, short: bool) -> None:
        self.calls.append(("receive", bytes(data), short))

    def cancel(self, transaction: int) -> None:
        self.calls.append(("cancel", transaction))

    def reset(self) -> None:
        self.calls.append(("reset",))

    def status(self) -> int:
        return self.code


@dataclass(slots=True)
class Bench:
    """A device with both ends recorded."""

    speed: Speed = Speed.HIGH
    identity: Identity = field(default_factory=Identity)
    recorder: Recorder = field(default_factory=Recorder)
    function: RecordingFunction = field(default_factory=RecordingFunction)
    device: VirtualDevice = field(init=False)

    def __post_init__(self) -> None:
        recorder = self.recorder
        self.device = VirtualDevice(self.identity, self.speed, self.function, recorder.complete, recorder.emit)

    def control(
        self, request_type: int, request: int, value: int = 0, index: int = 0, length: int = 255, data: bytes = b""
    ) -> ControlReply:
        return self.device.control(SetupPacket(request_type, request, value, index, length), data)

    def descriptor(self, kind: int, index: int = 0, language: int = 0, length: int = 255) -> bytes:
        """A descriptor that must exist."""
        reply = self.control(0x80, 6, kind << 8 | index, language, length)
        assert reply.status is SUCCESS
        return reply.data


def configured(speed: Speed = Speed.HIGH) -> Bench:
    """A device in the configured state, with nothing recorded yet."""
    bench = Bench(speed)
    assert bench.device.set_configuration(1) is SUCCESS
    bench.function.calls.clear()
    return bench
