"""Real Redis servers for tests, on free ports, killed by their process id; and a proxy that misbehaves."""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import shutil
import signal
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


def _die_with_parent() -> None:
    """Linux: a test run that is killed leaves no server behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


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
        self._clients: dict[bool, redis.Redis] = {}

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def bus_port(self) -> int:
        """Where the nodes of a cluster talk to each other."""
        return int(self._options[self._options.index("--cluster-port") + 1])

    def start(self) -> RedisServer:
        """Start, also again after `kill`: then with what is left in its directory."""
        config = self.directory / "redis.conf"  # a Sentinel rewrites its own
        words = [self._program, *([str(config)] if config.exists() else [])]
        words += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        words += self._options
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, preexec_fn=_die_with_parent)
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

    def client(self, decode_responses: bool = False) -> redis.Redis:
        """A plain client, to arrange and to look; the same one every time, closed with the server."""
        if decode_responses not in self._clients:
            self._clients[decode_responses] = redis.Redis(port=self.port, decode_responses=decode_responses)
        return self._clients[decode_responses]

    def command(self, *words: str | int) -> Any:
        """One command."""
        return self.client(decode_responses=True).execute_command(*words)  # type: ignore[no-untyped-call]

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()
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
        self._pipes: set[Pipe] = set()
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

    def deafen(self) -> None:
        """What is subscribed now hears nothing any more, without a sign; new connections are fine."""
        for pipe in self._pipes:
            pipe.deaf = pipe.subscribed

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
                try:
                    await self._both(Pipe(self._flowing), reader, back, there, writer)
                finally:
                    self._writers.discard(back)
                    back.close()
        finally:
            self._writers.discard(writer)
            writer.close()
            self._tasks.discard(task)

    async def _both(
        self,
        pipe: Pipe,
        reader: asyncio.StreamReader,
        back: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._pipes.add(pipe)
        ways = [asyncio.create_task(pipe.there(reader, back)), asyncio.create_task(pipe.back(there, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pipes.discard(pipe)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


class Pipe:
    """One connection through the proxy."""

    def __init__(self, flowing: asyncio.Event) -> None:
        self._flowing = flowing
        self.subscribed = False
        self.deaf = False

    async def there(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                self.subscribed = self.subscribed or b"SUBSCRIBE" in data
                await self._flowing.wait()
                sink.write(data)
                await sink.drain()

    async def back(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                await self._flowing.wait()
                if not self.deaf:
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
    servers = cluster_nodes(3)
    for server in servers:
        atexit.register(server.close)
    join_cluster(servers)
    return servers


def cluster_nodes(count: int, node_timeout: int = 2000) -> list[RedisServer]:
    """Nodes that do not know each other yet; `node_timeout` in milliseconds."""
    options = ["--save", "", "--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout)]
    options += ["--repl-diskless-sync-delay", "0", "--cluster-port"]
    servers = [RedisServer(*options, str(free_port())) for _ in range(count)]
    try:
        return [server.start() for server in servers]
    except BaseException:
        for server in servers:
            server.close()
        raise


def join_cluster(servers: list[RedisServer]) -> None:
    """Share the slots, introduce the nodes to each other, wait until all of them agree."""
    share = -(-16384 // len(servers))
    for index, server in enumerate(servers):
        last = min((index + 1) * share, 16384) - 1
        server.command("CLUSTER ADDSLOTSRANGE", index * share, last)
        server.command("CLUSTER SET-CONFIG-EPOCH", index + 1)
        server.command("CLUSTER MEET", "127.0.0.1", servers[0].port, servers[0].bus_port)
    deadline = time.monotonic() + READY
    for server in servers:
        while server.command("CLUSTER INFO")["cluster_state"] != "ok":
            assert time.monotonic() < deadline, "the cluster does not come up"
            time.sleep(20 * MS)
