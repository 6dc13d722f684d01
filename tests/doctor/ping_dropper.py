"""A proxy that swallows the server's pings and passes everything else, as some middleboxes do."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from tests.crowd import PING


@contextlib.contextmanager
def ping_dropper(target: int) -> Iterator[int]:
    """Runs in threads: the doctor blocks. Yields its port."""
    sockets: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def pass_on(source: socket.socket, sink: socket.socket, drop: bytes) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data.replace(drop, b"") if drop else data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def run(*arguments: object) -> None:
        thread = threading.Thread(target=pass_on, args=arguments)
        threads.append(thread)
        thread.start()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client = listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", target))
                sockets.extend((client, server))
                run(client, server, b"")
                run(server, client, PING)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            for each in sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
            for each in sockets:
                each.close()
