"""Every setting of the gateway, one row each: type, default with its unit, and what it is for.

A new setting is a new row here and nothing else: the TOML key, the environment variable, `config show` and
docs/configuration.md follow from it. The text below a row is its help, written for the one who runs the
gateway: what it does, when to change it. A combination that must not start belongs in `rules`. Sections that
are long, or that a room below keeps to itself, have a file of their own beside this one.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from gateway.config.backend import Backend
from gateway.config.channels import Channels
from gateway.config.client import Client
from gateway.config.files import Files
from gateway.config.inbox import Inbox, Notify
from gateway.config.online import Online
from gateway.config.safety import Safety
from gateway.config.types import (
    Address,
    Duration,
    EncryptionKey,
    Flag,
    KeyPath,
    Kind,
    Name,
    Networks,
    Origins,
    Positive,
    PositiveDuration,
    PositiveSize,
    RedisUrl,
    RedisUrls,
    Rows,
    Secret,
    Secrets,
    Texts,
    choice,
    decode_key,
)
from gateway.config.units import DAY, HOUR, KB, MB, SECOND
from gateway.config.wechat import WeChat


class Listen(Rows):
    """Where the three listeners are. Only nginx should reach the first two, only your backend the third."""

    websocket: Address = "127.0.0.1:8000"
    """Phones connect here: `/connection/websocket`."""
    http: Address = "127.0.0.1:8001"
    """The public HTTP side: sign-in, files, WeChat's callbacks."""
    internal: Address = "127.0.0.1:9000"
    """Server API, metrics and health. Never reachable from the internet."""
    backlog: Positive = 4096
    """Connections the kernel holds while a node is busy accepting. Raise it together with the system's
    `net.core.somaxconn` when many phones come back at once."""


class Redis(Rows):
    """Redis joins several processes or machines into one gateway."""

    url: RedisUrl = ""
    """Empty: one process with history and sessions in memory, lost at a restart. Otherwise for example
    `redis://:password@10.0.0.5:6379/0`, `rediss://…` for TLS. Needed from the second worker on."""
    shards: RedisUrls = ()
    """More Redis servers, for when one is not enough: channels and users are spread over `url` and these by
    consistent hashing. Every node needs the same list."""
    prefix: Name = "wxgw"
    """Start of every key. Change it to let two gateways share one Redis."""


class Http(Rows):
    """The public HTTP side, for pages of other origins and for people who read its documentation."""

    allowed_origins: Origins = ()
    """Pages that may call it from a browser, such as `https://h5.example.com`: the H5 build of your
    mini-program. Empty: none but pages of the same host. `["*"]`: any. Phones send no origin and always
    pass."""
    docs: Flag = True
    """Serve `/docs` and `/openapi.json`: what can be called, and how."""


class Session(Rows):
    """What a signed-in phone keeps: a token instead of a new `wx.login` at every connect."""

    ttl: PositiveDuration = 7 * DAY
    """How long a token lives after it was last used. Shorter signs idle users out sooner."""
    encryption_key: EncryptionKey = SecretStr("")
    """32 bytes as base64 or hex (`openssl rand -base64 32`) that encrypt WeChat's session keys at rest.
    Empty: a random key per process, allowed only without Redis. After a change each user has to sign in once
    more before open data can be read."""

    def key(self) -> bytes | None:
        """The 32 bytes of `encryption_key`, or None where each process makes its own."""
        text = self.encryption_key.get_secret_value()
        return decode_key(text) if text else None


class WebSocket(Rows):
    """The socket itself: sizes, compression, and which pages may open one."""

    message_size_limit: PositiveSize = 64 * KB
    """Largest message a client may send. Bigger data belongs in `POST /files`."""
    queue_size: PositiveSize = 1 * MB
    """Unsent bytes one connection may pile up before it is closed as slow. Bounds memory: this times the slow
    clients you expect."""
    compression: Flag = True
    """permessage-deflate where the client offers it. Turn off if the CPU is busier than the network."""
    allowed_origins: Origins = ()
    """Browser pages that may connect, such as `https://*.example.com`. Empty: only pages of the same host.
    `["*"]`: any. Requests without an Origin header (apps, backends) always pass."""
    trusted_proxies: Networks = ("127.0.0.1/32", "::1/128")
    """Networks whose `X-Forwarded-For` is believed. Add your load balancer's; never the internet."""


class Api(Rows):
    """The server API: how your backend publishes."""

    keys: Secrets = ()
    """Values of `X-API-Key` that are let in. Two at a time let you rotate. Empty: nobody is."""
    max_body: PositiveSize = 16 * MB
    """Largest request. Raise it for big batches."""
    error_mode: Annotated[Literal["body", "transport"], *choice("body", "transport")] = "body"
    """`body`: errors come as 200 with an `error` object. `transport`: as HTTP statuses."""


class Admin(Rows):
    """The dashboard at `/dashboard` of the internal listener: live charts, connections, a desk to publish."""

    password: Secret = SecretStr("")
    """What opens it, 12 characters or more (`openssl rand -base64 18`). Empty: it is off. Changing it logs
    everybody out."""
    session_ttl: PositiveDuration = 12 * HOUR
    """How long a login lasts."""
    hosts: Texts = ()
    """Names under which it may be opened, such as `ops.example.com` of a proxy in front. IP addresses and
    `localhost` always may; others not, because a page of the internet can make its own name point here."""


class Log(Rows):
    """What is logged, to standard error. Tokens, codes and secrets never are."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], *choice("debug", "info", "warning", "error")
    ] = "info"
    """`debug` shows every message without its content: for minutes, not for days."""
    format: Annotated[Literal["auto", "console", "json"], *choice("auto", "console", "json")] = "auto"
    """`auto`: readable on a terminal, JSON lines everywhere else."""


class Shutdown(Rows):
    """Leaving without anybody noticing."""

    timeout: PositiveDuration = 30 * SECOND
    """After the first signal, the longest until exit. Keep it below your supervisor's own limit."""
    drain: Duration = 10 * SECOND
    """Clients are told to go spread over this time, so that they do not come back all at once. Longer with
    more clients."""


class Settings(Rows):
    """The whole configuration of one gateway."""

    listen: Listen = Listen()
    redis: Redis = Redis()
    wechat: WeChat = WeChat()
    http: Http = Http()
    session: Session = Session()
    client: Client = Client()
    websocket: WebSocket = WebSocket()
    channels: Channels = Channels()
    api: Api = Api()
    backend: Backend = Backend()
    online: Online = Online()
    admin: Admin = Admin()
    files: Files = Files()
    inbox: Inbox = Inbox()
    notify: Notify = Notify()
    safety: Safety = Safety()
    log: Log = Log()
    shutdown: Shutdown = Shutdown()


def section_models() -> dict[str, type[Rows]]:
    """The sections of the file by name."""
    return {name: type(field.default) for name, field in Settings.model_fields.items()}


def kind_of(field: FieldInfo) -> Kind:
    """What the row holds."""
    return next(one for one in field.metadata if isinstance(one, Kind))


def find_kind(path: KeyPath) -> Kind | None:
    """The kind of the row that `path` is or is inside of; None for sections and for unknown keys."""
    if len(path) < 2:
        return None
    section, key, *inside = path
    model = section_models().get(str(section))
    field = model.model_fields.get(str(key)) if model else None
    kind = kind_of(field) if field else None
    if kind is None or kind.rows is None or len(inside) < 2:
        return kind
    # inside[0] is the number of the app or the name of the namespace.
    inner = kind.rows.model_fields.get(str(inside[1]))
    return kind_of(inner) if inner else None
