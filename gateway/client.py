"""One client's life as a table: which command may come in which state, and what time does to it; pure.

    NEW ──connect──▶ CONNECTING ──answered──▶ CONNECTED ──▶ CLOSED
                         └────────error reply──▶ REFUSED ──▶ CLOSED

Commands of one client run strictly one after the other, so nothing is admitted while a connect is under way:
whatever came meanwhile waits in the backlog.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from msgspec import Raw

from gateway.errors import (
    DISCONNECT_BAD_REQUEST,
    DISCONNECT_EXPIRED,
    DISCONNECT_NO_PONG,
    DISCONNECT_STALE,
    DISCONNECT_TOO_MANY_REQUESTS,
    ERROR_TOO_MANY_REQUESTS,
    ClientError,
    Disconnect,
)
from gateway.protocol import EMPTY_RAW, ClientInfo, Command

LOST_CODE: Final = 1006
"""The close code of a socket that ended without one (RFC 6455, 7.1.5)."""


class State(enum.Enum):
    NEW = "new"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    REFUSED = "refused"
    CLOSED = "closed"


METHODS: Final = (
    "connect",
    "subscribe",
    "unsubscribe",
    "publish",
    "presence",
    "presence_stats",
    "history",
    "rpc",
    "send",
    "refresh",
    "sub_refresh",
    "ping",
    "pong",
    "close",
)

ADMITTED: Final[dict[State, frozenset[str]]] = {
    State.NEW: frozenset({"connect"}),
    State.CONNECTING: frozenset(),
    State.CONNECTED: frozenset(METHODS) - {"connect", "ping"},
    State.REFUSED: frozenset(),
    State.CLOSED: frozenset(),
}
"""What may come when. Everything else ends the connection with 3501."""


class ClientSink(Protocol):
    """The way back to one client."""

    outbox: list[bytes]

    def flush(self) -> None: ...

    def send(self, payload: bytes) -> None:
        """Queue one reply or push. Does nothing once the connection closes."""

    @property
    def is_full(self) -> bool:
        """Whether more waits to be sent than a client may keep waiting: answer nothing more for now."""

    @property
    def waiting_bytes(self) -> int:
        """Bytes that the client has not taken yet."""

    def disconnect(self, disconnect: Disconnect) -> None:
        """Say why, then close. Idempotent."""

    def part(self) -> None:
        """The client said goodbye, and all that it said before is done."""

    def pause_reading(self) -> None:
        """Take nothing more from the socket until `resume_reading`."""

    def resume_reading(self) -> None: ...

    def reschedule(self) -> None:
        """The client's next deadline may have come nearer."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The times (seconds) and rates that every client of a process shares."""

    ping_interval: float
    pong_timeout: float
    first_message_timeout: float
    expired_close_delay: float
    commands_per_second: float
    command_burst: float


class Tick(enum.Enum):
    """What time asks for; a disconnect is the other answer."""

    NOTHING = "nothing"
    PING = "ping"


class Subscription:
    """One client in one channel.

    Attributes:
        buffer: publications that came while the subscribe was under way, each with its offset and epoch;
            None once it is live.
        epoch, floor: the position in the subscribe reply; offsets up to here were part of it.
        expires_at: monotonic seconds, 0 is never; `client_refresh`: the client renews it with a token.
        watched: the backend is told when the user has left the channel.
        presence: listed in the channel's presence.
        announced: as whom its join was published, and its leave will be.
        leave_grace: seconds in which its user's return undoes its leave.
        wants_joins: hears of joins and leaves.
    """

    __slots__ = (
        "announced",
        "buffer",
        "chan_info",
        "channel",
        "client",
        "client_refresh",
        "epoch",
        "expires_at",
        "floor",
        "leave_grace",
        "positioned",
        "presence",
        "server_side",
        "wants_joins",
        "watched",
    )

    def __init__(self, client: Client, channel: str, *, server_side: bool) -> None:
        self.client = client
        self.channel = channel
        self.server_side = server_side
        self.buffer: list[tuple[int, str, bytes]] | None = []
        self.epoch = ""
        self.floor = 0
        self.expires_at = 0.0
        self.client_refresh = False
        self.positioned = False
        self.presence = False
        self.announced: ClientInfo | None = None
        self.leave_grace = 0.0
        self.wants_joins = False
        self.watched = False
        self.chan_info: Raw = EMPTY_RAW

    @property
    def due(self) -> float:
        """When to act on its expiry: a client that renews it itself has a grace; 0 is never."""
        grace = self.client.limits.expired_close_delay if self.client_refresh else 0.0
        return self.expires_at + grace if self.expires_at else 0.0

    def info(self) -> ClientInfo:
        """How this subscriber appears in presence, joins and leaves."""
        client = self.client
        return ClientInfo(client.user, client.id, client.conn_info, self.chan_info)


class Caller(NamedTuple):
    """Who asks. `appid` and `session` are empty for clients that signed in with a JWT.

    `meta`: JSON that a JWT or the connect hook attached; no client sees it. `headers`: those of the
    handshake that the configuration keeps, names in lower case.
    """

    client: str
    user: str
    appid: str
    session: str
    ip: str = ""
    meta: Raw = EMPTY_RAW
    headers: Mapping[str, str] | None = None


class Facts(NamedTuple):
    """What is known of a connection beside who it is, for those who look after users.

    Attributes:
        name, version: of the SDK, as it says, cut to a sane length.
        connected_at: unix seconds.
        token_id, issued_at: `jti` and `iat` (unix seconds, 0 where absent) of the JWT that it signed in with.
        token_hash: SHA-256 of that JWT in hex; all three are empty for a session.
    """

    name: str = ""
    version: str = ""
    connected_at: float = 0.0
    token_id: str = ""
    issued_at: float = 0.0
    token_hash: str = ""


_NO_FACTS: Final = Facts()


class Client:
    """One connection's protocol state. Times are monotonic seconds, given as `now`.

    Attributes:
        appid, session: the mini-program and the session that the client signed in with; empty for a JWT.
        caller: the same for the team's code, made once; `meta` is set before.
        headers: those of the handshake that the configuration keeps.
        expires_at: 0 is never; infinite while the team's code is asked whether it goes on.
        entered_at: unix seconds at which it was listed among its user's connections; 0: it is not.
        client_refresh: the client renews its expiry itself, with a token.
        hidden: it said that nobody sees it. end_code: its close code or ours; 1006 where the socket was lost.
        backlog: commands that wait for the one under way; None while nothing is under way.
    """

    __slots__ = (
        "_admitted",
        "_allowance",
        "_allowance_at",
        "_next_ping",
        "_pong_by",
        "_stale_at",
        "appid",
        "backlog",
        "caller",
        "client_refresh",
        "conn_info",
        "deflate",
        "end_code",
        "entered_at",
        "expires_at",
        "facts",
        "headers",
        "hidden",
        "id",
        "ip",
        "limits",
        "meta",
        "session",
        "sink",
        "state",
        "subscriptions",
        "user",
    )

    def __init__(self, client_id: str, sink: ClientSink, limits: Limits, *, ip: str, now: float) -> None:
        self.id = client_id
        self.sink = sink
        self.limits = limits
        self.ip = ip
        self.deflate = False
        self._move(State.NEW)
        self.user = ""
        self.appid = ""
        self.session = ""
        self.conn_info: Raw = EMPTY_RAW
        self.meta: Raw = EMPTY_RAW
        self.facts = _NO_FACTS
        self.subscriptions: dict[str, Subscription] = {}
        self.backlog: deque[Command] | None = None
        self.expires_at = 0.0
        self.entered_at = 0.0
        self.client_refresh = False
        self.headers: Mapping[str, str] | None = None
        self.hidden = False
        self.end_code = LOST_CODE
        self.caller = Caller(client_id, "", "", "")
        self._stale_at = now + limits.first_message_timeout
        self._next_ping = 0.0
        self._pong_by = 0.0
        self._allowance = limits.command_burst
        self._allowance_at = now

    # ------------------------------------------------------------------ commands
    def admit(self, method: str, now: float) -> None:
        """Let a command in, or say what it costs the client.

        Raises:
            ClientError: disconnect 3501 where the command may not come now, error 111 past the command
                rate, disconnect 3013 where the client does not heed it.
        """
        if method not in self._admitted:
            raise ClientError(DISCONNECT_BAD_REQUEST, f"{method} while {self.state.value}")
        if method == "pong":
            if not self._pong_by:
                raise ClientError(DISCONNECT_BAD_REQUEST, "a pong that answers no ping")
            self._pong_by = 0.0
        elif self.limits.commands_per_second:
            self._spend(now)

    def _spend(self, now: float) -> None:
        limits = self.limits
        earned = (now - self._allowance_at) * limits.commands_per_second
        self._allowance_at = now
        self._allowance = min(limits.command_burst, self._allowance + earned) - 1
        if self._allowance < -limits.command_burst:
            raise ClientError(DISCONNECT_TOO_MANY_REQUESTS, "commands kept coming past the rate")
        if self._allowance < 0:
            raise ClientError(
                ERROR_TOO_MANY_REQUESTS, f"at most {limits.commands_per_second:g} commands a second"
            )

    def info(self) -> ClientInfo:
        """How this client appears as the author of a publication."""
        return ClientInfo(self.user, self.id, self.conn_info)

    # ------------------------------------------------------------------ life
    def _move(self, state: State) -> None:
        self.state = state
        self._admitted = ADMITTED[state]

    def begin_connect(self) -> None:
        self._move(State.CONNECTING)

    def sign_in(self, user: str, appid: str, session: str) -> None:
        """It is known who this is; also after a refresh, which may be with another session's token."""
        self.user = user
        self.appid = appid
        self.session = session
        self.caller = Caller(self.id, user, appid, session, self.ip, self.meta, self.headers)

    def connected(self, first_ping: float) -> None:
        """The connect was answered; the first ping is due at `first_ping`."""
        self._move(State.CONNECTED)
        self._next_ping = first_ping

    def refused(self) -> None:
        """The connect was answered with an error: nothing more may come on this connection."""
        self._move(State.REFUSED)

    def close(self) -> None:
        self._move(State.CLOSED)
        self.backlog = None

    @property
    def is_open(self) -> bool:
        return self.state is not State.CLOSED

    # ------------------------------------------------------------------ time
    def next_deadline(self) -> float:
        """When `tick` has something to do next."""
        if self.state is not State.CONNECTED:
            return self._stale_at
        due = self._pong_by or self._next_ping
        if self.expires_at:
            due = min(due, self.expires_at + self._expiry_grace())
        for subscription in self.subscriptions.values():
            if subscription.expires_at:
                due = min(due, subscription.due)
        return due

    def _expiry_grace(self) -> float:
        return self.limits.expired_close_delay if self.client_refresh else 0.0

    def tick(self, now: float) -> Tick | Disconnect:
        """What has become due. Subscriptions are looked at by `expired_subscriptions`."""
        if self.state is not State.CONNECTED:
            return DISCONNECT_STALE if now >= self._stale_at else Tick.NOTHING
        if self._pong_by and now >= self._pong_by:
            return DISCONNECT_NO_PONG
        if self.expires_at and now >= self.expires_at + self._expiry_grace():
            return DISCONNECT_EXPIRED
        if not self._pong_by and now >= self._next_ping:
            self._pong_by = now + self.limits.pong_timeout
            self._next_ping = now + self.limits.ping_interval
            return Tick.PING
        return Tick.NOTHING

    def expired_subscriptions(self, now: float) -> list[Subscription]:
        """Subscriptions past their expiry and its grace."""
        return [each for each in self.subscriptions.values() if each.expires_at and now >= each.due]
