"""Settings written out: the reference in docs/configuration.md, the effective TOML, a one-screen summary.

All three follow the rows; no setting is named here twice.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.config import Loaded, Settings
from gateway.config.backend import Proxy
from gateway.config.channels import ChannelOptions
from gateway.config.rows import kind_of, section_models
from gateway.config.rules import RULES
from gateway.config.showing import describe, redact_url
from gateway.config.tree import variable
from gateway.config.types import KeyPath
from gateway.config.wechat import WeChatApp

_INTRODUCTION = """\
<!-- Written by `gateway config docs`; edit the rows in gateway/config/ instead. -->

# Configuration

One TOML file, and environment variables over it. The file is `--config PATH`, else `$GATEWAY_CONFIG`, else
`./gateway.toml` where there is one; without a file every default below holds. A
[small annotated example](gateway.example.toml) is a good start.

    gateway config check     what would run, or everything that is wrong
    gateway config show      every value in force and where it comes from; secrets masked
    gateway config docs      this page

- **Environment.** The key `ping_interval` of `[client]` is also `{variable}`. Lists are
  comma-separated or JSON; `wechat.apps`,
  `backend.proxies` and `channels.namespaces` are JSON. The environment wins over the
  file: tables are merged key by key, a list replaces the file's list.
- **Durations** are texts such as `"250ms"`, `"25s"`, `"5m"`, `"1h30m"`, `"7d"`, or numbers of seconds.
- **Sizes** are texts such as `"512B"`, `"64KB"`, `"10MB"`, or numbers of bytes. 1 KB is 1024 bytes.
- **Mistakes stop the start.** Unknown keys, unknown `GATEWAY_*` variables, wrong values and
  [impossible combinations](#impossible-combinations) are all reported at once. Secrets are never printed.
"""

_TABLE_HEAD = "| key | what it takes | default | what it does |\n|---|---|---|---|"
_SUMMARY_LIMIT = 8


def markdown() -> str:
    """The reference of every key, as docs/configuration.md holds it."""
    parts = [_INTRODUCTION.format(variable=variable("client", "ping_interval"))]
    for name, model in section_models().items():
        parts.append(f"## [{name}]\n\n{model.__doc__}\n\n{_table(model)}\n")
        if name == "wechat":
            parts.append(f"### [[wechat.apps]]\n\n{WeChatApp.__doc__}\n\n{_table(WeChatApp)}\n")
        if name == "backend":
            parts.append(f"### [[backend.proxies]]\n\n{Proxy.__doc__}\n\n{_table(Proxy)}\n")
        if name == "channels":
            options = f"### [channels] and [channels.namespaces.NAME]\n\n{ChannelOptions.__doc__}"
            parts.append(f"{options}\n\n{_table(ChannelOptions)}\n")
    rules = "\n".join(f"- {one.__doc__}" for one in RULES)
    parts.append(
        f"## Impossible combinations\n\nThe gateway starts only where all of these hold:\n\n{rules}\n"
    )
    return "\n".join(parts)


def _table(model: type[BaseModel]) -> str:
    own = model.model_fields
    if model is section_models()["channels"]:
        # The options follow in a table of their own, since namespaces take them too.
        own = {key: field for key, field in own.items() if key not in ChannelOptions.model_fields}
    return "\n".join([_TABLE_HEAD, *(_table_row(key, field) for key, field in own.items())])


def _table_row(key: str, field: FieldInfo) -> str:
    kind = kind_of(field)
    default = (
        "required" if field.is_required() else "none" if kind.rows else _code(describe(field.default, kind))
    )
    return f"| `{key}` | {kind.name} | {default} | {' '.join((field.description or '').split())} |"


def _code(text: str) -> str:
    return f"`{text}`"


def toml(loaded: Loaded) -> str:
    """The settings in force, as a file the gateway would read, each line with its origin; secrets masked."""
    lines: list[str] = []
    for section in section_models():
        model = getattr(loaded.settings, section)
        lines += [f"[{section}]", *_toml_rows(loaded, (section,), model), ""]
        if section == "wechat":
            for index, app in enumerate(loaded.settings.wechat.apps):
                lines += ["[[wechat.apps]]", *_toml_rows(loaded, ("wechat", "apps", index), app), ""]
        if section == "backend":
            for index, proxy in enumerate(loaded.settings.backend.proxies):
                rows = _toml_rows(loaded, ("backend", "proxies", index), proxy)
                lines += ["[[backend.proxies]]", *rows, ""]
        if section == "channels":
            for name, options in loaded.settings.channels.namespaces.items():
                path = ("channels", "namespaces", name)
                lines += [f"[{'.'.join(path)}]", *_toml_rows(loaded, path, options), ""]
    return "\n".join(lines)


def _toml_rows(loaded: Loaded, path: KeyPath, model: BaseModel) -> Iterator[str]:
    for key, field in type(model).model_fields.items():
        kind = kind_of(field)
        if kind.rows is None:
            value = describe(getattr(model, key), kind)
            yield f"{key} = {value}  # {loaded.origin((*path, key))}"


def summary(settings: Settings) -> str:
    """What would run, on one screen."""
    rows = [
        ("websocket", f"{settings.listen.websocket}, for phones: /connection/websocket"),
        ("http", f"{settings.listen.http}, public: sign-in, files, callbacks"),
        ("internal", f"{settings.listen.internal}, private: server API, metrics, health"),
        ("broker", redact_url(settings.redis.url) or "memory, one process; redis.url is empty"),
        ("sign-in", "; ".join(_sign_ins(settings)) or "nobody: no app, no token, no anonymous clients"),
        ("channels", _channels(settings)),
        (
            "server API",
            f"open to {len(settings.api.keys)} of api.keys"
            if settings.api.keys
            else "closed: api.keys is empty",
        ),
        ("pages", ", ".join(settings.websocket.allowed_origins) or "of the same host"),
    ]
    return "\n".join(f"  {name:<11} {text}" for name, text in rows)


def _sign_ins(settings: Settings) -> Iterator[str]:
    client, wechat = settings.client, settings.wechat
    if wechat.apps:
        yield ("WeChat sandbox " if wechat.sandbox else "WeChat ") + _some([app.appid for app in wechat.apps])
    tokens = {
        "HMAC": client.token_hmac_secret.get_secret_value(),
        "public key": client.token_public_key,
        "JWKS": client.token_jwks_url,
    }
    if any(tokens.values()):
        yield f"JWT by {', '.join(name for name, value in tokens.items() if value)}"
    if client.allow_anonymous:
        yield "anonymous clients"
    if client.insecure:
        yield "INSECURE: everybody may do everything"


def _channels(settings: Settings) -> str:
    names = sorted(settings.channels.namespaces)
    return f"namespaces {_some(names)}" if names else "no namespaces"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SUMMARY_LIMIT} more" if len(names) > _SUMMARY_LIMIT else ""
    return ", ".join(names[:_SUMMARY_LIMIT]) + more
