"""The command line. Modules are imported by the command that needs them, so that `--help` is quick."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import structlog
import typer

from gateway import logs
from gateway.backend.base import Backend
from gateway.cli.capacity import capacity
from gateway.cli.config import ConfigOption, config_app, load_or_exit
from gateway.cli.doctor import doctor
from gateway.cli.handlers import load_handlers
from gateway.cli.loadtest import loadtest
from gateway.cli.nginx import nginx
from gateway.config import ConfigError, Settings, dev_settings, find_config, load
from gateway.config.advice import advise
from gateway.errors import GatewayException
from gateway.server import Server, run
from gateway.sockets import bind_all
from gateway.supervisor import Assignment, Supervisor, watch_supervisor
from gateway.version import __version__

log = structlog.get_logger()

app = typer.Typer(
    help="wx-gateway: the realtime gateway for WeChat mini-programs. Start with `gateway dev`.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)

HandlersArgument = Annotated[
    str,
    typer.Argument(
        metavar="[MODULE:NAME]",
        help="Your handlers: a `Gateway` object in a Python module, such as `shop:gw`.",
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
def dev(
    handlers: HandlersArgument = "",
    config: ConfigOption = None,
    reload: Annotated[bool, typer.Option("--reload", help="Start again when a Python file changes.")] = False,
    watched: Annotated[bool, typer.Option("--watched", hidden=True)] = False,
) -> None:
    """Everything in one process, nothing to install: memory broker, sandbox WeChat, a page to try it on.

    Signs anybody in as anybody: for laptops and tests.

    \b
      gateway dev                    then open the page that it names
      gateway dev shop:gw --reload   with your handlers, again when a file changes
    """
    if reload:
        from gateway.cli.reload import run_reloading

        arguments = [handlers] if handlers else []
        arguments += ["--config", str(config)] if config else []
        raise typer.Exit(run_reloading(arguments, Path.cwd()))
    try:
        path = find_config(config, os.environ)
        settings = dev_settings(path, os.environ)
    except ConfigError as error:
        typer.echo(error, err=True)
        raise typer.Exit(2) from None
    _serve(
        settings,
        load_handlers(handlers),
        dev=True,
        started=lambda server: _greet(server, settings, path),
        watch=watch_supervisor if watched else None,
    )


@app.command()
def serve(
    handlers: HandlersArgument = "",
    config: ConfigOption = None,
    workers: Annotated[
        int,
        typer.Option(min=1, max=256, help="Processes for sockets; from 2 on one more for HTTP. Needs Redis."),
    ] = 1,
    only: Annotated[
        str, typer.Option(help="Run just one side: `websocket` or `http`.", show_default=False)
    ] = "",
) -> None:
    """Run the gateway as gateway.toml and GATEWAY_* variables say.

    `gateway config docs` has every key; `gateway config check` comes before a deployment.

    SIGHUP reads the configuration again without closing a socket.

    \b
      gateway serve                          one process
      gateway serve shop:gw --workers 4      your handlers in four, joined by Redis
      gateway serve --only http              for a machine of its own
    """
    path, loaded = load_or_exit(config)
    if only not in ("", "websocket", "http"):
        typer.echo(f'--only {only}: write "websocket" or "http"', err=True)
        raise typer.Exit(2)
    if workers > 1 and only != "http":
        _supervise(loaded.settings, workers, path, handlers)
    listeners = {"websocket": ("websocket", "internal"), "http": ("http", "internal")}.get(only)
    _serve(
        loaded.settings,
        load_handlers(handlers),
        started=lambda _: _advise(loaded.settings),
        listeners=listeners,
        reload=lambda: load(path, os.environ),
    )


@app.command(hidden=True)
def worker(assignment: str) -> None:
    """One process of `serve --workers`; started by it, not by people."""
    task = Assignment.from_json(assignment)
    path = Path(task.config) if task.config else None

    def read() -> Settings:
        return load(path, os.environ, {"listen": {"http": task.http}})

    sockets = {name: socket.socket(fileno=descriptor) for name, descriptor in task.sockets.items()}
    _serve(read(), load_handlers(task.handlers), sockets=sockets, reload=read, watch=watch_supervisor)


# `--help` lists them in this order, behind those above.
for command in (doctor, nginx, loadtest, capacity):
    app.command()(command)
app.add_typer(config_app, name="config")


def _supervise(settings: Settings, workers: int, path: Path | None, handlers: str) -> NoReturn:
    logs.setup(settings.log.level, settings.log.format)
    load_handlers(handlers)  # a mistake in them is told once, before anything starts

    async def supervise() -> int:
        supervisor = Supervisor(
            settings, workers, config=path, handlers=handlers, reload=lambda: load(path, os.environ)
        )
        return await supervisor.run(lambda each: _supervised(each, settings))

    _exit_with(lambda: asyncio.run(supervise()))


def _supervised(supervisor: Supervisor, settings: Settings) -> None:
    log.info("the processes are started", **supervisor.ports)
    _advise(settings)


def _advise(settings: Settings) -> None:
    for line in advise(settings):
        log.warning("before production", advice=line)


def _serve(
    settings: Settings,
    backend: Backend,
    *,
    dev: bool = False,
    started: Callable[[Server], None] = lambda server: None,
    listeners: tuple[str, ...] | None = None,
    sockets: dict[str, socket.socket] | None = None,
    reload: Callable[[], Settings] | None = None,
    watch: Callable[[Callable[[], None]], None] | None = None,
) -> NoReturn:
    import uvloop

    logs.setup(settings.log.level, settings.log.format)

    async def run_server() -> int:
        bound = bind_all(settings, listeners) if listeners else sockets
        server = Server(settings, backend, sockets=bound, dev=dev)
        return await run(server, started, reload=reload, watch=watch)

    _exit_with(lambda: uvloop.run(run_server()))


def _exit_with(serve_until_done: Callable[[], int]) -> NoReturn:
    try:
        code = serve_until_done()
    except GatewayException as error:
        typer.echo(f"gateway cannot start: {error}", err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(code)


def _greet(server: Server, settings: Settings, path: Path | None) -> None:
    wechat = "a sandbox for WeChat" if settings.wechat.sandbox else "WeChat itself"
    source = f", as {path} says" if path else ""
    # Printed only where everybody knows it: the key of a file is nothing for a terminal that others see.
    keys = [key.get_secret_value() for key in settings.api.keys]
    key = "dev" if "dev" in keys else "<one of api.keys>"
    http, internal = server.ports["http"], server.ports["internal"]
    publish = '\'{"channel":"news","data":{"text":"hello"}}\''
    typer.echo(
        f"\n  wx-gateway {__version__} runs, with {wechat}{source}.\n\n"
        f"  Open   http://127.0.0.1:{http}/\n"
        f"  Try    curl -H 'X-API-Key: {key}' -d {publish} http://127.0.0.1:{internal}/api/publish\n"
        "  End    Ctrl-C\n"
    )


def main() -> None:
    """The `gateway` command."""
    app()
