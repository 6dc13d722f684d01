"""Many calls for one request, a few at a time, without holding the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Final, TypeVar

CONCURRENCY: Final = 128
"""Calls of one request that run at a time: enough to fill a pipeline to Redis."""

SLICE: Final = 0.003
"""Seconds after which others get their turn: the memory broker never waits, so nobody else would."""

Item = TypeVar("Item")


async def run_all(
    items: Sequence[Item], call: Callable[[Item], Awaitable[bytes]], *, parallel: bool
) -> list[bytes]:
    """What `call` returned for each item, in the order of the items; `call` must not raise.

    Without `parallel` a call starts when the one before it has ended.
    """
    results = [b""] * len(items)
    rest = iter(enumerate(items))
    # Shared by all workers: a fresh slice begins whenever one of them was resumed by the loop.
    since = perf_counter()

    async def work() -> None:
        nonlocal since
        for index, item in rest:
            results[index] = await call(item)
            # Not loop.time(): uvloop's stands still during a turn.
            if perf_counter() - since > SLICE:
                await asyncio.sleep(0)
                since = perf_counter()

    workers = min(CONCURRENCY, len(items)) if parallel else 1
    if workers <= 1:
        await work()
        return results
    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(work())
    return results
