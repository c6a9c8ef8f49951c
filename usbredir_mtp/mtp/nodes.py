"""What the object table is made of: objects, the roots of storages, and an object seen at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from usbredir_mtp.mtp.codes import ObjectFormat, ResponseCode
from usbredir_mtp.mtp.errors import MtpError
from usbredir_mtp.mtp.formats import file_format
from usbredir_mtp.mtp.presentation import NATIVE, Presentation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usbredir_mtp.mtp.datatypes import Value
    from usbredir_mtp.mtp.storage import Path, Stat, Storage

_NOTHING: Mapping[int, Value] = {}

ROOT_PARENT = 0
"""The parent that objects in a storage's root are said to have."""


@dataclass(slots=True, eq=False, repr=False)
class Node:
    """One object, or a storage's root (whose handle is 0).

    Attributes:
        name: The host's name.
        children: By host name; None for a file. Holds what is known, which is all once `listed`.
        stamp: What modification time and size were when an initiator last saw or wrote them.
    """

    handle: int
    parent: Node | None
    name: str
    children: dict[str, Node] | None = None
    listed: bool = False
    stamp: int | None = None

    @property
    def folder(self) -> bool:
        """Whether this is an association."""
        return self.children is not None

    @property
    def format(self) -> ObjectFormat:
        """The object's format."""
        return ObjectFormat.ASSOCIATION if self.folder else file_format(self.name)

    @property
    def parent_handle(self) -> int:
        """The parent as datasets give it."""
        return self.parent.handle if self.parent is not None else ROOT_PARENT


@dataclass(slots=True, eq=False, repr=False)
class Root(Node):
    """The root of one storage.

    Attributes:
        removed: The storage is no longer shared.
        presentation: How names and times are put to initiators.
    """

    storage_id: int = 0
    storage: Storage | None = None
    removed: bool = False
    presentation: Presentation = NATIVE


class ObjectView(NamedTuple):
    """What property lists and datasets are made from: an object and its attributes of this moment.

    Attributes:
        media: What its content tells, where that was asked for.
    """

    node: Node
    root: Root
    stat: Stat
    media: Mapping[int, Value] = _NOTHING

    @property
    def handle(self) -> int:
        """The object's handle."""
        return self.node.handle

    @property
    def name(self) -> str:
        """The name on the wire."""
        return self.root.presentation.wire_name(self.node.name)

    @property
    def read_only(self) -> bool:
        """Whether the object cannot be changed, by its own or its storage's nature."""
        return storage_of(self.root).read_only or not self.stat.writable


def storage_of(root: Root) -> Storage:
    """The storage of a root."""
    assert root.storage is not None
    return root.storage


def children_of(folder: Node) -> dict[str, Node]:
    """What is known to be in a folder.

    Raises:
        MtpError: INVALID_PARENT_OBJECT for a file.
    """
    if folder.children is None:
        raise MtpError(ResponseCode.INVALID_PARENT_OBJECT, f"{folder.name!r} is not a folder")
    return folder.children


def locate(node: Node) -> tuple[Root, Storage, Path]:
    """Where an object lives.

    Raises:
        MtpError: INVALID_OBJECT_HANDLE, or STORE_NOT_AVAILABLE, if it was removed meanwhile.
    """
    names: list[str] = []
    while node.parent is not None:
        names.append(node.name)
        node = node.parent
    if not isinstance(node, Root):
        raise MtpError(ResponseCode.INVALID_OBJECT_HANDLE, f"{node.name!r} is gone")
    if node.removed:
        raise MtpError(ResponseCode.STORE_NOT_AVAILABLE, f"storage {node.storage_id:#010x} is gone")
    return node, storage_of(node), tuple(reversed(names))
