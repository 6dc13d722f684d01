"""The processes that hold the sockets: started, told what to do, listened to, and gone when the leader is."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Callable
from typing import Final

from gateway.errors import GatewayException
from gateway.loadtest.plan import Order, Plan, encode
from gateway.loadtest.tally import Told, decode_told

LINE_LIMIT: Final = 256 * 1024 * 1024
STOP_PATIENCE: Final = 10.0


class FleetError(GatewayException):
    """A process of sockets could not go on; the text is its own."""


class Fleet:
    """Use it as a context: `async with Fleet(plans, hear) as fleet`.

    Args:
        hear: gets the number of the process and what it told.
    """

    def __init__(self, plans: list[Plan], hear: Callable[[int, Told], None]) -> None:
        self._plans = plans
        self._hear = hear
        self._processes: list[Process] = []
        self._readers: list[asyncio.Task[None]] = []
        self._told: Counter[tuple[str, int]] = Counter()
        self._news = asyncio.Condition()
        self._broken = ""

    async def __aenter__(self) -> Fleet:
        for number, plan in enumerate(self._plans):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway.loadtest.process", stdin=PIPE, stdout=PIPE, limit=LINE_LIMIT
            )
            self._processes.append(process)
            self._readers.append(asyncio.create_task(self._read(number, process)))
            self._write(process, encode(plan))
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes:
            assert process.stdin is not None  # noqa: S101
            process.stdin.close()
        for process in self._processes:
            await gone(process, STOP_PATIENCE)
        await asyncio.gather(*self._readers)

    def order(self, order: Order) -> None:
        """Tell all processes."""
        line = encode(order)
        for process in self._processes:
            self._write(process, line)

    async def all_told(self, event: str, patience: float, times: int = 1) -> bool:
        """Wait until every process has told `event`, `times` times in all; False when the time is up."""

        def told() -> bool:
            return all(self._told[event, number] >= times for number in range(len(self._processes)))

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience), self._news:
                await self._news.wait_for(lambda: self._broken or told())
        if self._broken:
            raise FleetError(self._broken)
        return told()

    @staticmethod
    def _write(process: Process, line: bytes) -> None:
        assert process.stdin is not None  # noqa: S101
        if not process.stdin.is_closing():
            process.stdin.write(line + b"\n")

    async def _read(self, number: int, process: Process) -> None:
        assert process.stdout is not None  # noqa: S101
        done = False
        while line := await process.stdout.readline():
            told = decode_told(line)
            done = done or told.event == "done"
            if told.event == "broken":
                await self._break(f"a process of sockets broke: {told.text}")
                continue
            self._hear(number, told)
            async with self._news:
                self._told[told.event, number] += 1
                self._news.notify_all()
        if not done:
            await self._break("a process of sockets ended before its time")

    async def _break(self, text: str) -> None:
        async with self._news:
            self._broken = self._broken or text
            self._news.notify_all()


async def gone(process: Process, patience: float) -> None:
    """Wait for a process that was told to end, and end it where it does not."""
    try:
        async with asyncio.timeout(patience):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
