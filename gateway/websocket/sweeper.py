"""One timer for all connections: deadlines that have passed, and how late the loop is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

import structlog

from gateway.deadlines import Deadlines
from gateway.metrics import Metrics

TICKS_AT_A_TIME: Final = 500
"""Deadlines served in one turn of the loop."""

log = structlog.get_logger()


class Ticking(Protocol):
    """What has deadlines."""

    def tick(self, now: float) -> None:
        """Do what is due at `now`, and set the next deadline."""


T = TypeVar("T", bound=Ticking)


async def sweep_forever(
    deadlines: Deadlines[T], interval: float, clock: Callable[[], float], metrics: Metrics
) -> None:
    """Serve deadlines every `interval` seconds until cancelled."""
    due = clock() + interval
    while True:
        await asyncio.sleep(max(0.0, due - clock()))
        now = clock()
        metrics.lag(max(0.0, now - due))
        due = now + interval
        for count, item in enumerate(deadlines.due(now), 1):
            try:
                item.tick(now)
            except Exception:
                log.exception("a deadline was not served")
            if count % TICKS_AT_A_TIME == 0:
                await asyncio.sleep(0)
