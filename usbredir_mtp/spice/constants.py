"""The protocol's numbers: `spice/protocol.h` and `spice/enums.h` of Debian's libspice-protocol-dev, 0.14.3."""

from __future__ import annotations

from enum import IntEnum, IntFlag

MAGIC = b"REDQ"
VERSION_MAJOR = 2
VERSION_MINOR = 2


class ChannelType(IntEnum):
    """The channels that we open."""

    MAIN = 1
    USBREDIR = 9


class LinkError(IntEnum):
    """Why a channel is refused (SpiceLinkErr)."""

    OK = 0
    ERROR = 1
    INVALID_MAGIC = 2
    INVALID_DATA = 3
    VERSION_MISMATCH = 4
    NEED_SECURED = 5
    NEED_UNSECURED = 6
    PERMISSION_DENIED = 7
    BAD_CONNECTION_ID = 8
    CHANNEL_NOT_AVAILABLE = 9


class CommonCapability(IntFlag):
    """Capabilities of every channel, as bits of the first word (SPICE_COMMON_CAP_*)."""

    AUTH_SELECTION = 1 << 0
    AUTH_SPICE = 1 << 1
    AUTH_SASL = 1 << 2
    MINI_HEADER = 1 << 3


AUTH_SPICE = 1
"""The mechanism to select: the number of its capability."""


class Message(IntEnum):
    """What a server may send on every channel (SPICE_MSG_*)."""

    MIGRATE = 1
    SET_ACK = 3
    PING = 4
    DISCONNECTING = 6
    NOTIFY = 7


class Reply(IntEnum):
    """What we may send on every channel (SPICE_MSGC_*)."""

    ACK_SYNC = 1
    ACK = 2
    PONG = 3
    MIGRATE_FLUSH_MARK = 4


class MainMessage(IntEnum):
    """What a server may send on the main channel (SPICE_MSG_MAIN_*); we need no more of it."""

    MIGRATE_BEGIN = 101
    INIT = 103
    CHANNELS_LIST = 104
    MIGRATE_SWITCH_HOST = 111
    MIGRATE_BEGIN_SEAMLESS = 116


class MainReply(IntEnum):
    """What we may send on the main channel (SPICE_MSGC_MAIN_*)."""

    MIGRATE_CONNECT_ERROR = 103
    ATTACH_CHANNELS = 104


class VmcMessage(IntEnum):
    """What travels on a spicevmc channel, both ways (SPICE_MSG_SPICEVMC_*)."""

    DATA = 101
    COMPRESSED_DATA = 102


class MigrateFlag(IntFlag):
    """How a channel is migrated (SPICE_MIGRATE_*)."""

    NEED_FLUSH = 1 << 0
    NEED_DATA_TRANSFER = 1 << 1


class NotifySeverity(IntEnum):
    """How much a notice matters (SPICE_NOTIFY_SEVERITY_*)."""

    INFO = 0
    WARN = 1
    ERROR = 2


PUBLIC_KEY_SIZE = 162
"""Bytes of the server's RSA key in a link reply: a SubjectPublicKeyInfo of 1024 bits."""

TICKET_SIZE = 128
"""Bytes of an encrypted password."""

MAX_PASSWORD = 60
"""Bytes of a password (SPICE_MAX_PASSWORD_LENGTH)."""

MAX_LINK = 4096
"""Bytes of a link reply: what a SPICE server allows a client's link message. Both are a few dozen words."""

MAX_MESSAGE = 1 << 20
"""Bytes of a server's message other than data, which is skipped rather than kept: four times its largest, the network
test of 250 KiB."""

MAX_NOTICE = 1024
"""Bytes of a notice that are kept for the log."""

MAX_NOTICES = 16
"""Notices of one channel that get into the log, which is not for a server to fill."""

MAX_CHANNELS = 1024
"""Channels of one VM: there are eleven types, and few of each."""

MAX_DATA = 64 << 10
"""Bytes of data in a message of ours. A SPICE server sets no limit, and keeps a message until all of it has come;
messages of its own are of this size (spice-server, spicevmc.c, BUF_SIZE)."""
