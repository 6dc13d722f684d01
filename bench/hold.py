"""How long a fan-out to 15,000 subscribers keeps another client waiting.

One more client asks small requests all the time. The slowest answer it gets between the publication and
its last delivery shows for how long the loop was not free. The subscribers live in a process of their own
that runs only when its core is otherwise idle, so that the prober's times are the server's.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import cast

from bench import traffic
from bench.driver import PATIENCE, BenchError, Caller, FloorControl
from bench.measures import Plan, caller_for, gateway_and_floor, settle
from bench.report import Row
from bench.servers import Server, bench_token

PAUSE = 0.001
MILLI = 1e3


class Prober(asyncio.Protocol):
    """Asks, waits for the answer, notes how long it took, asks again."""

    def __init__(self, port: int) -> None:
        self._hello = traffic.connect_frame(bench_token("prober"), channel=None)
        self._upgrade = traffic.upgrade_request("127.0.0.1", port)
        self._request = traffic.rpc_frame()
        self._sent = 0.0
        self._seen = b""
        self._asked: asyncio.Future[bytes] | None = None
        self._stopping: asyncio.Future[None] | None = None
        self.times: list[float] = []
        self.ready = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._upgrade)

    def data_received(self, data: bytes) -> None:
        if not self.ready.done():
            self._enter(data)
        elif self._asked is not None:
            self._asked.set_result(data)
            self._asked = None
        elif b'"rpc"' in data:
            self.times.append(time.perf_counter() - self._sent)
            if self._stopping is not None:
                self._stopping.set_result(None)
            else:
                asyncio.get_running_loop().call_later(PAUSE, self._ask)

    def _enter(self, data: bytes) -> None:
        self._seen += data
        if self._hello and b"\r\n\r\n" in self._seen:
            self._transport.write(self._hello)
            self._hello = b""
        elif b'"connect"' in self._seen:
            self.ready.set_result(None)

    def start(self) -> None:
        """Ask again and again, until `stop`."""
        self.times = []
        self._stopping = None
        self._ask()

    async def stop(self) -> None:
        """Wait for the answer to the last question: that one has waited, too."""
        self._stopping = asyncio.get_running_loop().create_future()
        await self._stopping

    def _ask(self) -> None:
        if not self._transport.is_closing():
            self._sent = time.perf_counter()
            self._transport.write(self._request)

    async def call(self, method: str) -> bytes:
        """One rpc besides the probing, which has to be at rest; the raw answer."""
        self._asked = asyncio.get_running_loop().create_future()
        self._transport.write(traffic.rpc_frame(method))
        return await self._asked

    def close(self) -> None:
        self._transport.abort()


@dataclass
class Seen:
    """What was measured of one server.

    Attributes:
        answers: times of the prober's requests, in seconds.
        durations: of whole fan-outs, in seconds.
        inside: longest time between two ticks of a 1 ms timer in the server, in milliseconds.
    """

    answers: list[float] = field(default_factory=list)
    durations: list[float] = field(default_factory=list)
    inside: list[float] = field(default_factory=list)


async def hold(plan: Plan) -> list[Row]:
    """Slowest and 99th percentile answer to another client meanwhile; and how long serving all takes."""
    people, turns = plan.of(15_000), plan.of(20)
    during = f"during a fan-out to {people:,}"
    inside = Row(f"longest turn of the server's loop {during}", "ms", most=10.0)
    p99 = Row(f"another client's RPC {during}: p99", "ms", most=10.0)
    worst = Row(f"another client's RPC {during}: slowest", "ms")
    whole = Row(f"fan-out to {people:,}: until the last has it", "ms")
    async with gateway_and_floor(plan) as (ours, floor):
        loop = asyncio.get_running_loop()
        _, control = await loop.create_connection(FloorControl, "127.0.0.1", floor.ports["control"])
        body = traffic.publish_body(plan.size)
        callers: list[Caller] = []

        async def by_control() -> None:
            control.fan_out(1)

        async def by_api() -> None:
            if not callers:  # opened late: a connection that asks for nothing is not kept
                callers.append(await caller_for(ours, "/api/publish", body))
            await callers[0].call()

        for server, trigger, column in ((floor, by_control, "reference"), (ours, by_api, "ours")):
            seen = await _probe(server, trigger, people, turns)
            percentiles = statistics.quantiles(seen.answers, n=100, method="inclusive")
            getattr(inside, column).extend(seen.inside)
            getattr(p99, column).append(percentiles[98] * MILLI)
            getattr(worst, column).append(max(seen.answers) * MILLI)
            getattr(whole, column).extend(duration * MILLI for duration in seen.durations)
        for caller in callers:
            caller.close()
    return [inside, p99, worst, whole]


async def _probe(server: Server, trigger: Callable[[], Awaitable[None]], people: int, turns: int) -> Seen:
    """`turns` fan-outs, one after the other, while the prober asks."""
    port = server.ports["websocket"]
    seen = Seen()
    async with AsyncExitStack() as stack:
        arguments = (sys.executable, "-m", "bench.receivers", str(port), str(people))
        receivers = await asyncio.create_subprocess_exec(*arguments, stdin=PIPE, stdout=PIPE)
        stack.push_async_callback(_end, receivers)
        await _hear(receivers, "ready")
        loop = asyncio.get_running_loop()
        _, prober = await loop.create_connection(lambda: Prober(port), "127.0.0.1", port)
        stack.callback(prober.close)
        await prober.ready
        await settle(server)
        for _ in range(turns):
            await _tell(receivers, "1")
            await _hear(receivers, "expecting")
            await prober.call("watch")
            prober.start()
            began = time.perf_counter()
            await trigger()
            await _hear(receivers, "done")
            seen.durations.append(time.perf_counter() - began)
            await prober.stop()
            seen.answers.extend(prober.times)
            answer = await prober.call("watched")
            if b'"data":{' not in answer:  # the floor echoes the question
                seen.inside.append(float(answer.rpartition(b'"data":')[2].split(b"}")[0]))
    return seen


async def _tell(process: Process, line: str) -> None:
    if process.stdin is None:
        raise BenchError("the receivers have no stdin")
    process.stdin.write(f"{line}\n".encode())
    await process.stdin.drain()


async def _hear(process: Process, word: str) -> None:
    if process.stdout is None:
        raise BenchError("the receivers have no stdout")
    async with asyncio.timeout(PATIENCE):
        line = (await process.stdout.readline()).decode().strip()
    if line != word:
        raise BenchError(f"the receivers said {line!r} instead of {word!r}")


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()
