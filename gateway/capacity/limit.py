"""Holds the formula against this machine: raises the load on one process until p99 passes 50 ms."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.capacity.constants import Constants
from gateway.capacity.formula import Load, message_us, most_publications
from gateway.loadtest import scenario as scenarios
from gateway.loadtest.own import own_gateway
from gateway.loadtest.result import Result
from gateway.loadtest.run import Progress, Run
from gateway.loadtest.target import Target

CLIENTS, ROOM, SIZE = 1000, 50, 128
P99 = 0.05
STEP = 1.12
SECONDS = 3
MISSES = 2
"""Loads that may be too much before it gives up: one may have been the fault of the rest of the machine."""
GATEWAY_CORE = 0


@dataclass(frozen=True, slots=True)
class Point:
    """A load, and what it came to. `cpu`: share of a core that the gateway used. `p99`: seconds."""

    rate: float
    cpu: float
    p99: float
    held: bool


@dataclass(frozen=True, slots=True)
class Limit:
    """`measured` and `predicted` in publications per second, each to `ROOM` subscribers.

    `message`: µs of CPU that a message cost at half the predicted load, its share of the API call included;
    `message_predicted` the same by the formula.
    """

    points: list[Point]
    measured: float
    predicted: float
    message: float
    message_predicted: float

    @property
    def error(self) -> float | None:
        """Of the prediction, as a share of what was measured; None where no load held."""
        return self.predicted / self.measured - 1 if self.measured else None


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used: the kernel's clock of that process."""
    return time.clock_gettime(((~pid) << 3) | 2)


async def find(constants: Constants, rounds: int, say: Callable[[str], None]) -> Limit:
    """Rising loads, `rounds` short runs each of which the median counts, until the median is too slow."""
    load = Load(CLIENTS, fanout=ROOM, size=SIZE)
    predicted = most_publications(load, constants)
    points: list[Point] = []
    async with own_gateway() as (target, pid):
        if (os.cpu_count() or 1) > 1:
            os.sched_setaffinity(pid, {GATEWAY_CORE})
            os.sched_setaffinity(0, set(range(os.cpu_count() or 1)) - {GATEWAY_CORE})
        rate = predicted / 2
        while sum(not point.held for point in points) < MISSES:
            runs = [await _run(target, pid, rate) for _ in range(rounds)]
            cpu, p99 = (statistics.median(values) for values in zip(*runs, strict=True))
            points.append(Point(rate, cpu, p99, p99 < P99))
            say(f"{rate:,.0f} publications/s × {ROOM}: {cpu:.0%} of a core, p99 {p99 * 1000:.1f} ms")
            rate *= STEP
    held = [point.rate for point in points if point.held]
    half = points[0]
    each = message_us(constants, SIZE) + constants.gateway.publish_us / ROOM
    return Limit(points, max(held, default=0.0), predicted, half.cpu * 1e6 / (half.rate * ROOM), each)


async def _run(target: Target, pid: int, rate: float) -> tuple[float, float]:
    """Share of a core, and p99."""
    seen: list[tuple[float, float]] = []

    def watch(progress: Progress) -> None:
        if progress.phase == "running":
            seen.append((time.monotonic(), cpu_of(pid)))

    result: Result = await Run(_scenario(rate), target, 1, watch).run()
    (began, before), (ended, after) = seen[0], seen[-1]
    p99 = result.times["latency"].p99 or float("inf")
    return (after - before) / (ended - began), p99 if not result.total.failures else float("inf")


def _scenario(rate: float) -> scenarios.Scenario:
    values = scenarios.load("rooms")
    values["clients"] = {"count": CLIENTS, "per_second": 1000, "room_size": ROOM}
    values["publish"] = [{"channel": "load-room-{room}", "per_second": rate, "size": SIZE}]
    return scenarios.check(values | {"duration": SECONDS})
