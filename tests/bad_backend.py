"""An HTTP backend that does everything wrong, in a process of its own: the path says what.

hang    takes the request and says nothing       die     closes the connection instead of an answer
html    a page of HTML, with status 200          big     10 MB
drip    a byte now and then                      ok      an empty result
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator

from tests.gateway_process import ROOT

HTML = b"<html><body>nginx</body></html>"
BIG = b'{"result":{"data":"' + b"x" * 10_000_000 + b'"}}'
OK = b'{"result":{}}'


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split()[1].decode().strip("/")
            size = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(size.split(b":")[1]))
            if path == "die":
                break
            if path == "hang":
                await asyncio.sleep(30)
            body = {"html": HTML, "big": BIG}.get(path, OK)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
            if path == "drip":
                for byte in body:
                    await asyncio.sleep(0.5)
                    writer.write(bytes((byte,)))
            else:
                writer.write(body)
            await writer.drain()
    writer.close()


async def main() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def bad_backend() -> Iterator[str]:
    """Its URL, while it runs."""
    command = [sys.executable, "-m", "tests.bad_backend"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(main())
