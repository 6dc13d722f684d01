"""Real Redis servers for tests, on free ports, killed by their process id; and a proxy that misbehaves."""

from __future__ import annotations

import asyncio
import atexit
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import redis

from tests.gateway_process import free_port
from tests.timing import MS

READY = 10_000 * MS
"""Seconds within which a server answers."""


class RedisServer:
    """One redis-server with a directory of its own. `options` are words of its command line."""

    def __init__(self, *options: str, program: str = "redis-server", port: int = 0) -> None:
        found = shutil.which(program)
        assert found, f"{program} is not installed: apt-get install redis-server (scripts/test does it)"
        self._program = found
        self._options = options or ("--save", "")
        self.port = port or free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="gateway-redis-"))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> RedisServer:
        config = self.directory / "redis.conf"  # a Sentinel rewrites its own
        words = [self._program, *([str(config)] if config.exists() else [])]
        words += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        self.process = subprocess.Popen([*words, *self._options], stdout=subprocess.DEVNULL)
        self._wait()
        return self

    def _wait(self) -> None:
        deadline = time.monotonic() + READY
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, "redis-server ended at once"
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 100 * MS) as sock:
                sock.settimeout(1_000 * MS)
                sock.sendall(b"PING\r\n")
                # NOAUTH is an answer, LOADING is not yet one.
                if (answer := sock.recv(100)) and not answer.startswith(b"-LOADING"):
                    return
        raise AssertionError("redis-server does not answer")

    def client(self, **options: Any) -> redis.Redis:
        """A plain client, to arrange and to look."""
        return redis.Redis(port=self.port, **options)

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> RedisServer:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()


class Proxy:
    """A TCP proxy in front of one port, that cuts, stalls and refuses on command."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def open(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def refuse(self) -> None:
        """Nobody listens any more, and what was open is cut."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    def stall(self) -> None:
        """Connections stay open, and nothing passes through them: half-open, as far as one can see."""
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    async def close(self) -> None:
        await self.refuse()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> Proxy:
        return await self.open()

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            with suppress(OSError, asyncio.CancelledError):
                there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
                self._writers.add(back)
                await self._both(reader, back, there, writer)
                self._writers.discard(back)
        finally:
            self._writers.discard(writer)
            writer.close()
            self._tasks.discard(task)

    async def _both(
        self,
        reader: asyncio.StreamReader,
        back: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        pumps = [
            asyncio.create_task(self._pump(reader, back)),
            asyncio.create_task(self._pump(there, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            back.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                await self._flowing.wait()
                sink.write(data)
                await sink.drain()


# ---------------------------------------------------------------------------- shared by the contract tests
@cache
def shared_servers(count: int = 1) -> list[RedisServer]:
    """Servers of the whole test run; tests keep to prefixes of their own."""
    servers = [RedisServer().start() for _ in range(count)]
    for server in servers:
        atexit.register(server.close)
    return servers


@cache
def shared_cluster() -> list[RedisServer]:
    """Three masters that share the slots, without replicas."""
    options = ("--save", "", "--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
    servers = [RedisServer(*options).start() for _ in range(3)]
    for server in servers:
        atexit.register(server.close)
    join_cluster(servers)
    return servers


def join_cluster(servers: list[RedisServer]) -> None:
    """Share the slots, introduce the nodes to each other, wait until all of them agree."""
    share = -(-16384 // len(servers))
    for index, server in enumerate(servers):
        last = min((index + 1) * share, 16384) - 1
        with server.client() as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", index * share, last)
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", index + 1)
            client.execute_command("CLUSTER MEET", "127.0.0.1", servers[0].port)
    deadline = time.monotonic() + READY
    for server in servers:
        with server.client(decode_responses=True) as client:
            while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                assert time.monotonic() < deadline, "the cluster does not come up"
                time.sleep(20 * MS)
