"""A time limit for very many short calls: one timer for all, where `asyncio.timeout` takes one each."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from gateway.errors import GatewayError

LOOKS_PER_TIMEOUT: Final = 4
"""How finely the limit is kept: a call may run a quarter longer than it should."""


class Watchdog:
    """Cancels tasks that have been inside for more than `timeout` seconds.

    watchdog.enter(task)
    try:
        return await call()
    except asyncio.CancelledError:
        if watchdog.expired(task):
            raise TimeoutError from None
        raise
    finally:
        watchdog.leave(task)
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._inside: dict[asyncio.Task[Any], float] = {}  # in the order of entry, which is that of expiry
        self._expired: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def enter(self) -> asyncio.Task[Any]:
        """The time of the task that calls this begins."""
        loop = self._loop
        task = asyncio.current_task(loop) if loop is not None else None
        if loop is None or task is None:
            # The loop is kept, because asking for it costs a system call each time.
            loop = self._loop = asyncio.get_running_loop()
            self._inside, self._timer = {}, None  # tests run handlers in one loop after the other
            task = asyncio.current_task(loop)
            if task is None:
                raise GatewayError("handlers run in a task")
        self._inside[task] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._timeout / LOOKS_PER_TIMEOUT, self._look, loop)
        return task

    def leave(self, task: asyncio.Task[Any]) -> None:
        """The task is done with its call."""
        del self._inside[task]
        if self._expired:
            self._expired.discard(task)

    def expired(self, task: asyncio.Task[Any]) -> bool:
        """Whether the cancellation that the task sees came from here; if so, it is taken back."""
        if task not in self._expired:
            return False
        task.uncancel()
        return True

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        latest = loop.time() - self._timeout
        for task, entered in self._inside.items():
            if entered > latest:
                break
            if task not in self._expired:
                self._expired.add(task)
                task.cancel()
        again = bool(self._inside)
        self._timer = loop.call_later(self._timeout / LOOKS_PER_TIMEOUT, self._look, loop) if again else None
