#!/usr/bin/env python3
"""Asks a running usbredir-mtp whether it is well; exit code 0 if it is, 1 with a reason if it is not.

The address is that of --metrics, from the environment: USBREDIR_MTP_METRICS, tcp:HOST:PORT or unix:PATH.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import closing
from http.client import HTTPConnection, HTTPException

TIMEOUT = 5.0


class Connection(HTTPConnection):
    """HTTP to an address of ours.

    Args:
        address: tcp:HOST:PORT or unix:PATH.
    """

    def __init__(self, address: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._address = address

    def connect(self) -> None:
        """Connect."""
        kind, _, where = self._address.partition(":")
        if kind == "unix":
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(TIMEOUT)
            self.sock.connect(where)
        else:
            host, _, port = where.rpartition(":")
            self.sock = socket.create_connection((host.strip("[]"), int(port)), TIMEOUT)


def trouble(address: str) -> str:
    """What is wrong; "" if all is well."""
    try:
        with closing(Connection(address)) as connection:
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace").strip()
    except (OSError, HTTPException, ValueError) as error:
        return f"{address}: {error}"
    return "" if answer.status == 200 else text or str(answer.status)  # noqa: PLR2004  (HTTP's OK)


if __name__ == "__main__":
    sys.exit(trouble(os.environ.get("USBREDIR_MTP_METRICS", "")) or None)
