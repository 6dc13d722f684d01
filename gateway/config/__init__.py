"""The configuration: one TOML file and `GATEWAY_*` variables in, frozen `Settings` or every problem out.

Layers, the later wins: the defaults of the rows, development defaults (only `gateway dev`), the file,
the environment, the command line. Tables merge key by key, a list replaces the list below it. The rows
themselves are in `rows`, combinations that must not start in `rules`.

Problems are collected, never raised one at a time: who deploys fixes them all in one go. And no text here
holds a value that did not pass `show_value`, which knows what a secret is.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.config.channels import ChannelOptions
from gateway.config.rows import Settings, find_kind, section_models
from gateway.config.rules import Problem, check_rules
from gateway.config.showing import describe, show_value
from gateway.config.tree import (
    COMMAND_LINE,
    CONFIG_VARIABLE,
    DEVELOPMENT,
    FILE,
    Tree,
    merge_environment,
    origin_of,
    read_file,
    write_instead,
)
from gateway.config.types import KeyPath
from gateway.errors import GatewayException

__all__ = [
    "DEV_DEFAULTS",
    "ChannelOptions",
    "ConfigError",
    "Loaded",
    "Settings",
    "dev_settings",
    "find_config",
    "load",
    "load_with_origins",
]

DEFAULT_FILE = Path("gateway.toml")

_DEV_CHANNEL_OPTIONS: dict[str, Any] = {
    "presence": True,
    "join_leave": True,
    "history_size": 100,
    "history_ttl": "10m",
    "force_recovery": True,
    "allow_subscribe_for_client": True,
    "allow_publish_for_subscriber": True,
    "allow_presence_for_subscriber": True,
    "allow_history_for_subscriber": True,
    "allow_user_limited_channels": True,
}
_DEV_ORDER_OPTIONS: dict[str, Any] = {
    "history_size": 100,
    "history_ttl": "10m",
    "force_recovery": True,
    "allow_user_limited_channels": True,
}
LOCAL_PAGES = ["http://localhost:*", "http://127.0.0.1:*"]
"""Pages of this machine: that of `gateway dev`, and H5 builds under development. None of the internet."""
DEV_DEFAULTS: dict[str, Any] = {
    "wechat": {"sandbox": True, "apps": [{"appid": "wxsandbox00000000", "secret": "sandbox-secret"}]},
    "channels": {
        **_DEV_CHANNEL_OPTIONS,
        "namespaces": {"chat": _DEV_CHANNEL_OPTIONS, "order": _DEV_ORDER_OPTIONS},
    },
    "websocket": {"allowed_origins": LOCAL_PAGES},
    "http": {"allowed_origins": LOCAL_PAGES},
    "api": {"keys": ["dev"]},
    "online": {"enabled": True},
    "log": {"format": "console"},
    "shutdown": {"drain": "0s"},
}
"""A laptop's gateway: what a tutorial does works at once. The user's own values win, key by key."""

_VALUE_LIMIT = 80
"""Characters of a wrong value that are repeated: enough to find it, one line in any case."""


class ConfigError(GatewayException):
    """The configuration cannot start; `problems` has one line for each reason, all of them safe to print."""

    def __init__(self, problems: Iterable[str], path: Path | None = None) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        where = f" ({path} and the environment)" if path else ""
        super().__init__("\n  ".join([f"{count} in the configuration{where}:", *self.problems]))


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and where each value that is not a default came from."""

    settings: Settings
    origins: Mapping[KeyPath, str]

    def origin(self, path: KeyPath) -> str:
        """`default`, `development`, `file`, `environment GATEWAY_…` or `command line`."""
        return origin_of(self.origins, path)


def find_config(option: Path | None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The file to load: `--config`, else `$GATEWAY_CONFIG`, else ./gateway.toml where there is one."""
    if option is not None:
        return option
    if environ.get(CONFIG_VARIABLE):
        return Path(environ[CONFIG_VARIABLE])
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def load(
    path: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """The settings of the file at `path` (None: no file), of `environ` over it, of `overrides` over both.

    `overrides` has the shape of the file: `{"listen": {"http": "127.0.0.1:0"}}`. Raises `ConfigError` with
    every problem at once.
    """
    return load_with_origins(path, environ, overrides).settings


def dev_settings(
    path: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """The same over `DEV_DEFAULTS`: what `gateway dev` runs."""
    return load_with_origins(path, environ, overrides, DEV_DEFAULTS).settings


def load_with_origins(
    path: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Loaded:
    """What `load` does over `defaults`, remembering where each value came from."""
    tree = Tree()
    problems, values = read_file(path) if path is not None else ([], {})
    tree.merge(defaults or {}, DEVELOPMENT)
    tree.merge(values, FILE)
    problems += merge_environment(tree, environ)
    tree.merge(overrides or {}, COMMAND_LINE)
    _forget_sandbox_app(tree)
    settings, more = _validate(tree)
    if problems or more:
        raise ConfigError([*problems, *more], path)
    return Loaded(settings, tree.origins)


def _forget_sandbox_app(tree: Tree) -> None:
    # Who turns the sandbox off means WeChat itself, which has never heard of the sandbox's app.
    wechat = tree.values.get("wechat")
    if isinstance(wechat, dict) and wechat.get("sandbox") is False:
        if tree.origins.get(("wechat", "apps")) == DEVELOPMENT:
            del wechat["apps"], tree.origins["wechat", "apps"]


def _validate(tree: Tree) -> tuple[Settings, list[str]]:
    details = _field_problems(tree)
    lines = [_field_line(tree, detail) for detail in details]
    broken = [detail["loc"] for detail in details]
    for path in broken:
        tree.remove(path)
    settings = Settings.model_validate(tree.values)
    rules = [problem for problem in check_rules(settings) if not _rests_on(problem, broken)]
    return settings, lines + [_rule_line(tree, settings, problem) for problem in rules]


def _field_problems(tree: Tree) -> list[ErrorDetails]:
    # Out of the except block before anything is raised: pydantic's error holds the values, secrets too, and
    # must not travel along as somebody's context.
    try:
        Settings.model_validate(tree.values)
    except ValidationError as error:
        return error.errors(include_url=False)
    return []


def _rests_on(problem: Problem, broken: Sequence[KeyPath]) -> bool:
    """Whether the rule saw a default where the user wrote something that is reported already."""
    return any(path[: len(bad)] == bad for path in (problem.path, *problem.also) for bad in broken)


def _field_line(tree: Tree, detail: ErrorDetails) -> str:
    path, kind = detail["loc"], find_kind(detail["loc"])
    where = _where(tree, path)
    match detail["type"]:
        case "extra_forbidden":
            return f"{where}: unknown key{_hint(path, detail['input']) or '; remove it'}"
        case "missing":
            return f"{where}: missing, it cannot be left out"
        case "value_error":
            return f"{where} = {_cut(show_value(detail['input'], kind))}: {detail['ctx']['error']}"
        case _ if kind is not None:
            return f"{where}: must be {kind.name}"
        case _:
            return f"{where}: must be a table, [{_dotted(path)}]"


def _rule_line(tree: Tree, settings: Settings, problem: Problem) -> str:
    value: Any = settings
    for key in problem.path:
        value = getattr(value, str(key)) if isinstance(value, BaseModel) else value[key]
    where = _where(tree, problem.path)
    if isinstance(value, BaseModel):
        return f"{where}: {problem.text}"
    return f"{where} = {_cut(describe(value, find_kind(problem.path)))}: {problem.text}"


def _where(tree: Tree, path: KeyPath) -> str:
    origin = tree.origin(path)
    return _dotted(path) if origin == FILE else f"{_dotted(path)} ({origin})"


def _dotted(path: KeyPath) -> str:
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            # Quoted as TOML quotes it; a line break in a key must not make two lines.
            text += "." + (
                key if re.fullmatch("[-A-Za-z0-9_]+", key) else json.dumps(key, ensure_ascii=False)
            )
    return text.removeprefix(".")


def _cut(text: str) -> str:
    return text if len(text) <= _VALUE_LIMIT else f"{text[:_VALUE_LIMIT]}…"


def _hint(path: KeyPath, value: object) -> str:
    """What the unknown key at `path` may have meant: a neighbour, the right section, or a namespace."""
    sections = section_models()
    if len(path) == 1:
        return write_instead(str(path[0]), sections) or _elsewhere(path)
    kind = find_kind(path[:2]) if len(path) > 2 else None
    model = kind.rows if kind else sections[str(path[0])]
    near = write_instead(str(path[-1]), model.model_fields if model else ())
    if near or len(path) > 2:
        return near
    if path[0] == "channels" and isinstance(value, Mapping):
        return f", a namespace is written [channels.namespaces.{path[1]}]"
    return _elsewhere(path)


def _elsewhere(path: KeyPath) -> str:
    homes = [name for name, model in section_models().items() if path[-1] in model.model_fields]
    return f", move it to [{homes[0]}]" if homes else ""
