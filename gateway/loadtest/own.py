"""A gateway of the load test's own, on free ports, for whoever has none running."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.errors import GatewayException
from gateway.loadtest.fleet import gone
from gateway.loadtest.target import Target, answers

START_PATIENCE = 20.0
STOP_PATIENCE = 20.0


class OwnGatewayError(GatewayException):
    """It did not start."""


def _free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    try:
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in held]
    finally:
        for each in held:
            each.close()


@asynccontextmanager
async def own_gateway() -> AsyncIterator[tuple[Target, int]]:
    """A `gateway dev` with the handlers of the load test: where it is, and its process id."""
    websocket, http, internal = _free_ports(3)
    key = secrets.token_urlsafe(16)
    with tempfile.TemporaryDirectory(prefix="gateway-loadtest-") as folder:
        nothing = Path(folder) / "gateway.toml"
        nothing.touch()  # not the gateway.toml of the current directory
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        environment |= {
            "GATEWAY_CONFIG": str(nothing),
            "GATEWAY_LISTEN__WEBSOCKET": f"127.0.0.1:{websocket}",
            "GATEWAY_LISTEN__HTTP": f"127.0.0.1:{http}",
            "GATEWAY_LISTEN__INTERNAL": f"127.0.0.1:{internal}",
            "GATEWAY_API__KEYS": key,
            "GATEWAY_FILES__DIRECTORY": str(Path(folder) / "files"),
            "GATEWAY_LOG__LEVEL": "warning",
            "GATEWAY_SHUTDOWN__DRAIN": "0s",
        }
        log = Path(folder) / "gateway.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway", "dev", "gateway.loadtest.handlers",
                env=environment, stdout=output, stderr=output,
            )  # fmt: skip
        api = f"http://127.0.0.1:{internal}/api"
        try:
            await _ready(process, api, log)
            url = f"ws://127.0.0.1:{websocket}/connection/websocket"
            yield Target(url=url, http=f"http://127.0.0.1:{http}", api=api, key=key), process.pid
        finally:
            await _stop(process)


async def _ready(process: asyncio.subprocess.Process, url: str, log: Path) -> None:
    for _ in range(int(START_PATIENCE / 0.1)):
        if process.returncode is not None:
            break
        # The internal listener is opened last.
        if await asyncio.to_thread(answers, url):
            return
        await asyncio.sleep(0.1)
    said = await asyncio.to_thread(log.read_text, errors="replace")
    raise OwnGatewayError(f"the gateway did not start:\n{said}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    await gone(process, STOP_PATIENCE)
