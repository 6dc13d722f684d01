"""What became of the messages of each fault, as a table."""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from rich.console import Console
from rich.table import Table

from chaos.faults import LOSES
from chaos.run import Run, Window
from chaos.verdict import Accepted, Record, Verdict, judge

KINDS = ("missing", "duplicated", "reordered", "wrong", "needless")


@dataclass
class Row:
    """All windows of one fault. `stalls`: the longest silence of each client in each window, seconds."""

    fault: str
    times: int = 0
    seconds: float = 0.0
    accepted: int = 0
    delivered: int = 0
    resyncs: int = 0
    stalls: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)
    troubles: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        told = bool(self.resyncs) == (self.fault in LOSES)
        return not self.problems and not self.troubles and bool(self.delivered) and told


def rows_of(run: Run) -> list[Row]:
    """One row per fault, in the order of their first time."""
    records = [record for person in run.people for record in person.records.values()]
    verdict = judge(run.publisher.accepted, records)
    rows = {window.fault: Row(window.fault) for window in run.windows}
    for window in run.windows:
        _add_window(rows[window.fault], window, run)
    _add_verdict(rows, run.windows, run.publisher.accepted, verdict)
    return list(rows.values())


def _add_window(row: Row, window: Window, run: Run) -> None:
    row.times += 1
    row.seconds += window.ended - window.began
    row.stalls += [_longest_silence(person.arrivals, window) for person in run.people]
    row.calls += [took for at, took in run.publisher.calls if window.began <= at < window.ended]
    if window.trouble:
        row.troubles.append(window.trouble)
    if not window.settled:
        row.troubles.append("not everything had arrived when the next fault began")


def _longest_silence(arrivals: list[float], window: Window) -> float:
    first, last = bisect_left(arrivals, window.began), bisect_left(arrivals, window.ended)
    times = [window.began, *arrivals[first:last], window.ended]
    return max(after - before for before, after in pairwise(times))


def _add_verdict(
    rows: dict[str, Row], windows: list[Window], accepted: Iterable[Accepted], verdict: Verdict
) -> None:
    starts = [window.began for window in windows]

    def row_at(at: float) -> Row:
        return rows[windows[max(0, bisect_left(starts, at) - 1)].fault]

    home: dict[tuple[str, str, int], Row] = {}
    for each in accepted:
        row = home[each.channel, each.epoch, each.offset] = row_at(each.at)
        row.accepted += 1
    anywhere = rows[windows[-1].fault]
    for place in verdict.delivered:
        home.get(place, anywhere).delivered += 1
    for problem in verdict.problems:
        home.get((problem.channel, problem.epoch, problem.offset), anywhere).problems[problem.kind] += 1
    for at in verdict.resyncs:
        row_at(at).resyncs += 1


def show(rows: list[Row], console: Console) -> None:
    table = Table()
    for name in ("fault", "times", "s each", "accepted", "delivered", *KINDS[:3], "other", "re-syncs"):
        table.add_column(name, justify="left" if name == "fault" else "right")
    table.add_column("stall p50/p99, s", justify="right")
    table.add_column("longest call, s", justify="right")
    for row in rows:
        problems = row.problems
        table.add_row(
            row.fault,
            str(row.times),
            f"{row.seconds / row.times:.1f}",
            f"{row.accepted:,}",
            f"{row.delivered:,}",
            *(str(problems[kind]) for kind in KINDS[:3]),
            str(problems["wrong"] + problems["needless"]),
            f"{row.resyncs:,}",
            "{:.2f} / {:.2f}".format(*_percentiles(row.stalls)),
            f"{max(row.calls, default=0.0):.1f}",
            style="" if row.good else "red",
        )
    console.print(table)
    for row in rows:
        for trouble in row.troubles:
            console.print(f"{row.fault}: {trouble}")


def _percentiles(values: list[float]) -> tuple[float, float]:
    if len(values) < 2:
        return (values[0], values[0]) if values else (0.0, 0.0)
    return statistics.median(values), statistics.quantiles(values, n=100, method="inclusive")[98]


def records_of(run: Run) -> list[Record]:
    return [record for person in run.people for record in person.records.values()]
