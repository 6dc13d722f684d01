"""The servers under measurement: started on one core, watched from outside, stopped."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import random
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.driver import PATIENCE, BenchError

SERVER_CORE = 0
DRIVER_CORE = 1
HMAC_SECRET = "only-for-measuring-" + "0" * 32
API_KEY = "only-for-measuring"
ROOT = Path(__file__).resolve().parent.parent

GATEWAY_TOML = """\
[listen]
websocket = "127.0.0.1:{websocket}"
http = "127.0.0.1:{http}"
internal = "127.0.0.1:{internal}"
[wechat]
sandbox = true
max_sign_ins = 100000
max_sign_ins_per_ip = 100000
[[wechat.apps]]
appid = "wxbench0000000000"
secret = "sandbox"
api_base = "http://127.0.0.1:{http}/sandbox"
[client]
token_hmac_secret = "{secret}"
personal_channel = false
ping_interval = "1h"      # no pings among what is measured
user_connection_limit = 0
commands_per_second = 0
[channels]
allow_subscribe_for_client = true
[api]
keys = ["{key}"]
[log]
level = "warning"
[shutdown]
timeout = "2s"
drain = "0s"
"""


def free_port() -> int:
    """Below the ports that the driver's own connections take, which are many."""
    while True:
        port = random.randrange(10_000, 32_000)  # noqa: S311
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                continue
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def bench_token(user: str) -> str:
    """A JWT (HS256) such as a team's backend makes."""

    def part(content: bytes) -> bytes:
        return base64.urlsafe_b64encode(content).rstrip(b"=")

    claims = json.dumps({"sub": user, "exp": int(time.time()) + 86400}).encode()
    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(claims)
    signature = hmac.new(HMAC_SECRET.encode(), signed, hashlib.sha256).digest()
    return (signed + b"." + part(signature)).decode()


@dataclass
class Server:
    """One child process, pinned to its core."""

    name: str
    arguments: list[str]
    ports: dict[str, int]
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    process: asyncio.subprocess.Process | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        if self.process is None or self.process.returncode is not None:
            raise BenchError(f"{self.name} is not running")
        return self.process.pid

    async def start(self) -> None:
        # Pinned before it starts: a runtime counts its cores then, and its threads inherit them.
        pinned = ["taskset", "--cpu-list", str(SERVER_CORE), *self.arguments]
        environment = os.environ | self.environment
        self.process = await asyncio.create_subprocess_exec(*pinned, cwd=ROOT, env=environment)
        deadline = time.monotonic() + PATIENCE
        while not all(_listens(port) for port in self.ports.values()):
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name} did not start")
            _ = self.pid
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        if self.process is None or self.process.returncode is not None:
            return
        self.process.terminate()
        try:
            async with asyncio.timeout(10):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    def cpu(self) -> float:
        """Seconds of CPU, user and system, used so far: the kernel's clock of that process, to the ns."""
        return time.clock_gettime(((~self.pid) << 3) | 2)

    def memory(self) -> float:
        """KB that the process has for itself, shared pages in proportion (PSS)."""
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return float(line.split()[1])
        raise BenchError("no Pss in smaps_rollup")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def floor_server(size: int) -> Server:
    ports = {"websocket": free_port(), "control": free_port()}
    arguments = [sys.executable, "-m", "bench.floor", *(str(port) for port in ports.values()), str(size)]
    return Server("floor", arguments, ports)


def baseline_server() -> Server:
    ports = {"http": free_port()}
    return Server("starlette", [sys.executable, "-m", "bench.baseline", str(ports["http"])], ports)


def gateway_server(folder: str) -> Server:
    """A real `gateway serve` with the embedded broker and the handlers of `bench.handlers`."""
    ports = {"websocket": free_port(), "http": free_port(), "internal": free_port()}
    config = Path(folder) / "gateway.toml"
    config.write_text(GATEWAY_TOML.format(**ports, secret=HMAC_SECRET, key=API_KEY))
    arguments = [sys.executable, "-m", "gateway", "serve", "bench.handlers:gw", "--config", str(config)]
    return Server("gateway", arguments, ports)
