"""The storages of a device, which may come and go while it is in use."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from usbredir_mtp.mtp.codes import ALL_HANDLES, ResponseCode
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.nodes import ROOT_PARENT, Root, storage_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbredir_mtp.mtp.presentation import Presentation
    from usbredir_mtp.mtp.storage import Storage


class Stores:
    """Roots by storage id, in the order in which they were added. Thread-safe.

    A storage that is taken away is closed when the transactions that may be using it have ended.
    """

    def __init__(self, presentation: Presentation) -> None:
        self._presentation = presentation
        self._lock = threading.Lock()
        self._upload_ended = threading.Condition(self._lock)
        self._uploads: Counter[Root] = Counter()
        self._ending = False
        self._roots: dict[int, Root] = {}
        self._count = 0
        self._running: set[object] = set()
        self._retired: list[tuple[Storage, set[object]]] = []

    def __iter__(self) -> Iterator[Root]:
        return iter(tuple(self._roots.values()))

    def add(self, storage: Storage) -> Root:
        """Make a storage known. Its id: physical part counted up, never reused, logical part 1 (MTP 1.1, 5.2.1)."""
        with self._lock:
            self._count += 1
            storage_id = self._count << 16 | 1
            root = Root(
                ROOT_PARENT,
                None,
                "",
                {},
                storage_id=storage_id,
                storage=storage,
                presentation=self._presentation,
            )
            self._roots = {**self._roots, storage_id: root}
        return root

    def remove(self, root: Root) -> None:
        """Take a storage away, and close it as soon as nobody uses it."""
        with self._lock:
            root.removed = True
            self._roots = {key: other for key, other in self._roots.items() if other is not root}
            self._retired.append((storage_of(root), set(self._running)))
        self._close_unused()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Storages that are there at the start are not closed before the end."""
        token = object()
        with self._lock:
            self._running.add(token)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(token)
            if self._retired:
                self._close_unused(token)

    def begin_upload(self, root: Root) -> None:
        """An upload to a storage is running from now on."""
        with self._lock:
            self._uploads[root] += 1

    def end_upload(self, root: Root) -> None:
        """It is complete, or was given up."""
        with self._lock:
            self._uploads[root] -= 1
            if not self._uploads[root]:
                del self._uploads[root]
                self._upload_ended.notify_all()

    def uploads(self, root: Root) -> int:
        """How many uploads to a storage are running."""
        return self._uploads[root]

    def wait_for_uploads(self, root: Root, seconds: float) -> bool:
        """Wait until no upload to a storage is running, for some seconds at most; says whether that came to be."""
        with self._lock:
            self._upload_ended.wait_for(lambda: self._ending or root not in self._uploads, seconds)
            return root not in self._uploads

    def stop_waiting(self) -> None:
        """Let nobody wait for uploads any more."""
        with self._lock:
            self._ending = True
            self._upload_ended.notify_all()

    @property
    def used(self) -> bool:
        """Whether anybody is within `in_use`."""
        return bool(self._running)

    def _close_unused(self, ended: object = None) -> None:
        with self._lock:
            for _, users in self._retired:
                users.discard(ended)
            unused = [storage for storage, users in self._retired if not users]
            self._retired = [(storage, users) for storage, users in self._retired if users]
        for storage in unused:
            storage.close()

    def root(self, storage_id: int) -> Root:
        """The root of a storage.

        Raises:
            MtpError: INVALID_STORAGE_ID.
        """
        try:
            return self._roots[storage_id]
        except KeyError:
            raise MtpError(ResponseCode.INVALID_STORAGE_ID, f"storage {storage_id:#010x}") from None

    def roots(self, storage_id: int) -> list[Root]:
        """The roots that an operation's storage parameter means: 0xFFFFFFFF stands for all.

        Raises:
            MtpError: INVALID_STORAGE_ID.
        """
        return list(self) if storage_id == ALL_HANDLES else [self.root(storage_id)]
