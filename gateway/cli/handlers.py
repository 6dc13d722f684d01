"""From `shop:gw` on the command line to the `Gateway` object, or to a text that says what is wrong."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import typer

from gateway.backend.app import Gateway
from gateway.backend.base import Backend, NoBackend
from gateway.errors import GatewayError

DEFAULT_NAMES = ("gw", "gateway")
"""Looked for where only a module is given."""


def load_handlers(handlers: str) -> Backend:
    """The object at `module:name`; no backend where `handlers` is empty. Exits with 2 where there is none."""
    if not handlers:
        return NoBackend()
    module_name, _, name = handlers.partition(":")
    if module_name.endswith(".py") or "/" in module_name:
        dotted = module_name.removesuffix(".py").strip("./").replace("/", ".")
        _give_up(f"{module_name} is a file: write the module, {dotted}:{name or DEFAULT_NAMES[0]}")
    sys.path.insert(0, str(Path.cwd()))
    module = _import(module_name)
    names = [name] if name else [*DEFAULT_NAMES]
    found = next((getattr(module, each) for each in names if hasattr(module, each)), None)
    if isinstance(found, Gateway):
        return found
    there = [each for each, value in vars(module).items() if isinstance(value, Gateway)]
    hint = f"; it has {', '.join(f'{module_name}:{each}' for each in there)}" if there else ""
    if found is not None:
        hint = f", but a {type(found).__name__}{hint}"
    _give_up(f"{module_name} has no Gateway object named {' or '.join(map(repr, names))}{hint}")


def _import(module_name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            _give_up(f"no module {error.name!r} in {Path.cwd()} or on the Python path")
        problem: BaseException = error
    except GatewayError as error:  # a handler that cannot be registered
        _give_up(f"{module_name}: {error}")
    except Exception as error:
        problem = error
    # Their frames only: neither ours nor those of the import system say anything to the one who reads.
    frames = [
        frame
        for frame in traceback.extract_tb(problem.__traceback__)
        if "importlib" not in frame.filename and frame.filename != __file__
    ]
    lines = [*traceback.format_list(frames), *traceback.format_exception_only(problem)]
    _give_up(f"{module_name} cannot be imported:\n\n{''.join(lines).rstrip()}")


def _give_up(text: str) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(2)
