"""From the store's outbox to the backend: at least once, in order for each user, many users at a time.

An event that the backend refuses comes again after a pause that grows with each attempt; the user's later
events wait behind it, others do not. A backend that refuses everything is asked with one event at a time
until it takes one. What was taken is told to the store together; where that fails, the event comes again.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from gateway.backend.base import Backend
from gateway.errors import ClientError, UpstreamError
from gateway.metrics import Metrics
from gateway.online.contract import Outcome, Taken
from gateway.online.store import OnlineStore

AT_ONCE: Final = 32
"""Events of one node that are with the backend at the same time."""
FAILURES_UNTIL_DOUBT: Final = 3
"""Failures in a row after which the backend is asked with one event at a time."""
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 15.0
"""Seconds before an event is tried again."""
PATIENCE: Final = 2.0
"""Seconds that deliveries under way are given when the node leaves."""
LONGEST_DOUBT: Final = 2.0
"""Seconds between two questions to a backend that refuses everything."""

log = structlog.get_logger()


class Deliverer:
    """Delivers the events of all partitions, whichever node they are of; each within `limit` seconds."""

    def __init__(self, store: OnlineStore, backend: Backend, metrics: Metrics, limit: float) -> None:
        self._limit = limit
        self._store = store
        self._backend = backend
        self._metrics = metrics
        self._ready: dict[int, None] = {}
        self._wake = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._outcomes: dict[int, list[Outcome]] = {}
        self._failures = 0

    def ready(self, partition: int) -> None:
        """There are events of this partition to deliver."""
        if self._backend.user_events:
            self._ready[partition] = None
            self._wake.set()

    async def deliver_forever(self) -> None:
        """Deliver what is ready, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._settle()
                await self._take()
            except UpstreamError as error:
                log.debug("the outbox could not be reached", problem=error.detail)
                await asyncio.sleep(FIRST_PAUSE)
                self._wake.set()

    async def close(self) -> None:
        """End what is under way, once `deliver_forever` is cancelled; what it did not finish comes again."""
        if self._running:
            await asyncio.wait(self._running, timeout=PATIENCE)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        try:
            await self._settle()
        except UpstreamError as error:
            log.info("delivered events of users will be delivered again", problem=error.detail)

    async def _take(self) -> None:
        """Start as many deliveries as there is room for."""
        for partition in list(self._ready):
            if self._failures >= FAILURES_UNTIL_DOUBT:
                if self._running:
                    return
                await asyncio.sleep(min(LONGEST_DOUBT, 0.1 * 2 ** min(self._failures, 8)))
            room = (1 if self._failures >= FAILURES_UNTIL_DOUBT else AT_ONCE) - len(self._running)
            if room <= 0:
                return
            taken = await self._store.take(partition, room)
            if len(taken) < room:
                self._ready.pop(partition, None)
            for each in taken:
                self._running.add(asyncio.create_task(self._deliver(partition, each)))

    async def _deliver(self, partition: int, taken: Taken) -> None:
        ok = await self._give(taken)
        self._failures = 0 if ok else self._failures + 1
        pause = 0.0 if ok else min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(taken.failures, 8))
        event = taken.event
        outcome = Outcome(event.user, event.id, ok, int(pause * 1000))
        self._outcomes.setdefault(partition, []).append(outcome)
        task = asyncio.current_task()
        if task is not None:
            self._running.discard(task)
        self._wake.set()

    async def _give(self, taken: Taken) -> bool:
        event = taken.event
        handled = self._backend.handle_user_event(event)
        if handled is None:
            return True
        try:
            async with asyncio.timeout(self._limit):
                await handled
        except (ClientError, UpstreamError, TimeoutError) as error:
            self._metrics.user_event(event.event, "refused")
            if not taken.failures:
                problem = str(error) or "it took too long"
                log.warning("the backend did not take an event of a user", kind=event.event, problem=problem)
            return False
        except Exception:
            self._metrics.user_event(event.event, "refused")
            log.exception("an event of a user could not be delivered", kind=event.event)
            return False
        self._metrics.user_event(event.event, "delivered")
        return True

    async def _settle(self) -> None:
        """Tell the store what became of the events. Raises UpstreamError; then it is told later."""
        while self._outcomes:
            partition, outcomes = self._outcomes.popitem()
            try:
                dropped, ready = await self._store.settle(partition, outcomes)
            except UpstreamError:
                self._outcomes.setdefault(partition, []).extend(outcomes)
                raise
            for _ in range(dropped):
                self._metrics.user_event("other", "expired")
            if ready:
                self._ready[partition] = None
