"""`gateway doctor`: what a phone would find at a domain."""

from __future__ import annotations

import os
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.config import USAGE_ERROR, ConfigOption, load_or_exit


def doctor(
    domain: Annotated[str, typer.Option(help="The name that phones use, such as api.example.com.")],
    wechat: Annotated[
        bool,
        typer.Option("--wechat", help="Also ask WeChat whether it accepts each AppID and secret from here."),
    ] = False,
    idle: Annotated[
        float, typer.Option(min=0, help="Seconds to stay connected in silence: 75 finds every 60 s timeout.")
    ] = 0.0,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    config: ConfigOption = None,
    token: Annotated[
        str,
        typer.Option(
            envvar="DOCTOR_TOKEN", help="A session token or JWT; without, one is made from the config."
        ),
    ] = "",
    path: Annotated[str, typer.Option(help="Where the socket is, of servers other than this gateway.")] = "",
    port: Annotated[int, typer.Option(help="For tests: connect there, and judge as if it were 443.")] = 443,
    resolve: Annotated[
        str, typer.Option(metavar="ADDRESS[:PORT]", help="Before DNS points there: connect to this address.")
    ] = "",
    ca: Annotated[
        Path | None, typer.Option(help="Believe this root (PEM) instead of the public ones.", exists=True)
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one step.")] = 10.0,
) -> None:
    """Look at a server as a phone does, from DNS to the idle socket, and say how to fix what is wrong.

    \b
      gateway doctor --domain api.example.com
      gateway doctor --domain api.example.com --resolve 203.0.113.7   before DNS
      gateway doctor --domain api.example.com --idle 75               and stay

    Exit code 0: all is well. 1: it works, but see the lines with `!`. 2: phones will fail.
    """
    from rich.console import Console

    from gateway.doctor.checks import examine
    from gateway.doctor.target import Options

    _, loaded = load_or_exit(config)
    address, resolved_port = _resolve_option(resolve)
    options = Options(
        domain=domain.strip().lower().rstrip("."),
        settings=loaded.settings,
        port=resolved_port or port,
        resolve=address,
        ca=ca,
        token=token,
        idle=idle,
        wechat=wechat,
        timeout=timeout,
    )
    if path:
        options.path = path
    if json:
        report = examine(options)
        typer.echo(report.to_json())
    else:
        console = Console(
            no_color="NO_COLOR" in os.environ or None, width=None if sys.stdout.isatty() else 120
        )
        with console.status("…") as status:
            report = examine(options, lambda name: status.update(f"{name} …"))
        report.show(console)
    raise typer.Exit(report.exit_code)


def _resolve_option(text: str) -> tuple[str, int]:
    """Address and port of `1.2.3.4`, `1.2.3.4:8443`, `[::1]:8443`."""
    if not text:
        return "", 0
    host, _, port = text.rpartition(":") if text.count(":") == 1 or "]:" in text else (text, "", "")
    try:
        return str(ip_address(host.strip("[]"))), int(port or 0)
    except ValueError:
        typer.echo(f'--resolve {text}: write an address, "203.0.113.7" or "203.0.113.7:8443"', err=True)
        raise typer.Exit(USAGE_ERROR) from None
