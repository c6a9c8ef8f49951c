"""What a guest might send, if it threw dice: mostly whole transactions, right or nearly so."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.protocol import guest
from tests.reliability.mutation import mutate
from tests.reliability.targets import DATASETS
from tests.support import mtp
from tests.support.codes import Prop
from usbredir_mtp.mtp.codes import DeviceProperty, ObjectFormat, ObjectProperty, OperationCode
from usbredir_mtp.mtp.containers import Command, encode_command, encode_data_header

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

STEPS = 40
_STORAGE = 0x00010001
_OPEN_SESSION = encode_command(Command(OperationCode.OPEN_SESSION, 0, (1,)))
_LIST_ALL = encode_command(Command(OperationCode.GET_OBJECT_HANDLES, 1, (0xFFFFFFFF, 0, 0)))
_PARAMETERS = [
    *(0, 1, 2, 3, 4, 5, 12, 512, 2048, 0xFFFFFFFF, 0xFFFFFFFE, 0x80000000, _STORAGE),
    *(ObjectFormat.UNDEFINED, ObjectFormat.ASSOCIATION, *ObjectProperty, *DeviceProperty),
]
_KINDS_OF_PARAMETERS: dict[str, list[int]] = {
    "handle": [1, 2, 2, 3, 4, 5, 6],
    "storage": [_STORAGE, _STORAGE, _STORAGE, 0, 0xFFFFFFFF],
    "parent": [0, 0xFFFFFFFF, 1, 1, 2],
    "format": [0, 0, *ObjectFormat],
    "property": [0xFFFFFFFF, *ObjectProperty],
    "device": [*DeviceProperty],
    "size": [0, 1, 12, 500, 2048, 5000, 0xFFFFFFFF],
    "zero": [0],
}
_RIGHT = {
    OperationCode.OPEN_SESSION: "zero",
    OperationCode.GET_STORAGE_INFO: "storage",
    OperationCode.GET_NUM_OBJECTS: "storage format parent",
    OperationCode.GET_OBJECT_HANDLES: "storage format parent",
    OperationCode.GET_OBJECT_INFO: "handle",
    OperationCode.GET_OBJECT: "handle",
    OperationCode.GET_THUMB: "handle",
    OperationCode.DELETE_OBJECT: "handle zero",
    OperationCode.SEND_OBJECT_INFO: "storage parent",
    OperationCode.SET_OBJECT_PROTECTION: "handle zero",
    OperationCode.GET_DEVICE_PROP_DESC: "device",
    OperationCode.GET_DEVICE_PROP_VALUE: "device",
    OperationCode.SET_DEVICE_PROP_VALUE: "device",
    OperationCode.RESET_DEVICE_PROP_VALUE: "device",
    OperationCode.MOVE_OBJECT: "handle storage parent",
    OperationCode.COPY_OBJECT: "handle storage parent",
    OperationCode.GET_PARTIAL_OBJECT: "handle size size",
    OperationCode.GET_PARTIAL_OBJECT_64: "handle size zero size",
    OperationCode.SEND_PARTIAL_OBJECT: "handle size zero size",
    OperationCode.TRUNCATE_OBJECT: "handle size zero",
    OperationCode.BEGIN_EDIT_OBJECT: "handle",
    OperationCode.END_EDIT_OBJECT: "handle",
    OperationCode.GET_OBJECT_PROPS_SUPPORTED: "format",
    OperationCode.GET_OBJECT_PROP_DESC: "property format",
    OperationCode.GET_OBJECT_PROP_VALUE: "handle property",
    OperationCode.SET_OBJECT_PROP_VALUE: "handle property",
    OperationCode.GET_OBJECT_PROP_LIST: "handle zero property zero zero",
    OperationCode.SEND_OBJECT_PROP_LIST: "storage parent format zero size",
    OperationCode.GET_OBJECT_REFERENCES: "handle",
    OperationCode.SET_OBJECT_REFERENCES: "handle",
}
"""What the parameters of an operation are; those that are not here need none, or end what is going on."""

_NEEDS: dict[int, list[str]] = {code: kinds.split() for code, kinds in _RIGHT.items()}

_TAKES_DATA = {
    OperationCode.SEND_OBJECT_INFO,
    OperationCode.SEND_OBJECT,
    OperationCode.SET_DEVICE_PROP_VALUE,
    OperationCode.SET_OBJECT_PROP_VALUE,
    OperationCode.SET_OBJECT_PROP_LIST,
    OperationCode.SEND_OBJECT_PROP_LIST,
    OperationCode.SET_OBJECT_REFERENCES,
    OperationCode.SEND_PARTIAL_OBJECT,
}
_CODES = [*OperationCode, *_RIGHT, *_RIGHT, *_TAKES_DATA, OperationCode.SEND_OBJECT]
_FITTING: dict[int, list[bytes]] = {
    OperationCode.SEND_OBJECT_INFO: DATASETS[:2],
    OperationCode.SEND_OBJECT_PROP_LIST: [mtp.encode_prop_list(mtp.Row(0, Prop.FILE_NAME, 0xFFFF, "by list"))],
    OperationCode.SEND_OBJECT: [b"12345", b"", bytes(500)],
    OperationCode.SEND_PARTIAL_OBJECT: [b"12345", b"", bytes(500)],
}
_LENGTHS = [0, 12, 64, 512, 513, 16384, 16384, 16384, 1 << 20]


class _Dice:
    """One guest; each method gives the bytes of a step."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._id = 100
        self._transaction = 0

    def _next_id(self) -> int:
        self._id += 1
        return self._id

    def _out(self, data: bytes) -> bytes:
        return guest.bulk(self._next_id(), len(data), data, guest.BULK_OUT)

    def begin(self) -> bytes:
        """A configuration, and mostly a session."""
        configured = guest.raw(6, b"\1", 1) + guest.raw(15, bytes([guest.INTERRUPT_IN]), 2)
        return configured if self._random.random() < 0.1 else configured + self._open()

    def _open(self) -> bytes:
        """A session, and a listing so that there are handles."""
        asks = b"".join(guest.bulk(self._next_id(), 512) for _ in range(3))
        return self._out(_OPEN_SESSION) + self._out(_LIST_ALL) + asks

    def transact(self) -> bytes:
        """A command, its data if it takes some, or though it takes none, and transfers for the answer."""
        self._transaction += 1
        code = self._random.choice(_CODES) if self._random.random() < 0.97 else self._random.randrange(1 << 16)
        command = encode_command(Command(code, self._transaction, self._parameters(code)))
        if self._random.random() < 0.05:
            command = mutate(self._random, command, [command])
        sent = self._out(command)
        if (code in _TAKES_DATA) != (self._random.random() < 0.05):
            sent += self._data(code)
        return sent + b"".join(self.ask() for _ in range(self._random.choice([0, 1, 2, 2, 2, 3])))

    def upload(self) -> bytes:
        """A file, announced and sent; sometimes more or less of it than that."""
        info = self._whole(OperationCode.SEND_OBJECT_INFO, (_STORAGE, 0), self._mostly(DATASETS[0]))
        return info + self._whole(OperationCode.SEND_OBJECT, (), self._mostly(b"12345"))

    def edit(self) -> bytes:
        """Changes in place, with or without what has to be around them."""
        handle = self._random.choice([1, 2, 2, 2, 3])
        steps = [
            self._whole(OperationCode.BEGIN_EDIT_OBJECT, (handle,)),
            self._whole(OperationCode.SEND_PARTIAL_OBJECT, (handle, 5, 0, 4), self._mostly(b"1234")),
            self._whole(OperationCode.TRUNCATE_OBJECT, (handle, self._random.choice([0, 5, 1 << 31]), 0)),
            self._whole(OperationCode.END_EDIT_OBJECT, (handle,)),
        ]
        return b"".join(step for step in steps if self._random.random() < 0.9)

    def _mostly(self, data: bytes) -> bytes:
        return data if self._random.random() < 0.8 else mutate(self._random, data, DATASETS)

    def _whole(self, code: int, parameters: tuple[int, ...], data: bytes | None = None) -> bytes:
        self._transaction += 1
        sent = self._out(encode_command(Command(code, self._transaction, parameters)))
        if data is not None:
            sent += self._out(encode_data_header(code, self._transaction, len(data)) + data)
        return sent + self.ask() + self.ask()

    def ask(self) -> bytes:
        """A transfer for whatever there is."""
        return guest.bulk(self._next_id(), self._random.choice(_LENGTHS))

    def cancel(self) -> bytes:
        """The end of a transfer that may be over."""
        return guest.raw(21, packet_id=self._id - self._random.randrange(4))

    def class_request(self) -> bytes:
        """Cancel, reset, or the status."""
        code = self._random.choice([0x64, 0x66, 0x67, 0x67])
        if code == 0x67:
            body = struct.pack("<BBBBHHH", 0x80, code, 0xA1, 0, 0, 0, 36)
        else:
            data = struct.pack("<HI", 0x4001, self._transaction) if code == 0x64 else b""
            body = struct.pack("<BBBBHHH", 0, code, 0x21, 0, 0, 0, len(data)) + data
        sent = guest.raw(100, body, self._next_id())
        return sent + self._open() if code == 0x66 else sent

    def clear(self) -> bytes:
        """Both bulk endpoints are cleared."""
        bodies = [struct.pack("<BBBBHHH", 0, 1, 2, 0, 0, address, 0) for address in (guest.BULK_IN, guest.BULK_OUT)]
        return b"".join(guest.raw(100, body, self._next_id()) for body in bodies)

    def reset(self) -> bytes:
        """The bus is reset, and mostly the device configured again."""
        return guest.raw(3) + (self.begin() if self._random.random() < 0.9 else b"")

    def noise(self) -> bytes:
        """A transfer of anything."""
        return self._out(self._random.randbytes(self._random.choice([1, 11, 12, 13, 32, 600])))

    def _parameters(self, code: int) -> tuple[int, ...]:
        if self._random.random() < 0.8:
            kinds = _NEEDS.get(code, [])
            return tuple(self._random.choice(_KINDS_OF_PARAMETERS[kind]) for kind in kinds)
        chosen = [self._random.choice(_PARAMETERS) for _ in range(self._random.randrange(6))]
        return tuple(self._random.randrange(1 << 32) if self._random.random() < 0.1 else each for each in chosen)

    def _data(self, code: int) -> bytes:
        payload = self._random.choice(_FITTING.get(code, DATASETS))
        if self._random.random() < 0.4:
            payload = mutate(self._random, payload, DATASETS)
        announced = len(payload) + self._random.choice([0, 0, 0, 0, 0, 1, 500, 1 << 32])
        data = encode_data_header(code, self._transaction, announced) + payload
        cut = self._random.choice([0, 12, 64, 512])
        return b"".join(map(self._out, [data[:cut], data[cut:]] if cut else [data]))


_KINDS: dict[Callable[[_Dice], bytes], int] = {
    _Dice.transact: 30,
    _Dice.upload: 3,
    _Dice.edit: 3,
    _Dice.ask: 5,
    _Dice.cancel: 3,
    _Dice.class_request: 3,
    _Dice.clear: 4,
    _Dice.reset: 1,
    _Dice.noise: 1,
}
"""Steps, and how often they come."""


def random_steps(random: Random) -> list[bytes]:
    """What a guest sends: hello first."""
    dice = _Dice(random)
    chosen = random.choices(list(_KINDS), list(_KINDS.values()), k=STEPS)
    return [guest.hello(), dice.begin(), *(step(dice) for step in chosen)]
