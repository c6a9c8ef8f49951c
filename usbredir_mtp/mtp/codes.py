"""Numbers of MTP 1.1: operations, responses, events, formats, properties, data types (appendices A to G).

`95C1`-`95C5` are Android's extensions for partial access; libmtp, gvfs and others use them wherever they are listed.
"""

from __future__ import annotations

from enum import IntEnum

ALL_HANDLES = 0xFFFFFFFF
"""Stands for "all objects", or for the root, or for "all storages", as each operation says."""

MAX_UINT32 = 0xFFFFFFFF


class ContainerType(IntEnum):
    """Kind of a USB container (Still Image Capture Device Definition 1.0, section 7.1)."""

    COMMAND = 1
    DATA = 2
    RESPONSE = 3
    EVENT = 4


class OperationCode(IntEnum):
    """Operations (MTP 1.1, appendix D; Android's `MtpServer` for 95C1-95C5)."""

    GET_DEVICE_INFO = 0x1001
    OPEN_SESSION = 0x1002
    CLOSE_SESSION = 0x1003
    GET_STORAGE_IDS = 0x1004
    GET_STORAGE_INFO = 0x1005
    GET_NUM_OBJECTS = 0x1006
    GET_OBJECT_HANDLES = 0x1007
    GET_OBJECT_INFO = 0x1008
    GET_OBJECT = 0x1009
    GET_THUMB = 0x100A
    DELETE_OBJECT = 0x100B
    SEND_OBJECT_INFO = 0x100C
    SEND_OBJECT = 0x100D
    FORMAT_STORE = 0x100F
    RESET_DEVICE = 0x1010
    SELF_TEST = 0x1011
    SET_OBJECT_PROTECTION = 0x1012
    POWER_DOWN = 0x1013
    GET_DEVICE_PROP_DESC = 0x1014
    GET_DEVICE_PROP_VALUE = 0x1015
    SET_DEVICE_PROP_VALUE = 0x1016
    RESET_DEVICE_PROP_VALUE = 0x1017
    MOVE_OBJECT = 0x1019
    COPY_OBJECT = 0x101A
    GET_PARTIAL_OBJECT = 0x101B
    GET_PARTIAL_OBJECT_64 = 0x95C1
    SEND_PARTIAL_OBJECT = 0x95C2
    TRUNCATE_OBJECT = 0x95C3
    BEGIN_EDIT_OBJECT = 0x95C4
    END_EDIT_OBJECT = 0x95C5
    GET_OBJECT_PROPS_SUPPORTED = 0x9801
    GET_OBJECT_PROP_DESC = 0x9802
    GET_OBJECT_PROP_VALUE = 0x9803
    SET_OBJECT_PROP_VALUE = 0x9804
    GET_OBJECT_PROP_LIST = 0x9805
    SET_OBJECT_PROP_LIST = 0x9806
    GET_INTERDEPENDENT_PROP_DESC = 0x9807
    SEND_OBJECT_PROP_LIST = 0x9808
    GET_OBJECT_REFERENCES = 0x9810
    SET_OBJECT_REFERENCES = 0x9811


class ResponseCode(IntEnum):
    """Responses (MTP 1.1, appendix F)."""

    OK = 0x2001
    GENERAL_ERROR = 0x2002
    SESSION_NOT_OPEN = 0x2003
    INVALID_TRANSACTION_ID = 0x2004
    OPERATION_NOT_SUPPORTED = 0x2005
    PARAMETER_NOT_SUPPORTED = 0x2006
    INCOMPLETE_TRANSFER = 0x2007
    INVALID_STORAGE_ID = 0x2008
    INVALID_OBJECT_HANDLE = 0x2009
    DEVICE_PROP_NOT_SUPPORTED = 0x200A
    INVALID_OBJECT_FORMAT_CODE = 0x200B
    STORAGE_FULL = 0x200C
    OBJECT_WRITE_PROTECTED = 0x200D
    STORE_READ_ONLY = 0x200E
    ACCESS_DENIED = 0x200F
    NO_THUMBNAIL_PRESENT = 0x2010
    SELF_TEST_FAILED = 0x2011
    PARTIAL_DELETION = 0x2012
    STORE_NOT_AVAILABLE = 0x2013
    SPECIFICATION_BY_FORMAT_UNSUPPORTED = 0x2014
    NO_VALID_OBJECT_INFO = 0x2015
    DEVICE_BUSY = 0x2019
    INVALID_PARENT_OBJECT = 0x201A
    INVALID_DEVICE_PROP_FORMAT = 0x201B
    INVALID_DEVICE_PROP_VALUE = 0x201C
    INVALID_PARAMETER = 0x201D
    SESSION_ALREADY_OPEN = 0x201E
    TRANSACTION_CANCELLED = 0x201F
    INVALID_OBJECT_PROP_CODE = 0xA801
    INVALID_OBJECT_PROP_FORMAT = 0xA802
    INVALID_OBJECT_PROP_VALUE = 0xA803
    INVALID_OBJECT_REFERENCE = 0xA804
    INVALID_DATASET = 0xA806
    SPECIFICATION_BY_GROUP_UNSUPPORTED = 0xA807
    SPECIFICATION_BY_DEPTH_UNSUPPORTED = 0xA808
    OBJECT_TOO_LARGE = 0xA809
    OBJECT_PROP_NOT_SUPPORTED = 0xA80A


class EventCode(IntEnum):
    """Events (MTP 1.1, appendix G)."""

    OBJECT_ADDED = 0x4002
    OBJECT_REMOVED = 0x4003
    STORE_ADDED = 0x4004
    STORE_REMOVED = 0x4005
    DEVICE_PROP_CHANGED = 0x4006
    OBJECT_INFO_CHANGED = 0x4007
    DEVICE_INFO_CHANGED = 0x4008
    STORAGE_INFO_CHANGED = 0x400C


class ObjectFormat(IntEnum):
    """Object formats (MTP 1.1, appendix A) that files are told apart by."""

    UNDEFINED = 0x3000
    ASSOCIATION = 0x3001
    TEXT = 0x3004
    WAV = 0x3008
    MP3 = 0x3009
    EXIF_JPEG = 0x3801
    BMP = 0x3804
    GIF = 0x3807
    PNG = 0x380B
    TIFF = 0x380D
    OGG = 0xB902
    AAC = 0xB903
    FLAC = 0xB906
    MP4_CONTAINER = 0xB982


class ObjectProperty(IntEnum):
    """Object properties (MTP 1.1, appendix B)."""

    STORAGE_ID = 0xDC01
    OBJECT_FORMAT = 0xDC02
    PROTECTION_STATUS = 0xDC03
    OBJECT_SIZE = 0xDC04
    ASSOCIATION_TYPE = 0xDC05
    OBJECT_FILE_NAME = 0xDC07
    DATE_CREATED = 0xDC08
    DATE_MODIFIED = 0xDC09
    PARENT_OBJECT = 0xDC0B
    PERSISTENT_UNIQUE_ID = 0xDC41
    NAME = 0xDC44
    NON_CONSUMABLE = 0xDC4F
    DISPLAY_NAME = 0xDCE0


class DeviceProperty(IntEnum):
    """Device properties (MTP 1.1, appendix C)."""

    BATTERY_LEVEL = 0x5001
    SYNCHRONIZATION_PARTNER = 0xD401
    DEVICE_FRIENDLY_NAME = 0xD402
    DEVICE_ICON = 0xD405
    PERCEIVED_DEVICE_TYPE = 0xD407


class DataType(IntEnum):
    """Types of property values (MTP 1.1, section 3.2 and table 3)."""

    INT8 = 0x0001
    UINT8 = 0x0002
    INT16 = 0x0003
    UINT16 = 0x0004
    INT32 = 0x0005
    UINT32 = 0x0006
    INT64 = 0x0007
    UINT64 = 0x0008
    UINT128 = 0x000A
    ARRAY_UINT8 = 0x4002
    STRING = 0xFFFF


class ProtectionStatus(IntEnum):
    """Values of the protection status (MTP 1.1, B.1.3)."""

    NONE = 0x0000
    READ_ONLY = 0x0001


class AssociationType(IntEnum):
    """Kinds of association (MTP 1.1, A.2)."""

    NONE = 0x0000
    GENERIC_FOLDER = 0x0001


class StorageType(IntEnum):
    """StorageInfo's storage type (MTP 1.1, 5.2.2.1)."""

    FIXED_RAM = 0x0003
    REMOVABLE_RAM = 0x0004


class FilesystemType(IntEnum):
    """StorageInfo's file system type (MTP 1.1, 5.2.2.2)."""

    GENERIC_HIERARCHICAL = 0x0002


class AccessCapability(IntEnum):
    """StorageInfo's access capability (MTP 1.1, 5.2.2.3)."""

    READ_WRITE = 0x0000
    READ_ONLY_WITHOUT_DELETION = 0x0001


class FunctionalMode(IntEnum):
    """DeviceInfo's functional mode (MTP 1.1, 5.1.1.6)."""

    STANDARD = 0x0000
