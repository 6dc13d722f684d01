"""Rows of `[backend]`: the team's own code."""

from __future__ import annotations

from typing import Annotated

from pydantic import SecretStr

from gateway.config.types import (
    Flag,
    HeaderNames,
    Headers,
    HttpUrl,
    Name,
    Positive,
    PositiveDuration,
    Rows,
    Secret,
    StatusCodes,
    Text,
    tables,
)
from gateway.config.units import SECOND


class Proxy(Rows):
    """One HTTP backend, as `[[backend.proxies]]`: where events are posted to, in Centrifugo's JSON."""

    name: Name
    """What `[backend]` and the namespaces call it."""
    endpoint: HttpUrl
    """Where to. `{event}` stands for connect, refresh, subscribe, sub_refresh, publish, rpc, send, upload,
    wechat_event or user_event, so one row can serve all of them: `http://127.0.0.1:3000/centrifugo/{event}`."""
    timeout: PositiveDuration = 1 * SECOND
    """Longest wait for one answer. Past it the client gets error 100, which is temporary."""
    max_concurrent: Positive = 100
    """Requests in flight from one node. More wait, but not longer than the timeout."""
    http2: Flag = False
    """Speak HTTP/2 with it, where it can. Needs `pip install wx-gateway[http2]`."""
    headers: HeaderNames = ()
    """Headers of the phone's handshake that are sent along, such as `["Cookie", "X-Real-IP"]`. Only these are
    kept after the handshake, for as long as the connection."""
    static_headers: Headers = ()
    """Headers of every request, as `"Authorization: Bearer …"`."""
    secret: Secret = SecretStr("")
    """Sign every request with it: `X-Gateway-Signature` is the HMAC-SHA256 of `X-Gateway-Timestamp`, a dot
    and the body. Empty: unsigned."""
    statuses: StatusCodes = ()
    """What HTTP statuses other than 200 mean, as `"404: 1004 no such order"`: a code below 2000 is an error,
    one from 3000 on the end of the connection. Without it: error 100."""


class Backend(Rows):
    """Your own code: Python handlers beside the gateway, or HTTP backends; Python goes first. Each key of the
    first group names one of `backend.proxies`; the events of channels are in the namespaces' options."""

    connect: Text = ""
    """Asked when a client connects."""
    refresh: Text = ""
    """Asked when a connection's `expire_at` has come."""
    rpc: Text = ""
    """Asked for every rpc that no Python handler and not the gateway itself answers."""
    send: Text = ""
    """Told of messages without an answer."""
    upload: Text = ""
    """Asked whether an uploaded file may be kept, by what is known of it; the content is not sent."""
    wechat_event: Text = ""
    """Told of what WeChat pushes to `/wx/callback`."""
    user_event: Text = ""
    """Told of users who come and go."""
    proxies: Annotated[tuple[Proxy, ...], tables(Proxy, "[[backend.proxies]]", "list")] = ()
    """The HTTP backends, each with the keys below."""
    threads: Positive = 32
    """Threads that Python handlers without `async` share. As many as may wait for a database at a time."""
    keep_headers: HeaderNames = ()
    """Headers of the handshake that Python handlers see as `ctx.headers`, such as `["User-Agent"]`. They are
    kept for as long as the connection; all others are dropped."""
    foreign_tokens: Flag = False
    """Give tokens that are neither the gateway's own nor a JWT with a configured key to your connect hook,
    which says whose they are. Otherwise they are refused with 3500."""
