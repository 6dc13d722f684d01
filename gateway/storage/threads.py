"""Threads for what blocks: files and S3. Few, because disks do not get faster by being asked more often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Threads:
    """A bounded number of threads, started when first needed."""

    def __init__(self, count: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)

    def start(self, work: Callable[[Unpack[Ts]], T], *args: *Ts) -> asyncio.Future[T]:
        """Begin `work`; the future of its result. It runs to its end even if the future is cancelled."""
        return asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    async def run(self, work: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
        """The result of `work`."""
        return await self.start(work, *args)

    async def close(self) -> None:
        """Wait for what runs, take nothing new."""
        await asyncio.to_thread(self._pool.shutdown)
