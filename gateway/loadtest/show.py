"""What people see in the terminal: a live line of figures while it runs, a table when it is done."""

from __future__ import annotations

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gateway.config.units import MB
from gateway.loadtest.result import Result, Times, megabytes, seconds
from gateway.loadtest.run import Progress

NAMES = {
    "latency": "message",
    "publish": "publish",
    "connect": "connect",
    "rpc": "RPC",
    "upload": "upload",
    "download": "download",
    "lag": "own lateness",
}


class Screen:
    """Live figures on a terminal; one line each ten seconds where there is none."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = (
            Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        )
        self._shown = 0

    def __enter__(self) -> Screen:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, progress: Progress) -> None:
        """Called at each point."""
        if self._live is not None:
            self._live.update(_now(progress), refresh=True)
            return
        self._shown += 1
        if self._shown % 20 == 0:
            self._console.print(_line(progress), soft_wrap=True)


def _line(progress: Progress) -> str:
    last = progress.points[-1].tally
    span = progress.points[-1].at - (progress.points[-2].at if len(progress.points) > 1 else 0.0)
    return (
        f"{progress.seconds:4.0f} s  {progress.phase:<10}  {progress.connected:,} connected  "
        f"{last.connects / span:,.0f} connects/s  {last.messages / span:,.0f} messages/s  "
        f"p99 {seconds(last.times('latency').percentile(0.99))}  {progress.total.failures} errors"
    )


def _now(progress: Progress) -> Group:
    lines = [Text(_line(progress))]
    lines += [Text(f"       {count:,} × {what}", style="red") for what, count in _most(progress.total.errors)]
    return Group(*lines)


def _most(errors: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(errors.items(), key=lambda pair: -pair[1])[:5]


def show(result: Result, console: Console) -> None:
    """The whole result."""
    console.print(
        f"[bold]{result.scenario}[/bold]  {result.clients:,} clients, {result.target}, "
        f"connected in {result.connecting:.1f} s, ran {result.running:.1f} s"
    )
    times = Table("", "count", "p50", "p90", "p99", "p99.9", "max", title_justify="left")
    for column in times.columns[1:]:
        column.justify = "right"
    for kind, name in NAMES.items():
        if kind in result.times:
            times.add_row(name, *_cells(result.times[kind]))
    console.print(times)
    console.print(_counts(result), soft_wrap=True)
    for number, storm in enumerate(result.storms, 1):
        console.print(
            f"storm {number}: {storm.dropped:,} dropped, "
            + (f"all back and recovered after {seconds(storm.back)}" if storm.back else "not all came back")
        )
    for what, count in _most(result.total.errors):
        console.print(f"[red]{count:,} × {what}[/red]", soft_wrap=True)
    if result.never_connected:
        console.print(f"[red]{result.never_connected:,} clients never connected[/red]")
    for text in advice(result):
        console.print(f"[yellow]{text}[/yellow]", soft_wrap=True)
    for check in result.checks:
        mark = "[green]pass[/green]" if check.passed else "[red]FAIL[/red]"
        console.print(f"{mark}  {check.text}")


def _cells(times: Times) -> list[str]:
    of = (times.p50, times.p90, times.p99, times.p999, times.max)
    return [f"{times.count:,}", *(seconds(each) for each in of)]


def _counts(result: Result) -> str:
    total = result.total
    parts = [f"{total.published:,} published, {total.messages:,} delivered, {total.caught_up:,} by recovery"]
    parts.append(f"{total.lost} lost, {total.duplicated} doubled, {total.reordered} out of order")
    if total.unrecovered:
        parts.append(f"{total.unrecovered} came back too late to recover")
    if total.slow_closed:
        parts.append(f"{total.slow_closed} slow clients closed")
    if total.retries:
        parts.append(f"{total.retries} put off by the server and repeated")
    if result.memory is not None and result.memory_growth is not None:
        parts.append(f"server {megabytes(result.memory)} {result.memory_growth / MB:+.1f} MB")
    if result.wechat_calls is not None:
        parts.append(f"{result.wechat_calls} calls to WeChat")
    return "; ".join(parts)


def advice(result: Result) -> list[str]:
    """What a figure may not mean what it seems to."""
    found = []
    if result.busy:
        found.append(
            f"this program was busy itself ({result.cpu:.0%} of a core), so times may be its own: "
            "use more --processes, or another machine"
        )
    if any(what.startswith("rpc: error 108") for what in result.total.errors):
        found.append(
            "nobody answers RPC: start `gateway dev gateway.loadtest.handlers`, or name a method of yours"
        )
    if any(what.startswith("subscribe: error 10") for what in result.total.errors):
        found.append(
            "the channels may not be subscribed to by clients: name yours in a scenario (--print-scenario)"
        )
    if result.total.unrecovered:
        found.append(
            "messages were missed for good: history_size or history_ttl is too small for this absence"
        )
    return found
