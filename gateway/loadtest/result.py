"""What a load test found: the totals, half second by half second, and whether it passed."""

from __future__ import annotations

from msgspec import Struct

from gateway.config.units import MB, format_duration
from gateway.loadtest.histogram import Histogram
from gateway.loadtest.scenario import Pass
from gateway.loadtest.tally import Tally

BUSY = 0.9
"""Share of a core from which the load generator itself may be what is slow."""


class Point(Struct):
    """What happened since the point before. `at`: seconds since the start."""

    at: float
    connected: int
    tally: Tally


class StormRound(Struct):
    """`back`: seconds until the last one was back and recovered; None: some never came."""

    at: float
    dropped: int
    back: float | None


class Check(Struct):
    """One threshold. Values are seconds where the name is a time, else counts; None: was not measured."""

    name: str
    limit: float
    value: float | None
    passed: bool
    text: str


class Times(Struct):
    """Seconds."""

    count: int
    p50: float | None
    p90: float | None
    p99: float | None
    p999: float | None
    max: float | None


class Result(Struct):
    """All of it; has a JSON form.

    Attributes:
        memory: bytes of the server's process when all were connected; `memory_growth`: from then to the end,
            when as many are connected again: what storms leave behind.
        cpu: the busiest process of the load generator, as a share of a core.
    """

    scenario: str
    about: str
    target: str
    version: str
    started: str
    machine: str
    clients: int
    processes: int
    connecting: float
    running: float
    never_connected: int
    total: Tally
    points: list[Point]
    storms: list[StormRound] = []
    wechat_calls: int | None = None
    memory: float | None = None
    memory_growth: float | None = None
    cpu: float = 0.0
    server: dict[str, float] = {}
    times: dict[str, Times] = {}
    checks: list[Check] = []

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def busy(self) -> bool:
        """The load generator was at its own limit: what it measured may be itself."""
        late = self.total.times("lag").percentile(0.99) or 0
        return self.cpu > BUSY or late > 0.02

    @property
    def back(self) -> float | None:
        """The slowest return of all storms."""
        found = [storm.back for storm in self.storms]
        if not found or any(each is None for each in found):
            return None
        return max(each for each in found if each is not None)


def summary(histogram: Histogram) -> Times:
    """The percentiles that people ask for."""
    of = histogram.percentile
    return Times(histogram.total, of(0.5), of(0.9), of(0.99), of(0.999), histogram.largest)


_TIMES = {
    "p50": ("latency", 0.5),
    "p99": ("latency", 0.99),
    "max": ("latency", 1.0),
    "connect_p99": ("connect", 0.99),
    "rpc_p99": ("rpc", 0.99),
}


def judge(result: Result, wanted: Pass) -> list[Check]:
    """Each threshold that was set; one whose value was never measured fails."""
    checks = []
    for name, (kind, share) in _TIMES.items():
        limit = getattr(wanted, name)
        if limit is not None:
            checks.append(_time(name, limit, result.total.times(kind).percentile(share)))
    if wanted.back is not None:
        checks.append(_time("back", wanted.back, result.back))
    total = result.total
    for name, value in (
        ("lost", total.lost),
        ("duplicated", total.duplicated),
        ("reordered", total.reordered),
        ("errors", total.failures + result.never_connected),
        ("wechat_calls", result.wechat_calls),
    ):
        limit = getattr(wanted, name)
        if limit is not None:
            passed = value is not None and value <= limit
            shown = "not measured" if value is None else str(value)
            checks.append(Check(name, limit, value, passed, f"{name} {shown}, allowed {limit}"))
    if wanted.memory_growth is not None:
        checks.append(_size("memory_growth", wanted.memory_growth, result.memory_growth))
    if wanted.slow_closed_least is not None:
        least = wanted.slow_closed_least
        text = f"slow_closed {total.slow_closed}, at least {least}"
        checks.append(Check("slow_closed_least", least, total.slow_closed, total.slow_closed >= least, text))
    return checks


def _time(name: str, limit: float, value: float | None) -> Check:
    shown = "not measured" if value is None else seconds(value)
    passed = value is not None and value <= limit
    return Check(name, limit, value, passed, f"{name} {shown}, allowed {format_duration(limit)}")


def _size(name: str, limit: float, value: float | None) -> Check:
    shown = "not measured" if value is None else megabytes(value)
    passed = value is not None and value <= limit
    return Check(name, limit, value, passed, f"{name} {shown}, allowed {megabytes(limit)}")


def megabytes(value: float) -> str:
    return f"{value / MB:.1f} MB"


def seconds(value: float | None) -> str:
    """A time as people read it: 0.85 ms, 12 ms, 3.4 s."""
    if value is None:
        return "–"
    if value < 1:
        return f"{value * 1000:.2f} ms" if value < 0.01 else f"{value * 1000:.0f} ms"
    return f"{value:.1f} s"
