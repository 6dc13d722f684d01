"""What a result says, as rows of Markdown: who is best, which targets are met, and what was not measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.results_file import Contestant, Result

NOTHING = "–"
GATEWAY, FLOOR = "gateway", "floor"


def number(value: float | None) -> str:
    """As many digits as a reader has use for."""
    if value is None:
        return NOTHING
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1.95 else f"{value:.2f}"


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


@dataclass(frozen=True)
class Column:
    """One measure in a table. `more_is_better` only where that is so."""

    title: str
    measure: str
    more_is_better: bool = False


@dataclass(frozen=True)
class Words:
    """What tables say in one language."""

    server: str
    best: str
    missing: str
    failed: str


def best(result: Result, column: Column) -> Contestant | None:
    """Who does it best; the floor does not count, it has no features."""
    measured = [
        each for each in result.contestants if each.name != FLOOR and each.median(column.measure) is not None
    ]
    choose: Callable[..., Contestant] = max if column.more_is_better else min
    return choose(measured, key=lambda each: each.median(column.measure) or 0.0, default=None)


def table(result: Result, columns: Sequence[Column], words: Words) -> str:
    """A row per server, the best value of each column in bold, and a last row that says whose it is."""
    winners = [best(result, column) for column in columns]
    lines = [
        row([words.server, *(column.title for column in columns)]),
        row(["---"] + ["---:"] * len(columns)),
    ]
    for each in result.contestants:
        if all(each.median(column.measure) is None for column in columns):
            if each.missing or each.problems:
                why = words.missing if each.missing else words.failed
                lines.append(row([f"{each.title} ({why})", *([NOTHING] * len(columns))]))
            continue
        cells = []
        for column, winner in zip(columns, winners, strict=True):
            text = number(each.median(column.measure))
            cells.append(f"**{text}**" if winner is each else text)
        lines.append(row([f"**{each.title}**" if each.name == GATEWAY else each.title, *cells]))
    lines.append(
        row([f"*{words.best}*", *(f"*{winner.title}*" if winner else NOTHING for winner in winners)])
    )
    return "\n".join(lines)


def beaten(result: Result, columns: Sequence[Column]) -> list[tuple[Column, Contestant, float, float]]:
    """Where a peer does better: the measure, who, its value, the gateway's."""
    ours = result.of(GATEWAY)
    found = []
    for column in columns:
        winner, mine = best(result, column), ours.median(column.measure)
        if winner is not None and winner is not ours and mine is not None:
            found.append((column, winner, winner.median(column.measure) or 0.0, mine))
    return found


# ---------------------------------------------------------------------------- targets
@dataclass(frozen=True)
class Target:
    """A goal and what came of it.

    Attributes:
        key: which text describes it.
        limit: as a multiple of the reference, or absolute.
        measured: None where it could not be.
        at_least: a lower limit instead of an upper one.
    """

    key: str
    limit: float
    measured: float | None
    unit: str = "×"
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def centrifugo(result: Result) -> Contestant:
    """Centrifugo, or where it could not be installed the library that it is made of."""
    whole = result.of("centrifugo")
    return whole if whole.values else result.of("centrifuge")


def targets(result: Result) -> list[Target]:
    ours, floor, other = result.of(GATEWAY), result.of(FLOOR), centrifugo(result)
    one, ten = (f"fanout/{result.crowds[0]}/128/{burst}" for burst in (1, 10))

    def times(measure: str, reference: Contestant, of: str = "") -> float | None:
        mine, theirs = ours.median(measure), reference.median(of or measure)
        return mine / theirs if mine is not None and theirs else None

    rpc = other if other.median("rpc") else result.of("centrifuge")
    grown = own_ratio(result, "memory after 100 rounds of connect and drop")
    two = own_ratio(result, "two workers: CPU per delivered message")
    return [
        Target("fanout-floor", 1.15, times(one, floor)),
        Target("fanout-centrifugo", 0.75, times(one, other)),
        Target("burst-floor", 1.3, times(ten, floor)),
        Target("rpc-centrifugo", 0.4, times("rpc", rpc)),
        Target("connect-centrifugo", 1.0, times("connect", other)),
        Target("session-centrifugo", 1.0, times("connect/session", other, "connect")),
        Target("memory", 10.0, ours.median("memory"), " KB"),
        Target("growth", 1.02, grown),
        Target("workers", 1.8, 2 / two if two else None, at_least=True),
    ]


def own_ratio(result: Result, name: str) -> float | None:
    for each in result.own:
        if each["name"] == name and each["ours"] and each["reference"]:
            return float(statistics.median(each["ours"]) / statistics.median(each["reference"]))
    return None


def own_median(result: Result, name: str, side: str = "ours") -> float | None:
    values: list[float] = next((each[side] for each in result.own if each["name"] == name), [])
    return statistics.median(values) if values else None
