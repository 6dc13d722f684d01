"""The command line. Modules are imported by the command that needs them, so that `--help` is quick."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from gateway import logs
from gateway.backend.app import Gateway
from gateway.backend.base import Backend, NoBackend
from gateway.cli_config import ConfigOption, config_app, load_or_exit
from gateway.config import ConfigError, Settings, dev_settings, find_config
from gateway.errors import GatewayException
from gateway.server import Server, run
from gateway.version import __version__

app = typer.Typer(
    help="wx-gateway: the realtime gateway for WeChat mini-programs. Start with `gateway dev`.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
app.add_typer(config_app, name="config")

HandlersArgument = Annotated[
    str,
    typer.Argument(
        metavar="[MODULE:NAME]",
        help="Your handlers: a `Gateway` object in a Python module, such as `shop:gateway`.",
        show_default=False,
    ),
]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"wx-gateway {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def dev(handlers: HandlersArgument = "", config: ConfigOption = None) -> None:
    """Everything in one process, nothing to install: memory broker, sandbox WeChat, a page to try it on.

    Signs anybody in as anybody: for laptops and tests.
    """
    try:
        settings = dev_settings(find_config(config, os.environ), os.environ)
    except ConfigError as error:
        typer.echo(error, err=True)
        raise typer.Exit(2) from None
    _serve(settings, _load(handlers), dev=True, started=_greet)


@app.command()
def serve(handlers: HandlersArgument = "", config: ConfigOption = None) -> None:
    """Run the gateway as gateway.toml and GATEWAY_* variables say.

    See `gateway config docs` for every key, and `gateway config check` before a deployment.
    """
    _, loaded = load_or_exit(config)
    _serve(loaded.settings, _load(handlers), dev=False)


def _serve(
    settings: Settings,
    backend: Backend,
    *,
    dev: bool,
    started: Callable[[Server], None] = lambda server: None,
) -> None:
    import uvloop

    logs.setup(settings.log.level, settings.log.format)
    try:
        code = uvloop.run(_run(settings, backend, dev, started))
    except GatewayException as error:
        typer.echo(f"gateway cannot start: {error}", err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(code)


async def _run(settings: Settings, backend: Backend, dev: bool, started: Callable[[Server], None]) -> int:
    asyncio.get_running_loop().slow_callback_duration = 0.1
    return await run(Server(settings, backend, dev=dev), started)


def _greet(server: Server) -> None:
    http, internal = server.ports["http"], server.ports["internal"]
    publish = '\'{"channel":"news","data":{"text":"hello"}}\''
    typer.echo(
        f"\n  wx-gateway {__version__} runs, with a sandbox for WeChat.\n\n"
        f"  Open   http://127.0.0.1:{http}/\n"
        f"  Try    curl -H 'X-API-Key: dev' -d {publish} http://127.0.0.1:{internal}/api/publish\n"
        "  End    Ctrl-C\n"
    )


def _load(handlers: str) -> Backend:
    """The `Gateway` object at `module:name`."""
    if not handlers:
        return NoBackend()
    module_name, _, name = handlers.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        typer.echo(f"no module {module_name!r} in {Path.cwd()} or on the Python path", err=True)
        raise typer.Exit(2) from None
    backend = getattr(module, name or "gateway", None)
    if not isinstance(backend, Gateway):
        typer.echo(f"{module_name} has no Gateway object named {name or 'gateway'!r}", err=True)
        raise typer.Exit(2)
    return backend


def main() -> None:
    """The `gateway` command."""
    app()
