"""Combinations of settings that must not start. A rule is one function; its docstring goes into the docs.

Rules see settings whose single values are all right. Each problem names every key it was found by, so that it
is left out while one of those keys is itself in error and only stands at its default.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gateway.config.channels import ChannelOptions
from gateway.config.rows import Settings
from gateway.config.types import KeyPath
from gateway.config.units import format_duration, format_size, parse_address

NOT_AVAILABLE_YET = ("delta_publish", "allowed_delta_types")
"""Channel options that are accepted at their default only; take a name out the day it works."""

DASHBOARD_PASSWORD = 12
"""Characters of the dashboard's password at least."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One line of a `ConfigError`: the key, what is wrong and the fix, and the other keys it depends on."""

    path: KeyPath
    text: str
    also: tuple[KeyPath, ...] = ()


Rule = Callable[[Settings], Iterator[Problem]]
RULES: list[Rule] = []


def rule(function: Rule) -> Rule:
    RULES.append(function)
    return function


def check_rules(settings: Settings) -> list[Problem]:
    """Every rule that `settings` breaks."""
    return [problem for one in RULES for problem in one(settings)]


def _option_tables(settings: Settings) -> Iterator[tuple[KeyPath, ChannelOptions]]:
    yield ("channels",), settings.channels
    for name, options in settings.channels.namespaces.items():
        yield ("channels", "namespaces", name), options


@rule
def pong_before_ping(settings: Settings) -> Iterator[Problem]:
    """`client.pong_timeout` is shorter than `client.ping_interval`: an answer belongs to one ping."""
    interval = settings.client.ping_interval
    if settings.client.pong_timeout >= interval:
        yield Problem(
            ("client", "pong_timeout"),
            f"make it shorter than client.ping_interval, which is {format_duration(interval)}",
            also=(("client", "ping_interval"),),
        )


@rule
def presence_outlives_interval(settings: Settings) -> Iterator[Problem]:
    """`channels.presence_ttl` is longer than `channels.presence_interval`, or clients flicker."""
    interval = settings.channels.presence_interval
    if settings.channels.presence_ttl <= interval:
        yield Problem(
            ("channels", "presence_ttl"),
            f"make it longer than channels.presence_interval, which is {format_duration(interval)}",
            also=(("channels", "presence_interval"),),
        )


@rule
def drain_within_timeout(settings: Settings) -> Iterator[Problem]:
    """`shutdown.drain` is shorter than `shutdown.timeout`: the rest is for flushing."""
    timeout = settings.shutdown.timeout
    if settings.shutdown.drain >= timeout:
        yield Problem(
            ("shutdown", "drain"),
            f"make it shorter than shutdown.timeout, which is {format_duration(timeout)}",
            also=(("shutdown", "timeout"),),
        )


@rule
def queue_holds_a_message(settings: Settings) -> Iterator[Problem]:
    """`websocket.queue_size` is at least `websocket.message_size_limit`: one message must fit."""
    limit = settings.websocket.message_size_limit
    if settings.websocket.queue_size < limit:
        yield Problem(
            ("websocket", "queue_size"),
            f"make it at least websocket.message_size_limit, which is {format_size(limit)}",
            also=(("websocket", "message_size_limit"),),
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@rule
def sandbox_stays_home(settings: Settings) -> Iterator[Problem]:
    """`wechat.sandbox` needs `listen.http` on loopback: in the sandbox anyone may sign in as anyone."""
    host, port = parse_address(settings.listen.http)
    if settings.wechat.sandbox and not _is_loopback(host):
        yield Problem(
            ("wechat", "sandbox"),
            f'anyone could sign in as anyone: set it to false, or listen.http to "127.0.0.1:{port}"',
            also=(("listen", "http"),),
        )


@rule
def listeners_apart(settings: Settings) -> Iterator[Problem]:
    """The three listeners have addresses of their own."""
    seen: list[tuple[str, str, int]] = []
    for name in ("websocket", "http", "internal"):
        host, port = parse_address(getattr(settings.listen, name))
        for other, other_host, other_port in seen:
            if port and port == other_port and _overlap(host, other_host):
                yield Problem(
                    ("listen", name),
                    f"listen.{other} has the same port: give each listener its own",
                    also=(("listen", other),),
                )
        seen.append((name, host, port))


def _overlap(host: str, other: str) -> bool:
    hosts = {"127.0.0.1" if one == "localhost" else one for one in (host, other)}
    return len(hosts) == 1 or bool(hosts & {"0.0.0.0", "::"})  # noqa: S104 - compared, not bound


@rule
def sessions_survive_nodes(settings: Settings) -> Iterator[Problem]:
    """With `redis.url`, `session.encryption_key` is set: all processes must read the same sessions."""
    if settings.redis.url and not settings.session.encryption_key.get_secret_value():
        yield Problem(
            ("session", "encryption_key"),
            "needed with redis.url; make one with: openssl rand -base64 32",
            also=(("redis", "url"),),
        )


@rule
def apps_have_secrets(settings: Settings) -> Iterator[Problem]:
    """Each of `wechat.apps` has a secret, unless in the sandbox."""
    for index, app in enumerate(settings.wechat.apps):
        if not settings.wechat.sandbox and not app.secret.get_secret_value():
            yield Problem(
                ("wechat", "apps", index, "secret"),
                "put the AppSecret here (mp.weixin.qq.com → development settings), or set wechat.sandbox",
                also=(("wechat", "sandbox"),),
            )


@rule
def apps_differ(settings: Settings) -> Iterator[Problem]:
    """No two of `wechat.apps` have the same appid."""
    first: dict[str, int] = {}
    for index, app in enumerate(settings.wechat.apps):
        if first.setdefault(app.appid, index) != index:
            yield Problem(
                ("wechat", "apps", index, "appid"),
                f"wechat.apps[{first[app.appid]}] has this appid already: remove one of them",
                also=(("wechat", "apps", first[app.appid], "appid"),),
            )


@rule
def callbacks_have_a_token(settings: Settings) -> Iterator[Problem]:
    """`encoding_aes_key` and `callback_channel` of an app need its `callback_token`."""
    for index, app in enumerate(settings.wechat.apps):
        token = ("wechat", "apps", index, "callback_token")
        if not app.callback_token.get_secret_value():
            for name in ("encoding_aes_key", "callback_channel"):
                if getattr(app, name) != type(app).model_fields[name].default:
                    path = ("wechat", "apps", index, name)
                    yield Problem(path, "set callback_token too: it tells WeChat from others", also=(token,))


@rule
def checks_have_an_app(settings: Settings) -> Iterator[Problem]:
    """`content_check` needs `wechat.apps`, and for files their `callback_token` and `files.public_url`."""
    apps, public = settings.wechat.apps, settings.files.public_url or settings.wechat.sandbox
    for path, options in _option_tables(settings):
        key = (*path, "content_check")
        if options.content_check != "off" and not apps:
            yield Problem(key, "it asks WeChat: add your mini-program", also=(("wechat", "apps"),))
        if options.content_check in ("media", "all"):
            for index, app in enumerate(apps):
                if not app.callback_token.get_secret_value():
                    token = ("wechat", "apps", index, "callback_token")
                    yield Problem(key, "set callback_token of each app: verdicts are pushed", also=(token,))
            if not public:
                url = ("files", "public_url")
                yield Problem(key, "set files.public_url: WeChat fetches files there", also=(url,))


@rule
def callback_channels_exist(settings: Settings) -> Iterator[Problem]:
    """The namespace in `callback_channel` of an app is one of `channels.namespaces`."""
    for index, app in enumerate(settings.wechat.apps):
        namespace, colon, _ = app.callback_channel.removeprefix("$").partition(":")
        if colon and namespace not in settings.channels.namespaces:
            yield Problem(
                ("wechat", "apps", index, "callback_channel"),
                "there is no such namespace: add its table under [channels.namespaces]",
                also=(("channels", "namespaces", namespace),),
            )


@rule
def public_key_is_readable(settings: Settings) -> Iterator[Problem]:
    """`client.token_public_key` is a public key in PEM, or a readable file with one."""
    try:
        pem = settings.client.public_key_pem()
        text = _public_key_problem(pem) if pem else ""
    except OSError as error:
        text = f"cannot read this file: {error.strerror}"
    except ValueError:
        text = "not a PEM file"
    if text:
        yield Problem(("client", "token_public_key"), text)


def _public_key_problem(pem: str) -> str:
    if "PRIVATE KEY" in pem:
        return "this is a private key; the gateway needs the public one: openssl pkey -in KEY -pubout"
    try:
        load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        return 'not a public key in PEM ("-----BEGIN PUBLIC KEY-----" and so on)'
    return ""


@rule
def rotation_has_a_present(settings: Settings) -> Iterator[Problem]:
    """`client.token_hmac_previous_secret` needs `client.token_hmac_secret` beside it."""
    client = settings.client
    if (
        client.token_hmac_previous_secret.get_secret_value()
        and not client.token_hmac_secret.get_secret_value()
    ):
        yield Problem(
            ("client", "token_hmac_previous_secret"),
            "there is no client.token_hmac_secret: put the secret there",
            also=(("client", "token_hmac_secret"),),
        )


@rule
def dashboard_password_is_long(settings: Settings) -> Iterator[Problem]:
    """`admin.password` has 12 characters or more: who has it can publish to everybody."""
    password = settings.admin.password.get_secret_value()
    if password and len(password) < DASHBOARD_PASSWORD:
        text = f"use {DASHBOARD_PASSWORD} characters or more, for example from openssl rand -base64 18"
        yield Problem(("admin", "password"), text)


@rule
def history_is_whole(settings: Settings) -> Iterator[Problem]:
    """`history_size` and `history_ttl` are both set or both zero: one alone is half a history."""
    for path, options in _option_tables(settings):
        size, ttl = (*path, "history_size"), (*path, "history_ttl")
        if options.history_size and not options.history_ttl:
            yield Problem(
                ttl, 'half a history: history_size is set, so set this too, for example to "5m"', also=(size,)
            )
        if options.history_ttl and not options.history_size:
            yield Problem(
                size, "half a history: history_ttl is set, so set this too, for example to 100", also=(ttl,)
            )


@rule
def recovery_has_history(settings: Settings) -> Iterator[Problem]:
    """`force_recovery`, `force_positioning`, `auto_cache_recover`, `recovery_mode = "cache"` need history."""
    for path, options in _option_tables(settings):
        needy = {
            "force_recovery": options.force_recovery,
            "force_positioning": options.force_positioning,
            "auto_cache_recover": options.auto_cache_recover,
            "recovery_mode": options.recovery_mode == "cache",
        }
        sources = ((*path, "history_size"), (*path, "history_ttl"))
        if not options.history_size and not options.history_ttl:
            for name in [name for name, wanted in needy.items() if wanted]:
                yield Problem(
                    (*path, name), "needs a history: set history_size and history_ttl", also=sources
                )


@rule
def cache_recovers_a_cache(settings: Settings) -> Iterator[Problem]:
    """`auto_cache_recover` needs `recovery_mode = "cache"`."""
    for path, options in _option_tables(settings):
        if options.auto_cache_recover and options.recovery_mode != "cache":
            mode = (*path, "recovery_mode")
            yield Problem(
                (*path, "auto_cache_recover"), 'needs recovery_mode = "cache" beside it', also=(mode,)
            )


@rule
def personal_namespace_exists(settings: Settings) -> Iterator[Problem]:
    """`client.personal_channel_namespace` names one of `channels.namespaces`."""
    name = settings.client.personal_channel_namespace
    if name and name not in settings.channels.namespaces:
        yield Problem(
            ("client", "personal_channel_namespace"),
            "there is no such namespace: add its table under [channels.namespaces], or leave this empty",
            also=(("channels", "namespaces", name),),
        )


@rule
def namespaces_have_names(settings: Settings) -> Iterator[Problem]:
    """Names of namespaces are two or more of letters, digits, `-` and `_`."""
    for name in settings.channels.namespaces:
        if not re.fullmatch("[-a-zA-Z0-9_]{2,}", name):
            yield Problem(
                ("channels", "namespaces", name),
                "not a name for a namespace: use two or more of a-z, A-Z, 0-9, - and _",
            )


@rule
def proxies_exist(settings: Settings) -> Iterator[Problem]:
    """Every name of an HTTP backend, in `[backend]` and in the namespaces, is one of `backend.proxies`."""
    known = {proxy.name for proxy in settings.backend.proxies}
    events = ("connect", "refresh", "rpc", "send", "upload", "wechat_event", "user_event")
    named: list[tuple[KeyPath, str]] = [
        (("backend", each), getattr(settings.backend, each)) for each in events
    ]
    for path, options in _option_tables(settings):
        keys = ("subscribe_proxy", "publish_proxy", "sub_refresh_proxy")
        named += [((*path, key), getattr(options, key)) for key in keys]
    for path, name in named:
        if name and name not in known:
            yield Problem(
                path, "there is no such proxy: add it as [[backend.proxies]]", also=(("backend", "proxies"),)
            )


@rule
def proxies_differ(settings: Settings) -> Iterator[Problem]:
    """No two of `backend.proxies` have the same name."""
    first: dict[str, int] = {}
    for index, proxy in enumerate(settings.backend.proxies):
        if first.setdefault(proxy.name, index) != index:
            yield Problem(
                ("backend", "proxies", index, "name"),
                f"backend.proxies[{first[proxy.name]}] has this name already",
                also=(("backend", "proxies", first[proxy.name], "name"),),
            )


@rule
def accel_is_local(settings: Settings) -> Iterator[Problem]:
    """`files.accel_location` starts and ends with "/", and is for local files: not with `files.s3_url`."""
    location = settings.files.accel_location
    if location and not re.fullmatch("/[-A-Za-z0-9_./]*", location):
        yield Problem(("files", "accel_location"), 'write a location such as "/protected/"')
    elif location and not location.endswith("/"):
        yield Problem(("files", "accel_location"), "end it with a slash, as the location in nginx ends")
    if location and settings.files.s3_url:
        yield Problem(
            ("files", "accel_location"),
            "files are in S3: leave this empty, downloads are redirected there",
            also=(("files", "s3_url"),),
        )


@rule
def bucket_is_named(settings: Settings) -> Iterator[Problem]:
    """`files.s3_url` has exactly one path segment, the bucket; its two keys are both set or both empty."""
    files = settings.files
    if files.s3_url and not re.fullmatch(r"https?://[^/?#]+/[^/?#]+/?", files.s3_url):
        yield Problem(("files", "s3_url"), "end it with the bucket: https://host/bucket")
    if bool(files.s3_access_key.get_secret_value()) != bool(files.s3_secret_key.get_secret_value()):
        yield Problem(
            ("files", "s3_secret_key"),
            "set s3_access_key and s3_secret_key, or neither",
            also=(("files", "s3_access_key"),),
        )


@rule
def options_are_available(settings: Settings) -> Iterator[Problem]:
    """`delta_publish` and `allowed_delta_types` are not available yet."""
    for path, options in _option_tables(settings):
        for name in NOT_AVAILABLE_YET:
            if getattr(options, name) != ChannelOptions.model_fields[name].default:
                yield Problem((*path, name), "not available yet: leave it out")
