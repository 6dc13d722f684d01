"""`gateway capacity`: cores, memory, Redis, nginx and bandwidth for a load, with the formula shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.config.units import parse_duration, parse_size

if TYPE_CHECKING:
    from gateway.capacity.constants import Constants

USAGE_ERROR = 2


def _seconds(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if not seconds:
        raise typer.BadParameter("must be longer than 0s")
    return seconds


def _bytes(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


_TIME: Any = typer.Option(
    "--reconnect", parser=_seconds, metavar="TIME", help="After an outage, all are back within."
)
_SIZE: Any = typer.Option("--size", parser=_bytes, metavar="SIZE", help="Data of a publication: 128B.")
_MEMORY: Any = typer.Option("--box-memory", parser=_bytes, metavar="SIZE", help="Memory of a machine: 32GB.")


def capacity(
    connections: Annotated[int, typer.Option(min=1, help="Phones connected at a time.")] = 100_000,
    publish_rate: Annotated[float, typer.Option(min=0, help="Publications in a second.")] = 100,
    fanout: Annotated[float, typer.Option(min=0, help="Subscribers of one, on average.")] = 100,
    size: Annotated[Any, _SIZE] = "128B",
    rpc_rate: Annotated[float, typer.Option(min=0, help="RPC calls in a second, all clients together.")] = 0,
    subscriptions: Annotated[int, typer.Option(min=1, help="Of one phone, its own channel among them.")] = 2,
    reconnect: Annotated[Any, _TIME] = "60s",
    box_cores: Annotated[int, typer.Option(min=1, help="Cores of a machine.")] = 8,
    box_memory: Annotated[Any, _MEMORY] = "32GB",
    constants: Annotated[
        Path | None,
        typer.Option(help="Your own measured constants; without: those shipped.", show_default=False),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Measure one process on this machine and compare (a minute).")
    ] = False,
) -> None:
    """What a load needs: cores, memory, Redis shards, nginx, bandwidth, and what gives way first.

    \b
      gateway capacity --connections 1000000 --publish-rate 200 --fanout 500 --reconnect 5m
      gateway capacity --check    holds the formula against this machine

    The formula and its limits: docs/capacity.md
    """
    from gateway.capacity.constants import ConstantsError, load
    from gateway.capacity.formula import Box, Load

    try:
        known = load(constants) if constants is not None else load()
    except ConstantsError as error:
        typer.echo(error, err=True)
        raise typer.Exit(USAGE_ERROR) from None
    if check:
        _check(known)
        return
    _show(
        Load(connections, publish_rate, fanout, size, rpc_rate, subscriptions, reconnect),
        known,
        Box(box_cores, box_memory),
    )


def _show(load: Any, constants: Constants, box: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    from gateway.capacity.formula import need

    console = Console(highlight=False)
    answer = need(load, constants, box)
    table = Table("", "needs", "how", title_justify="left")
    table.columns[1].justify = "right"
    for step in answer.steps:
        value = (
            f"{step.value:,.0f}"
            if step.value == int(step.value) or step.value >= 100
            else f"{step.value:.2f}"
        )
        table.add_row(step.name, f"{value} {step.unit}".strip(), step.how)
    console.print(table)
    gigabytes = box.memory / 1024**3
    console.print(
        f"Machines of {box.cores} cores and {gigabytes:g} GB: {answer.gateway_boxes} for the gateway "
        f"({answer.workers} workers), {answer.nginx_boxes} for nginx; Redis: {answer.shards}"
    )
    first, second = answer.bottlenecks[:2]
    console.print(f"Gives way first: {first.name}; then: {second.name}")
    console.print(f"[dim]Constants of {constants.date}, {constants.machine}[/dim]", soft_wrap=True)


def _check(constants: Constants) -> None:
    import asyncio

    from gateway.capacity.limit import ROOM, find

    typer.echo(
        "One process, rooms of 50, the load rises until p99 passes 50 ms. Leave the machine alone meanwhile."
    )
    limit = asyncio.run(find(constants, 3, typer.echo))
    if limit.error is None:
        typer.echo(
            "No load was held: the machine is busy with something else, or slower than the constants say."
        )
        raise typer.Exit(1)
    typer.echo(
        f"\nmeasured   {limit.measured:,.0f} publications/s × {ROOM} subscribers\n"
        f"predicted  {limit.predicted:,.0f} ({limit.error:+.0%})\n"
        f"CPU of a message at half the load: measured {limit.message:.1f} µs, "
        f"predicted {limit.message_predicted:.1f} µs"
    )
