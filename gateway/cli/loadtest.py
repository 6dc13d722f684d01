"""`gateway loadtest`: drives a deployment as many phones would, and says pass or fail."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.config.units import parse_duration, parse_size

if TYPE_CHECKING:
    from gateway.loadtest.result import Result
    from gateway.loadtest.scenario import Scenario
    from gateway.loadtest.target import Target

FAILED, USAGE_ERROR = 1, 2


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _option(panel: str) -> Callable[..., Any]:
    def option(*names: str, help: str, **more: Any) -> Any:
        return typer.Option(*names, help=help, rich_help_panel=panel, show_default=False, **more)

    return option


_aim, _load, _limit, _out = (
    _option(panel) for panel in ("Where to", "What", "Must hold, else exit code 1", "What comes out")
)
_TIME: Any = {"parser": _duration, "metavar": "TIME"}
_SIZE: Any = {"parser": _size, "metavar": "SIZE"}


def loadtest(
    scenario: Annotated[
        str,
        typer.Argument(
            help="idle, ramp, fanout, rooms, personal, rpc, storm, slow, mixed, files; or a .toml of yours."
        ),
    ] = "fanout",
    scenario_option: Annotated[str, _load("--scenario", help="The same as an option.")] = "",
    clients: Annotated[int | None, _load("--clients", "-n", help="Sockets.", min=1)] = None,
    duration: Annotated[Any, _load("--duration", help="Once all are connected: 30s, 5m.", **_TIME)] = None,
    rate: Annotated[float, _load("--rate", help="Publications (else RPC, files) in a second.", min=0)] = 0,
    connect_rate: Annotated[float, _load("--connect-rate", help="Connects in a second.", min=0)] = 0,
    size: Annotated[Any, _load("--size", help="Data of a publication: 128B, 16KB.", **_SIZE)] = None,
    processes: Annotated[
        int, _load("--processes", help="Of sockets. Without: by sockets and cores.", min=0, max=256)
    ] = 0,
    url: Annotated[str, _aim("--url", help="The socket: wss://api.example.com")] = "",
    http: Annotated[str, _aim("--http", help="For files and the sandbox: https://api.example.com")] = "",
    api: Annotated[str, _aim("--api", help="The server API: http://10.0.0.5:9000/api")] = "",
    api_key: Annotated[str, _aim("--api-key", help="Its key.", envvar="LOADTEST_API_KEY")] = "",
    secret: Annotated[
        str,
        _aim(
            "--secret", help="Sign in with JWTs of this client.token_hmac_secret.", envvar="LOADTEST_SECRET"
        ),
    ] = "",
    tokens: Annotated[
        Path | None, _aim("--tokens", help="Sign in with this file's tokens, one a line.")
    ] = None,
    anonymous: Annotated[bool, _aim("--anonymous", help="Sign in as nobody.")] = False,
    ca: Annotated[str, _aim("--ca", help="A certificate to trust, PEM.")] = "",
    insecure: Annotated[bool, _aim("--insecure", help="Trust any certificate.")] = False,
    source: Annotated[
        list[str] | None,
        _aim("--source", help="Address to connect from; repeat it past 28,000 sockets (not for 127.0.0.1)."),
    ] = None,
    mine: Annotated[bool, _aim("--yes-this-is-mine", help="Needed for every machine but this one.")] = False,
    start: Annotated[bool, _aim("--start", help="Start a gateway of its own, whatever else runs.")] = False,
    p50: Annotated[Any, _limit("--p50", help="Median latency of messages.", **_TIME)] = None,
    p99: Annotated[Any, _limit("--p99", help="99th percentile of it: 50ms.", **_TIME)] = None,
    maximum: Annotated[Any, _limit("--max", help="The slowest message.", **_TIME)] = None,
    connect_p99: Annotated[Any, _limit("--connect-p99", help="Connect and subscribe.", **_TIME)] = None,
    rpc_p99: Annotated[Any, _limit("--rpc-p99", help="RPC.", **_TIME)] = None,
    back: Annotated[Any, _limit("--back", help="Storm: until the last one has recovered.", **_TIME)] = None,
    lost: Annotated[int | None, _limit("--lost", help="Messages that never came.", min=0)] = None,
    duplicated: Annotated[int | None, _limit("--duplicated", help="That came twice.", min=0)] = None,
    reordered: Annotated[int | None, _limit("--reordered", help="That came late.", min=0)] = None,
    errors: Annotated[int | None, _limit("--errors", help="All else that went wrong.", min=0)] = None,
    wechat_calls: Annotated[
        int | None, _limit("--wechat-calls", help="Calls to WeChat once all are connected.", min=0)
    ] = None,
    html: Annotated[Path | None, _out("--html", help="A page with charts.")] = None,
    json: Annotated[Path | None, _out("--json", help="Everything, to compare runs; - prints it.")] = None,
    print_scenario: Annotated[
        str, _out("--print-scenario", metavar="NAME", help="Print a scenario as TOML, to start yours from.")
    ] = "",
) -> None:
    """Drive a gateway as many phones would: connect, publish, count every message, say pass or fail.

    Without --url it takes the `gateway dev` of this machine, or starts a gateway of its own if none runs.

    \b
      gateway loadtest                         1,000 phones in a channel
      gateway loadtest storm -n 5000           all drop at once and come back
      gateway loadtest mixed --html shop.html  a shop's evening, with charts
      gateway loadtest --print-scenario rooms > my.toml
      gateway loadtest my.toml --p99 50ms --lost 0
      gateway loadtest --url wss://api.example.com --yes-this-is-mine …

    Exit codes: 0 all thresholds hold, 1 one does not, 2 it could not begin. More: docs/load-test.md
    """
    from gateway.errors import GatewayException
    from gateway.loadtest import scenario as scenarios
    from gateway.loadtest.target import Target, check

    limits = {
        "p50": p50, "p99": p99, "max": maximum, "connect_p99": connect_p99, "rpc_p99": rpc_p99, "back": back,
        "lost": lost, "duplicated": duplicated, "reordered": reordered, "errors": errors,
        "wechat_calls": wechat_calls,
    }  # fmt: skip
    try:
        if print_scenario:
            typer.echo(scenarios.text_of(print_scenario), nl=False)
            return
        values = scenarios.load(scenario_option or scenario)
        _override(values, {"count": clients, "per_second": connect_rate}, duration, rate, size)
        values.setdefault("pass", {}).update(
            {name: each for name, each in limits.items() if each is not None}
        )
        wanted = scenarios.check(values)
        target = None
        if not start:
            target = _target(
                Target(
                    url=url, http=http, api=api, key=api_key, secret=secret, ca=ca, verify=not insecure,
                    sources=tuple(source or ()), tokens=_lines(tokens),
                    way=_way(secret, tokens, anonymous),
                )
            )  # fmt: skip
        if target is not None:
            check(target, own=mine)
            if ca and not Path(ca).is_file():
                raise typer.BadParameter(f"--ca {ca}: no such file")
        result = _run(wanted, target, processes)
    except GatewayException as error:
        typer.echo(error, err=True)
        raise typer.Exit(USAGE_ERROR) from None
    _write(result, html, json)
    if not result.passed:
        raise typer.Exit(FAILED)


def _override(
    values: dict[str, Any], clients: dict[str, float | None], duration: Any, rate: float, size: Any
) -> None:
    """What the command line says wins over the file."""
    values.setdefault("clients", {}).update({name: each for name, each in clients.items() if each})
    if duration is not None:
        values["duration"] = duration
    tables = [*values.get("publish", []), *(values.get("rpc", []) if not values.get("publish") else [])]
    if not tables and "files" in values:
        tables = [values["files"]]
    before = sum(each.get("per_second", 0) for each in tables)
    for each in tables:
        if rate and before:
            each["per_second"] = each["per_second"] * rate / before
        if size is not None:
            each["size"] = size


def _way(secret: str, tokens: Path | None, anonymous: bool) -> str:
    if anonymous:
        return "anonymous"
    return "secret" if secret else "tokens" if tokens is not None else "sandbox"


def _lines(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except OSError as error:
        raise typer.BadParameter(f"--tokens {path}: {error.strerror}") from None


def _target(given: Target) -> Target | None:
    """What is aimed at; None: nobody runs here, so it starts one."""
    from dataclasses import replace

    from gateway.loadtest.target import DEV_API, DEV_HTTP, DEV_KEY, DEV_URL, answers

    if given.url:
        return given
    if not answers(DEV_URL):
        return None
    return replace(
        given, url=DEV_URL, http=given.http or DEV_HTTP, api=given.api or DEV_API, key=given.key or DEV_KEY
    )


def _run(scenario: Scenario, target: Target | None, processes: int) -> Result:
    import asyncio

    from rich.console import Console

    from gateway.loadtest import show
    from gateway.loadtest.own import own_gateway
    from gateway.loadtest.run import Run

    console = Console(highlight=False, stderr=True)
    count = processes or _processes(scenario.clients.count)

    async def run() -> Result:
        if target is not None:
            return await Run(scenario, target, count, screen.show).run()
        console.print("A gateway of its own is started for this test.")
        async with own_gateway() as (own, _):
            return await Run(scenario, own, count, screen.show).run()

    with show.Screen(console) as screen:
        result = asyncio.run(run())
    show.show(result, console)
    return result


def _processes(clients: int) -> int:
    """As many as leave a core for the gateway, and as the limit on open files asks for."""
    import resource

    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = -(-clients // max(1, min(files, 1_000_000) - 200))
    return max(1, needed, min((os.cpu_count() or 2) - 1, -(-clients // 5000)))


def _write(result: Result, html: Path | None, json: Path | None) -> None:
    import msgspec

    from gateway.loadtest.page import page

    if html is not None:
        html.write_text(page(result), encoding="utf-8")
    if json is not None:
        text = msgspec.json.format(msgspec.json.encode(result), indent=1).decode()
        if str(json) == "-":
            typer.echo(text)
        else:
            json.write_text(text + "\n", encoding="utf-8")
