"""What the team's code costs on top of an rpc: a Python handler, and an HTTP backend.

The handler is held against the same rpc answered by the gateway itself (a built-in method). The HTTP backend
is held against the same POST made by httpx alone, in a process of its own on the same core, to the same
backend, which runs in the driver.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import traffic
from bench.driver import PATIENCE, BenchError, Crowd
from bench.measures import READY, Plan, closed_loop, running
from bench.report import Row
from bench.servers import (
    API_KEY,
    GATEWAY_TOML,
    HMAC_SECRET,
    ROOT,
    SERVER_CORE,
    Server,
    bench_token,
    free_port,
    gateway_server,
)

PEOPLE = 64
PROXY = """
[backend]
rpc = "bench"
[[backend.proxies]]
name = "bench"
endpoint = "{url}"
timeout = "10s"
"""
_ANSWER = b'{"result":{"data":{"n":"^"}}}'


async def backends(plan: Plan) -> list[Row]:
    """64 clients, each with one request on its way at any time."""
    return [await _handler(plan), await _proxy(plan)]


# ---------------------------------------------------------------------------- Python
async def _handler(plan: Plan) -> Row:
    row = Row("RPC, a Python handler beside a built-in method", "µs/request", times=1.3)
    total = plan.of(20_000)
    with TemporaryDirectory() as ours, TemporaryDirectory() as other:
        handler, builtin = gateway_server(ours), _gateway(other, "builtin", "", "bench.builtin_echo")
        async with running(handler, builtin):
            crowds = [await _crowd(server) for server in (handler, builtin)]
            for number in range(plan.rounds + 1):
                reference = await closed_loop(builtin, crowds[1], total, traffic.rpc_frame())
                value = await closed_loop(handler, crowds[0], total, traffic.rpc_frame())
                if number:
                    row.reference.append(reference)
                    row.ours.append(value)
    return row


def _gateway(folder: str, name: str, more: str, module: str) -> Server:
    ports = {"websocket": free_port(), "http": free_port(), "internal": free_port()}
    config = Path(folder) / "gateway.toml"
    config.write_text(GATEWAY_TOML.format(**ports, secret=HMAC_SECRET, key=API_KEY) + more)
    return Server(name, [sys.executable, "-m", module, "serve", "--config", str(config)], ports)


async def _crowd(server: Server) -> Crowd:
    crowd = Crowd("127.0.0.1", server.ports["websocket"])
    await crowd.join([traffic.connect_frame(bench_token(f"user-{each}")) for each in range(PEOPLE)], READY)
    return crowd


# ---------------------------------------------------------------------------- HTTP
async def _proxy(plan: Plan) -> Row:
    row = Row("RPC through an HTTP backend beside httpx alone", "µs/request", times=1.3)
    total = plan.of(4_000)
    async with _http_backend() as url:
        with TemporaryDirectory() as folder:
            gateway = _gateway(folder, "gateway", PROXY.format(url=url), "gateway")
            async with running(gateway):
                crowd = await _crowd(gateway)
                for number in range(plan.rounds + 1):
                    reference = await _httpx_alone(url, total)
                    value = await closed_loop(gateway, crowd, total, traffic.rpc_frame())
                    if number:
                        row.reference.append(reference)
                        row.ours.append(value)
    return row


async def _httpx_alone(url: str, total: int) -> float:
    """µs of CPU that httpx takes for one POST and its answer, 64 at a time."""
    command = ["taskset", "--cpu-list", str(SERVER_CORE), sys.executable, "-m", "bench.httpx_alone"]
    process = await asyncio.create_subprocess_exec(
        *command, url, str(total), str(PEOPLE), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE):
        printed, _ = await process.communicate()
    if process.returncode:
        raise BenchError("httpx alone failed")
    return float(printed)


@contextlib.asynccontextmanager
async def _http_backend() -> AsyncIterator[str]:
    """The cheapest backend there is; yields its URL."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(_ANSWER) + _ANSWER

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                size = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                await reader.readexactly(size)
                writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/rpc"
    finally:
        server.close()
