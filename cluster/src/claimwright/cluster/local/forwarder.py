"""Join the host's loopback with the API server inside the cluster: `python -I -S forwarder.py FD HOST PORT`.

The listening socket FD was made in the host's network namespace and inherited; this process lives in the
cluster's, so what it accepts comes from the host and what it connects to is inside. Bytes go through splice(2)
and never through Python. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading

_BLOCK_BYTES = 1 << 18
_CONNECT_SECONDS = 10.0


def main(descriptor: int, host: str, port: int) -> None:
    """Accept for ever; each connection has one thread per direction."""
    threading.stack_size(256 << 10)
    with socket.socket(fileno=descriptor) as server:
        while True:
            client, _ = server.accept()
            threading.Thread(target=_serve, args=(client, host, port), daemon=True).start()


def _serve(client: socket.socket, host: str, port: int) -> None:
    with client:
        try:
            inside = socket.create_connection((host, port), timeout=_CONNECT_SECONDS)
        except OSError:
            return
        with inside:
            inside.settimeout(None)
            for end in (client, inside):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=pump, args=(inside, client), daemon=True)
            back.start()
            pump(client, inside)
            back.join()


def pump(source: socket.socket, target: socket.socket) -> None:
    """Move bytes until the source ends, then end the target's side too."""
    reader, writer = os.pipe()
    with contextlib.suppress(OSError):
        while count := os.splice(source.fileno(), writer, _BLOCK_BYTES):
            while count:
                count -= os.splice(reader, target.fileno(), count)
    os.close(reader)
    os.close(writer)
    # A half-closed connection may still answer; the reader of the other direction sees the end of the stream.
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
    with contextlib.suppress(OSError):
        source.shutdown(socket.SHUT_RD)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
