"""What a node does beside its clients: work that nobody waits for, and what comes again from time to time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from gateway.errors import ClientError, UpstreamError

PATIENCE: Final = 5.0
"""Seconds that work under way has to finish when the node leaves."""

log = structlog.get_logger()


class Background:
    """The tasks of one node."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._repeated: list[asyncio.Task[None]] = []

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work`; an error in it is logged once."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def repeat(self, interval: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do `work` again and again, `interval` seconds after it was done, until `close`."""
        self._repeated.append(asyncio.create_task(_repeat(interval, work)))

    async def close(self) -> None:
        """End what is repeated, and wait a little for the rest."""
        for task in self._repeated:
            task.cancel()
        await asyncio.gather(*self._repeated, return_exceptions=True)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=PATIENCE)
        for task in self._tasks:
            task.cancel()

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            if isinstance(error, (ClientError, UpstreamError)):
                log.info("background work did not succeed", problem=str(error))
            else:
                log.error("background work failed", exc_info=error)


async def _repeat(interval: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    while True:
        await asyncio.sleep(interval)
        try:
            await work()
        except UpstreamError as error:
            log.warning("the broker did not answer", problem=error.detail)
