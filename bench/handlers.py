"""The team's handlers of the measured gateway: an echo, and a watch on the loop from the inside."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from gateway import Caller, Gateway

gw = Gateway()

TICK = 0.001


class LoopWatch:
    """Notes for how long the loop was not free: the longest time between two ticks of a timer of 1 ms."""

    def __init__(self) -> None:
        self._armed_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.worst = 0.0

    def start(self) -> None:
        self.worst = 0.0
        self._arm()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._armed_at = time.perf_counter()
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)

    def _tick(self) -> None:
        self.worst = max(self.worst, time.perf_counter() - self._armed_at)
        self._arm()


watch = LoopWatch()


@gw.rpc("echo")
async def echo(caller: Caller, data: Any) -> Any:
    return data


@gw.rpc("watch")
async def start_watch(caller: Caller, data: Any) -> None:
    watch.start()


@gw.rpc("watched")
async def end_watch(caller: Caller, data: Any) -> float:
    """The longest time between two ticks since `watch`, in milliseconds."""
    watch.stop()
    return watch.worst * 1000
