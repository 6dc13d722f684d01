"""Rows of `[client]`: who may connect, and how a connection is watched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import SecretStr

from gateway.config.types import (
    Count,
    Duration,
    Flag,
    HttpUrl,
    Positive,
    PositiveDuration,
    PublicKey,
    Rows,
    Secret,
    Text,
    choice,
)
from gateway.config.units import SECOND


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
