"""Whose fault it was: ours, or the peer's."""


class ProtocolError(Exception):
    """The usbredir protocol was broken; only its subclasses are raised."""


class LocalProtocolError(ProtocolError):
    """We tried to send what the protocol or its state forbids; nothing was sent and nothing changed."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what the protocol or its state forbids; the connection is of no more use."""


class FilterError(ProtocolError, ValueError):
    """A text is no usbredir filter."""
