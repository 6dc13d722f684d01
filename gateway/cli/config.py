"""`gateway config check | show | docs`: look at the configuration without starting anything."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from gateway.config import ConfigError, Loaded, find_config, load_with_origins
from gateway.config.advice import advise
from gateway.config.doc import markdown, summary, toml

USAGE_ERROR = 2
"""Exit code for a configuration that cannot start, the same as for a wrong command line."""

config_app = typer.Typer(
    name="config",
    help="Check, show and explain the configuration.",
    no_args_is_help=True,
    # A traceback with local variables would print secrets.
    pretty_exceptions_show_locals=False,
)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="The TOML file; else $GATEWAY_CONFIG, else ./gateway.toml where there is one.",
        show_default=False,
    ),
]


def load_or_exit(config: Path | None) -> tuple[Path | None, Loaded]:
    """The configuration and its file; or every problem on standard error, and exit code 2."""
    path = find_config(config, os.environ)
    try:
        return path, load_with_origins(path, os.environ)
    except ConfigError as error:
        typer.echo(error, err=True)
    raise typer.Exit(USAGE_ERROR)


@config_app.command()
def check(config: ConfigOption = None) -> None:
    """Say what would run and what should not stay, or everything that is wrong (exit code 2)."""
    path, loaded = load_or_exit(config)
    typer.echo(f"OK: {path or 'no file, defaults and environment only'}")
    typer.echo(summary(loaded.settings))
    for line in advise(loaded.settings):
        typer.echo(f"before production: {line}")


@config_app.command()
def show(config: ConfigOption = None) -> None:
    """Print every value in force as TOML, with its origin; secrets are masked."""
    _, loaded = load_or_exit(config)
    typer.echo(toml(loaded), nl=False)


@config_app.command()
def docs() -> None:
    """Print the reference of every key as Markdown: docs/configuration.md."""
    typer.echo(markdown(), nl=False)
