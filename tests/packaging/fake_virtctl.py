"""Does what `virtctl usbredir VMI --no-launch` does; a unix socket on which a QEMU listens is the VM's slot.

The slot is taken at once. A port is picked and printed (to standard error, as cobra's Printf does), one connection
accepted, and bytes go to and fro until either end closes; that is an error then, whoever it was (KubeVirt,
pkg/virtctl/usbredir/client.go).
"""

from __future__ import annotations

import os
import socket
import sys
from threading import Thread

CLOSED = "Remote connection has closed."


def copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    print(CLOSED, file=sys.stderr, flush=True)
    os._exit(1)


def main() -> None:
    command, vmi, option = sys.argv[1:]
    assert (command, option) == ("usbredir", "--no-launch")
    with socket.socket(socket.AF_UNIX) as slot, socket.create_server((os.environ["FAKE_LOCALHOST"], 0)) as server:
        try:
            slot.connect(os.environ["FAKE_SLOT"])
        except OSError as error:
            sys.exit(f"Can't access VMI {vmi}: {error.strerror}")
        host, port = server.getsockname()[:2]
        print(f"User can connect usbredir client at: {host}:{port}", file=sys.stderr, flush=True)
        client, _ = server.accept()
        server.close()
        there = Thread(target=copy, args=(client, slot))
        there.start()
        copy(slot, client)


if __name__ == "__main__":
    main()
