"""An MTP initiator for tests: each operation as a method."""

from __future__ import annotations

from tests.support.codes import ALL, Op, Prop
from tests.support.mtp import (
    DeviceInfo,
    ObjectInfo,
    PropDesc,
    Reader,
    Row,
    StorageInfo,
    Value,
    encode,
    encode_prop_list,
    prop_list,
)
from tests.support.transactions import Event, MtpFailure, OutStyle, Response, Transactions, refused

__all__ = ["Event", "Initiator", "MtpFailure", "OutStyle", "Response", "refused"]


class Initiator(Transactions):
    """Operations of MTP 1.1 and Android's 95C1-95C5; every method raises MtpFailure unless OK."""

    # Session and storages

    def open_session(self, session: int = 1) -> None:
        """OpenSession."""
        self.command(Op.OPEN_SESSION, session)
        self.transaction = 1

    def close_session(self) -> None:
        """CloseSession."""
        self.command(Op.CLOSE_SESSION)
        self.transaction = 0

    def device_info(self) -> DeviceInfo:
        """GetDeviceInfo."""
        return DeviceInfo.decode(self.command(Op.GET_DEVICE_INFO).data)

    def storage_ids(self) -> list[int]:
        """GetStorageIDs."""
        take = Reader(self.command(Op.GET_STORAGE_IDS).data)
        ids = take.array("I")
        take.end()
        return ids

    @property
    def storage(self) -> int:
        """The first storage."""
        return self.storage_ids()[0]

    def storage_info(self, storage: int) -> StorageInfo:
        """GetStorageInfo."""
        return StorageInfo.decode(self.command(Op.GET_STORAGE_INFO, storage).data)

    # Objects

    def object_handles(self, storage: int = ALL, format_: int = 0, parent: int = ALL) -> list[int]:
        """GetObjectHandles; by default the children of all roots."""
        take = Reader(self.command(Op.GET_OBJECT_HANDLES, storage, format_, parent).data)
        handles = take.array("I")
        take.end()
        assert len(set(handles)) == len(handles), f"a handle twice: {handles}"
        assert not {0, ALL} & set(handles), f"a reserved handle: {handles}"
        return handles

    def num_objects(self, storage: int = ALL, format_: int = 0, parent: int = ALL) -> int:
        """GetNumObjects."""
        (count,) = self.command(Op.GET_NUM_OBJECTS, storage, format_, parent).params
        return count

    def object_info(self, handle: int) -> ObjectInfo:
        """GetObjectInfo."""
        return ObjectInfo.decode(self.command(Op.GET_OBJECT_INFO, handle).data)

    def names(self, parent: int = ALL, storage: int = ALL) -> dict[str, int]:
        """A folder's children, name to handle."""
        return {self.object_info(handle).name: handle for handle in self.object_handles(storage, 0, parent)}

    def find(self, path: str) -> int:
        """The handle at a path below the first storage's root."""
        handle = ALL
        for part in path.split("/"):
            handle = self.names(handle, self.storage)[part]
        return handle

    def get_object(self, handle: int) -> bytes:
        """GetObject."""
        return self.command(Op.GET_OBJECT, handle).data

    def get_partial(self, handle: int, offset: int, size: int) -> bytes:
        """GetPartialObject; its response parameter must be right."""
        response = self.command(Op.GET_PARTIAL_OBJECT, handle, offset, size)
        assert response.params == (len(response.data),), response
        return response.data

    def get_partial64(self, handle: int, offset: int, size: int) -> bytes:
        """GetPartialObject64; its response parameter must be right."""
        response = self.command(Op.GET_PARTIAL_OBJECT_64, handle, *halves(offset), size)
        assert response.params == (len(response.data),), response
        return response.data

    def send_object_info(self, storage: int, parent: int, info: ObjectInfo) -> int:
        """SendObjectInfo; the new object's handle."""
        response = self.command(Op.SEND_OBJECT_INFO, storage, parent, data=info.encode())
        assert len(response.params) == 3, response
        assert response.params[0] == storage or not storage, response
        handle = response.params[2]
        assert handle not in {0, ALL}, response
        return handle

    def send_object(self, data: bytes) -> None:
        """SendObject."""
        self.command(Op.SEND_OBJECT, data=data)

    def send_file(self, name: str, data: bytes, parent: int = ALL, *, modified: str = "", storage: int = 0) -> int:
        """Upload a file to the first storage, or to the one given; its handle."""
        info = ObjectInfo(size=min(len(data), ALL), name=name, modified=modified)
        handle = self.send_object_info(storage or self.storage, parent, info)
        self.send_object(data)
        return handle

    def begin_upload(self, name: str, announced: int, sent: bytes) -> int:
        """Start to upload `announced` bytes to the root, of which these come first; the transaction's id."""
        self.send_object_info(self.storage, ALL, ObjectInfo(size=announced, name=name))
        number = self.send_command(Op.SEND_OBJECT)
        self.begin_data(Op.SEND_OBJECT, number, announced, sent)
        return number

    def make_folder(self, name: str, parent: int = ALL, *, storage: int = 0) -> int:
        """A new folder; its handle."""
        info = ObjectInfo(format=0x3001, association=1, name=name)
        return self.send_object_info(storage or self.storage, parent, info)

    def delete(self, handle: int, format_: int = 0) -> None:
        """DeleteObject."""
        self.command(Op.DELETE_OBJECT, handle, format_)

    def move(self, handle: int, parent: int, storage: int = 0) -> None:
        """MoveObject; parent 0 is the root."""
        self.command(Op.MOVE_OBJECT, handle, storage or self.storage, parent)

    def copy(self, handle: int, parent: int, storage: int = 0) -> int:
        """CopyObject; the copy's handle."""
        (new,) = self.command(Op.COPY_OBJECT, handle, storage or self.storage, parent).params
        return new

    def rename(self, handle: int, name: str) -> None:
        """Set the file name property."""
        self.set_prop_value(handle, Prop.FILE_NAME, 0xFFFF, name)

    # Object properties

    def object_props_supported(self, format_: int) -> list[int]:
        """GetObjectPropsSupported."""
        take = Reader(self.command(Op.GET_OBJECT_PROPS_SUPPORTED, format_).data)
        props = take.array("H")
        take.end()
        return props

    def prop_desc(self, prop: int, format_: int) -> PropDesc:
        """GetObjectPropDesc."""
        data = self.command(Op.GET_OBJECT_PROP_DESC, prop, format_).data
        return PropDesc.decode(data, device=False)

    def prop_value(self, handle: int, prop: int, datatype: int) -> Value:
        """GetObjectPropValue."""
        take = Reader(self.command(Op.GET_OBJECT_PROP_VALUE, handle, prop).data)
        value = take.value(datatype)
        take.end()
        return value

    def set_prop_value(self, handle: int, prop: int, datatype: int, value: Value) -> None:
        """SetObjectPropValue."""
        self.command(Op.SET_OBJECT_PROP_VALUE, handle, prop, data=encode(datatype, value))

    def prop_list(self, handle: int, *, format_: int = 0, prop: int = ALL, group: int = 0, depth: int = 0) -> list[Row]:
        """GetObjectPropList."""
        params = (handle, format_, prop, group, depth)
        return prop_list(self.command(Op.GET_OBJECT_PROP_LIST, *params).data)

    def set_prop_list(self, *rows: Row) -> None:
        """SetObjectPropList."""
        self.command(Op.SET_OBJECT_PROP_LIST, data=encode_prop_list(*rows))

    def send_prop_list(self, parent: int, format_: int, size: int, *rows: Row) -> int:
        """SendObjectPropList, to the first storage; the new object's handle."""
        storage = self.storage
        params = (storage, parent, format_, size >> 32, size & 0xFFFFFFFF)
        response = self.command(Op.SEND_OBJECT_PROP_LIST, *params, data=encode_prop_list(*rows))
        assert len(response.params) in {3, 4}, response
        assert response.params[:2] == (storage, parent), response
        return response.params[2]

    def references(self, handle: int) -> list[int]:
        """GetObjectReferences."""
        take = Reader(self.command(Op.GET_OBJECT_REFERENCES, handle).data)
        handles = take.array("I")
        take.end()
        return handles

    def set_references(self, handle: int, others: list[int]) -> None:
        """SetObjectReferences."""
        self.command(Op.SET_OBJECT_REFERENCES, handle, data=encode(0x4006, others))

    # Editing in place

    def begin_edit(self, handle: int) -> None:
        """BeginEditObject."""
        self.command(Op.BEGIN_EDIT_OBJECT, handle)

    def end_edit(self, handle: int) -> None:
        """EndEditObject."""
        self.command(Op.END_EDIT_OBJECT, handle)

    def send_partial(self, handle: int, offset: int, data: bytes) -> None:
        """SendPartialObject."""
        params = (handle, *halves(offset), len(data))
        response = self.command(Op.SEND_PARTIAL_OBJECT, *params, data=data)
        assert response.params in {(), (len(data),)}, response

    def truncate(self, handle: int, size: int) -> None:
        """TruncateObject."""
        self.command(Op.TRUNCATE_OBJECT, handle, *halves(size))

    # Device properties

    def device_prop_desc(self, prop: int) -> PropDesc:
        """GetDevicePropDesc."""
        return PropDesc.decode(self.command(Op.GET_DEVICE_PROP_DESC, prop).data, device=True)

    def device_prop_value(self, prop: int, datatype: int = 0xFFFF) -> Value:
        """GetDevicePropValue."""
        take = Reader(self.command(Op.GET_DEVICE_PROP_VALUE, prop).data)
        value = take.value(datatype)
        take.end()
        return value

    def set_device_prop_value(self, prop: int, value: Value, datatype: int = 0xFFFF) -> None:
        """SetDevicePropValue."""
        self.command(Op.SET_DEVICE_PROP_VALUE, prop, data=encode(datatype, value))


def halves(number: int) -> tuple[int, int]:
    """A 64-bit number as two parameters, low half first."""
    return number & 0xFFFFFFFF, number >> 32
