from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from usbredir_mtp.mtp.codes import ALL_HANDLES, ResponseCode
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.presentation import NATIVE
from usbredir_mtp.mtp.stores import Stores

if TYPE_CHECKING:
    from usbredir_mtp.mtp.storage import Storage


class Fake:
    closed = 0

    def close(self) -> None:
        self.closed += 1


def fake() -> tuple[Fake, Storage]:
    made = Fake()
    return made, made  # type: ignore[return-value]


def test_ids_are_never_reused() -> None:
    stores = Stores(NATIVE)
    one = stores.add(fake()[1])
    other = stores.add(fake()[1])
    assert [one.storage_id, other.storage_id] == [0x10001, 0x20001]
    assert stores.root(0x20001) is other
    assert stores.roots(ALL_HANDLES) == [one, other] == list(stores)
    assert stores.roots(0x10001) == [one]
    stores.remove(other)
    assert stores.add(fake()[1]).storage_id == 0x30001
    for ask in (stores.root, stores.roots):
        with pytest.raises(MtpError) as caught:
            ask(0x20001)
        assert caught.value.code is ResponseCode.INVALID_STORAGE_ID


def test_an_unused_storage_is_closed_at_once() -> None:
    stores = Stores(NATIVE)
    watched, storage = fake()
    root = stores.add(storage)
    with stores.in_use():
        pass
    stores.remove(root)
    assert watched.closed == 1
    assert root.removed


def test_a_storage_in_use_is_closed_when_the_last_that_could_use_it_is_done() -> None:
    stores = Stores(NATIVE)
    watched, storage = fake()
    root = stores.add(storage)
    one, other, late = stores.in_use(), stores.in_use(), stores.in_use()
    one.__enter__()
    other.__enter__()
    stores.remove(root)
    late.__enter__()
    one.__exit__(None, None, None)
    assert watched.closed == 0
    other.__exit__(None, None, None)
    assert watched.closed == 1
    late.__exit__(None, None, None)
    assert watched.closed == 1
