"""Every setting of the gateway, one row each: type, default with its unit, and what it is for.

A new setting is a new row here and nothing else: the TOML key, the environment variable, `config show` and
docs/configuration.md follow from it. The text below a row is its help, written for the one who runs the
gateway: what it does, when to change it. A combination that must not start belongs in `config_rules`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from gateway.config.backend import Backend
from gateway.config.files import Files
from gateway.config.rows_inbox import Inbox, Notify
from gateway.config.safety import Safety
from gateway.config.types import (
    Address,
    AESKey,
    Count,
    Duration,
    EncryptionKey,
    Flag,
    HttpUrl,
    KeyPath,
    Kind,
    Name,
    Networks,
    Origins,
    Positive,
    PositiveDuration,
    PositiveSize,
    PublicKey,
    RedisUrl,
    RedisUrls,
    Regex,
    Rows,
    Secret,
    Secrets,
    Text,
    Texts,
    choice,
    decode_key,
    tables,
)
from gateway.config.units import DAY, HOUR, KB, MB, SECOND


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


class WeChatApp(Rows):
    """One mini-program, as `[[wechat.apps]]`."""

    appid: Name
    """AppID of the mini-program, `wx…`, from mp.weixin.qq.com."""
    secret: Secret = SecretStr("")
    """AppSecret beside it. It never leaves the server."""
    api_base: HttpUrl = "https://api.weixin.qq.com"
    """Where WeChat's API is. Change it for a proxy, or for a nearer entry such as
    `https://api2.weixin.qq.com`."""
    callback_token: Secret = SecretStr("")
    """The Token that you chose for the message push in the console, whose URL is
    `https://<your domain>/wx/callback`, or `/wx/callback/<appid>` with several apps. Empty: refused."""
    encoding_aes_key: AESKey = SecretStr("")
    """The EncodingAESKey beside it, 43 characters. Needed for the safe and the compatible mode."""
    callback_channel: Text = ""
    """Publish each pushed message to this channel too. Mind who may subscribe to it."""


class WeChat(Rows):
    """Signing users in with the code of `wx.login`."""

    sandbox: Flag = False
    """Use the built-in stand-in for WeChat: anyone may sign in as anyone. For laptops and tests;
    refused unless the http listener is on loopback."""
    apps: Annotated[tuple[WeChatApp, ...], tables(WeChatApp, "[[wechat.apps]]", "list")] = ()
    """The mini-programs served, each with the keys below. Without one, nobody can sign in with a code."""
    timeout: PositiveDuration = 5 * SECOND
    """Longest wait for one call to WeChat. Past it the phone is told to try again."""
    max_sign_ins: Positive = 64
    """Code sign-ins in flight on one node; more are told to come back later. Protects WeChat's quota and the
    node when everybody signs in at once."""
    max_sign_ins_per_ip: Positive = 8
    """The same for one address, so that one machine trying codes does not use up the node's share. Raise it
    if many of your users share an office or a school."""
    sign_ins_per_minute_per_ip: Count = 0
    """Code sign-ins of one address in a minute, over all nodes; an IPv6 address counts as its /64. 0 =
    unlimited. Mobile networks put thousands of phones behind one address: set it only while you have to."""


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


class Client(Rows):
    """Who may connect, and how a connection is watched."""

    allow_anonymous: Flag = False
    """Accept clients without code and token. What they may do is up to the `…_for_anonymous` options."""
    insecure: Flag = False
    """No token needed and everything allowed. For trying things out, never on the internet."""
    token_hmac_secret: Secret = SecretStr("")
    """Accept JWTs of your backend signed with HS256/384/512 and this secret: for pages and dashboards."""
    token_hmac_previous_secret: Secret = SecretStr("")
    """The secret before the present one, still believed. Set it while you rotate, clear it afterwards."""
    token_public_key: PublicKey = ""
    """Accept JWTs signed with the private half of this RSA or EC key. A path is relative to where the gateway
    is started."""
    token_jwks_url: HttpUrl = ""
    """Accept JWTs signed with the keys published there, by an identity provider for example."""
    token_audience: Text = ""
    """If set, JWTs must be issued for this `aud`."""
    token_issuer: Text = ""
    """If set, JWTs must come from this `iss`."""
    personal_channel: Flag = True
    """Subscribe each signed-in user to their own channel `#<openid>`: how you reach one user."""
    personal_channel_namespace: Text = ""
    """Put the personal channel into this namespace, `<namespace>:#<openid>`, to use its options."""
    personal_channel_single_connection: Flag = False
    """One connection per user: a new one ends the others. For apps that allow one device."""
    ping_interval: PositiveDuration = 25 * SECOND
    """How often a quiet connection is pinged. Keep it below the idle timeout of every proxy on the way
    (carriers: often 60s); longer saves phone battery."""
    pong_timeout: PositiveDuration = 8 * SECOND
    """How long the answer may take before the connection is given up. Shorter than `ping_interval`."""
    first_message_timeout: PositiveDuration = 10 * SECOND
    """How long a new connection may take to say who it is; includes the phone's network."""
    expired_close_delay: Duration = 25 * SECOND
    """Grace after a token expired in which the client may bring a new one before it is closed."""
    channel_limit: Positive = 128
    """Channels one connection may subscribe to."""
    user_connection_limit: Count = 8
    """Connections one user may have on one node, 0 = unlimited. Forgotten tabs and stuck phones add up."""
    user_connection_policy: Annotated[
        Literal["replace_oldest", "refuse"], *choice("replace_oldest", "refuse")
    ] = "replace_oldest"
    """At that limit: end the oldest connection, or refuse the new one."""
    address_connection_limit: Count = 0
    """Connections that one address may have, over all nodes; an IPv6 address counts as its /64. Past it a
    connect is answered with error 408. 0 = unlimited. Mobile networks put thousands of phones behind one."""
    commands_per_second: Count = 100
    """Commands one connection may send per second on average, 0 = unlimited. Past it: disconnect 3013."""
    command_burst: Positive = 400
    """Commands it may send at once before the average counts. A reconnect subscribes to everything."""
    max_connections: Count = 0
    """Connections of one process, 0 = as many as it may open files. Above it: HTTP 503; plan 12 KB each."""

    def public_key_pem(self) -> str:
        """The PEM text of `token_public_key`, read from its file where it is a path; "" if not set."""
        text = self.token_public_key
        return text if not text or "-----BEGIN" in text else Path(text).read_text(encoding="ascii")


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


class ChannelOptions(Rows):
    """What a channel can do and who may do it. Everything is off until you turn it on."""

    presence: Flag = False
    """Keep a list of who is in the channel. Costs one Redis write per client per `presence_interval`."""
    join_leave: Flag = False
    """Tell subscribers who comes and goes. Quadratic in big channels: for rooms, not for broadcasts."""
    join_leave_grace: Duration = 0.0
    """Whoever loses the connection and is back in the channel within this time has neither left nor joined,
    for those who hear of joins and leaves. 0s: every reconnect is a leave and a join."""
    force_push_join_leave: Flag = False
    """Send join and leave messages to every subscriber, also without being asked."""
    history_size: Count = 0
    """Messages kept per channel; with `history_ttl` it bounds what a phone can miss and still get."""
    history_ttl: Duration = 0.0
    """How long they are kept. At least as long as a phone may be away and miss nothing."""
    force_recovery: Flag = False
    """Reconnecting clients get what they missed, also without asking. Needs history."""
    force_positioning: Flag = False
    """Detect a lost message on a live connection, also without being asked. Needs history."""
    recovery_mode: Annotated[Literal["stream", "cache"], *choice("stream", "cache")] = "stream"
    """`stream`: every missed message in order. `cache`: only the latest one, for state such as a price."""
    auto_cache_recover: Flag = False
    """With `cache`: a fresh subscriber gets the latest message too."""
    allow_subscribe_for_client: Flag = False
    """Signed-in clients may subscribe."""
    allow_subscribe_for_anonymous: Flag = False
    """With the option above: anonymous clients may, too."""
    allow_publish_for_client: Flag = False
    """Signed-in clients may publish without your backend seeing it first."""
    allow_publish_for_subscriber: Flag = False
    """Clients subscribed to the channel may publish."""
    allow_publish_for_anonymous: Flag = False
    """The two options above hold for anonymous clients, too."""
    allow_presence_for_client: Flag = False
    """Signed-in clients may ask who is in the channel."""
    allow_presence_for_subscriber: Flag = False
    """Clients subscribed to the channel may ask."""
    allow_presence_for_anonymous: Flag = False
    """The two options above hold for anonymous clients, too."""
    allow_history_for_client: Flag = False
    """Signed-in clients may read the history."""
    allow_history_for_subscriber: Flag = False
    """Clients subscribed to the channel may read it."""
    allow_history_for_anonymous: Flag = False
    """The two options above hold for anonymous clients, too."""
    unsubscribe_events: Flag = False
    """Tell your code when a user has left the channel, on all devices. One Redis write per subscription."""
    subscribe_proxy: Text = ""
    """The one of `backend.proxies` that says who may subscribe. It goes before the options above."""
    publish_proxy: Text = ""
    """The one that says who may publish, and what."""
    sub_refresh_proxy: Text = ""
    """The one that is asked when a subscription's `expire_at` has come."""
    allow_user_limited_channels: Flag = False
    """Allow channels that name their users: `chat#alice,bob` is open to alice and bob."""
    channel_regex: Regex = ""
    """Only names matching this are accepted. Also what permits names outside ASCII."""
    content_check: Annotated[
        Literal["off", "text", "media", "all"], *choice("off", "text", "media", "all")
    ] = "off"
    """Show what clients publish to WeChat's content checks first: texts to `msg_sec_check`, uploaded pictures
    and recordings to `media_check_async`, or both. See the section `safety`."""
    content_check_fields: Texts = ()
    """Which fields of a publication are text: `["text", "author.name"]`. Empty: every string in it."""
    delta_publish: Flag = False
    """Send only the difference to the previous message. Not available yet."""
    allowed_delta_types: Texts = ()
    """Kinds of difference clients may ask for. Not available yet."""


class Channels(ChannelOptions):
    """Options of channels without a namespace; each `[channels.namespaces.NAME]` takes the same options."""

    namespaces: Annotated[
        Mapping[str, ChannelOptions], tables(ChannelOptions, "[channels.namespaces.NAME]", "object")
    ] = {}
    """A channel `chat:42` has the options of namespace `chat`. An unknown namespace is refused."""
    max_name_length: Positive = 255
    """Longest channel name, in characters."""
    max_publication_size: PositiveSize = 256 * KB
    """Bytes of `data` that one publication may have. WeChat names no limit for a socket, but phones get slow
    beyond what it advises for `setData`, 256 KB: send a link to a file instead."""
    presence_interval: PositiveDuration = 27 * SECOND
    """How often a node renews its clients in the presence lists."""
    presence_ttl: PositiveDuration = 60 * SECOND
    """When a client whose node died disappears. Longer than `presence_interval`; twice is good."""
    position_check_interval: PositiveDuration = 40 * SECOND
    """How often a positioned subscription is compared with the stream. Shorter finds a loss sooner."""
    recovery_limit: Positive = 300
    """Messages one recovery may bring; a client that missed more is told to load its state anew."""
    history_meta_ttl: PositiveDuration = 30 * DAY
    """How long a channel's position outlives its messages. Longer than any phone stays away."""


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


class Online(Rows):
    """Who is online, in the background or gone, over all nodes; see docs/presence.md."""

    enabled: Flag = False
    """Keep track of users, for `/api/online` and `/api/online_snapshot`. On by itself where your code handles
    users' events; with several nodes turn it on for all of them."""
    grace: Duration = 30 * SECOND
    """A user whose last socket ended is `gone` after this time. Longer hides tunnels and phones that look at
    something else for a moment; shorter tells you sooner. 0s: at once."""
    goodbye_grace: Duration = 10 * SECOND
    """The same where the client closed its socket itself, or was told not to come back; never longer than
    `grace`. Phones also close their sockets when they go to the background: below 6s that looks like gone."""
    node_timeout: PositiveDuration = 10 * SECOND
    """A node that Redis has not heard of for so long is taken for dead, and the grace of its users begins.
    Longer than the longest standstill that you expect of a healthy node; and two thirds of the time that your
    code may take for one event, at least."""
    user_event_limit: Positive = 16
    """Events of one user that wait for your backend. Past it they are cut down to those that lead from what
    it knows to what is so."""
    event_limit: Positive = 100_000
    """Events that wait, of all users together; past it, the same for each user with a new event. About 200
    bytes of Redis each."""
    event_ttl: PositiveDuration = 1 * DAY
    """An event that your backend has refused for so long is given up; `/api/online_snapshot` tells."""


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
