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
        self.times: list[float] = []
        self.ready = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._upgrade)

    def data_received(self, data: bytes) -> None:
        if not self.ready.done():
            self._enter(data)
        elif b'"rpc"' in data:
            self.times.append(time.perf_counter() - self._sent)
            asyncio.get_running_loop().call_later(PAUSE, self.ask)

    def _enter(self, data: bytes) -> None:
        self._seen += data
        if self._hello and b"\r\n\r\n" in self._seen:
            self._transport.write(self._hello)
            self._hello = b""
        elif b'"connect"' in self._seen:
            self.ready.set_result(None)

    def ask(self) -> None:
        if not self._transport.is_closing():
            self._sent = time.perf_counter()
            self._transport.write(self._request)

    def close(self) -> None:
        self._transport.abort()


async def hold(plan: Plan) -> list[Row]:
    """Slowest and 99th percentile answer to another client meanwhile; and how long serving all takes."""
    people = plan.of(15_000)
    name = f"another client's RPC during a fan-out to {people:,}"
    p99 = Row(f"{name}: p99", "ms", most=10.0)
    worst = Row(f"{name}: slowest", "ms", most=10.0)
    whole = Row(f"fan-out to {people:,}: until the last has it", "ms")
    turns = plan.of(20)
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
            answers, durations = await _probe(server, trigger, people, turns)
            getattr(p99, column).append(statistics.quantiles(answers, n=100, method="inclusive")[98] * MILLI)
            getattr(worst, column).append(max(answers) * MILLI)
            getattr(whole, column).extend(duration * MILLI for duration in durations)
        for caller in callers:
            caller.close()
    return [p99, worst, whole]


async def _probe(
    server: Server, trigger: Callable[[], Awaitable[None]], people: int, turns: int
) -> tuple[list[float], list[float]]:
    """The answers' times while being served, and how long serving took; in seconds."""
    port = server.ports["websocket"]
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
        prober.ask()
        answers: list[float] = []
        durations: list[float] = []
        for _ in range(turns):
            await _tell(receivers, "1")
            await _hear(receivers, "expecting")
            prober.times.clear()
            began = time.perf_counter()
            await trigger()
            await _hear(receivers, "done")
            durations.append(time.perf_counter() - began)
            answered = len(prober.times)
            while len(prober.times) == answered:  # noqa: ASYNC110  # the request on its way waited too
                await asyncio.sleep(PAUSE)
            answers.extend(prober.times)
        return answers, durations


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
