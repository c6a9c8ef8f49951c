"""Uploads to a disk that gets full: python -m tests.reliability.full_disk FOLDER, a file system of 4 MiB."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.codes import ALL, Op, Rc
from tests.support.mtp import ObjectInfo
from tests.support.server import phone

if TYPE_CHECKING:
    from tests.support.initiator import Initiator

MIB = 1 << 20


def _upload(mtp: Initiator, name: str, size: int) -> int:
    """Of a size that is not announced."""
    mtp.send_object_info(mtp.storage, ALL, ObjectInfo(size=ALL, name=name))
    number = mtp.send_command(Op.SEND_OBJECT)
    mtp.send_data(Op.SEND_OBJECT, number, bytes(size), length=ALL)
    return mtp.finish(Op.SEND_OBJECT, number).code


def main() -> None:
    """Fails if anything is not as it should be."""
    folder = Path(sys.argv[1])
    old = os.urandom(MIB)
    with phone(folder) as mtp:
        mtp.send_file("old", old)
        assert _upload(mtp, "old", 8 * MIB) == Rc.STORE_FULL
        assert _upload(mtp, "new", 8 * MIB) == Rc.STORE_FULL
        assert (folder / "old").read_bytes() == old
        assert [path.name for path in folder.iterdir()] == ["old"]
        assert _upload(mtp, "new", 2 * MIB) == Rc.OK
        assert _upload(mtp, "old", 2 * MIB) == Rc.STORE_FULL
        handle = mtp.names()["old"]
        mtp.begin_edit(handle)
        assert mtp.transact(Op.SEND_PARTIAL_OBJECT, handle, MIB, 0, 2 * MIB, data=bytes(2 * MIB)).code == Rc.STORE_FULL
        mtp.end_edit(handle)
        assert (folder / "old").read_bytes()[:MIB] == old
        assert mtp.get_object(mtp.names()["new"]) == bytes(2 * MIB)


if __name__ == "__main__":
    main()
