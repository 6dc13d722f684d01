"""Connect and refresh: from credentials to a client that is signed in, with its server-side subscriptions."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

import msgspec
import structlog

from gateway.auth.credentials import Authenticator, Credentials, without_code
from gateway.auth.gate import OPEN, Gate
from gateway.auth.options import SubscriptionOptions
from gateway.backend.base import Backend, ConnectEvent
from gateway.client import Caller, Client, Facts, Subscription
from gateway.config import ChannelOptions, Settings
from gateway.errors import (
    DISCONNECT_BAD_REQUEST,
    DISCONNECT_CHANNEL_LIMIT,
    DISCONNECT_EXPIRED,
    DISCONNECT_INVALID_TOKEN,
    DISCONNECT_NORMAL,
    ERROR_EXPIRED,
    ERROR_TOKEN_EXPIRED,
    ClientError,
    Disconnect,
)
from gateway.metrics import Metrics
from gateway.node.live import override
from gateway.node.membership import Order
from gateway.node.node import Node
from gateway.online.tracker import Tracker
from gateway.protocol import (
    EMPTY_RAW,
    ConnectRequest,
    ConnectResult,
    RecoverPosition,
    RefreshRequest,
    RefreshResult,
    StreamPosition,
    SubscribeResult,
    encode_reply,
)
from gateway.version import __version__
from gateway.websocket.admission import admitted

log = structlog.get_logger()

NAME_LIMIT: Final = 16
VERSION_LIMIT: Final = 64
"""Characters of what an SDK says about itself; the protocol has the same limits."""

Joined = tuple[Subscription, SubscribeResult, ChannelOptions]


class Addresses(Protocol):
    """Who counts connections by address; see `protection.addresses`."""

    async def enter(self, client: Client) -> None:
        """Raises ClientError where it is one too many."""

    def leave(self, client: Client) -> None: ...


class Connecting:
    """Signs clients in.

    Arguments:
        clock: monotonic seconds.
        gate: who is not let in; asked once more, because the team's code may have said who this is.
        watch: hears of everybody who is signed in, before the reply.
        welcome: is told of each client once its connect reply is out.
        tracker: of users over all nodes; None where nobody wants to know.
        addresses: counts connections by address; None where nobody does.
    """

    def __init__(
        self,
        settings: Settings,
        node: Node,
        authenticator: Authenticator,
        backend: Backend,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        gate: Gate = OPEN,
        watch: Callable[[Client], None] | None = None,
        welcome: Callable[[Client], None] = lambda client: None,
        tracker: Tracker | None = None,
        addresses: Addresses | None = None,
    ) -> None:
        self._addresses = addresses
        self._tracker = tracker
        self._gate = gate
        self._watch = watch
        self._settings = settings.client
        self._node = node
        self._authenticator = authenticator
        self._backend = backend
        self._metrics = metrics
        self._clock = clock
        self._tell_welcome = welcome

    # ------------------------------------------------------------------ connect
    def connect(self, client: Client, command_id: int, request: ConnectRequest) -> Coroutine[Any, Any, None]:
        """Sign in, subscribe on the server's side, reply."""
        client.begin_connect()
        return self._connect(client, command_id, request)

    async def _connect(self, client: Client, command_id: int, request: ConnectRequest) -> None:
        way, outcome = _way(request), "error"
        try:
            if self._addresses is not None:
                await self._addresses.enter(client)
            credentials = await self._credentials(client, request)
            way = credentials.way
            if not client.is_open:
                outcome = "gone"
                return
            self._enter(client, request, credentials)
            await self._node.user_connections.enter(client)
            joined = await self._join_all(client, request, credentials)
            outcome = "ok"
        except ClientError as error:
            outcome = "disconnect" if isinstance(error.outcome, Disconnect) else "error"
            raise
        finally:
            self._metrics.connect(way, outcome, request.name)
            if outcome not in ("ok", "gone"):
                self.leave(client)
        self._welcome(client, command_id, credentials, joined)
        for subscription, _, options in joined:
            await self._node.membership.announce(subscription, options)

    async def _credentials(self, client: Client, request: ConnectRequest) -> Credentials:
        """Who it is: by what it brought, and by what the team's code says to that."""
        found = await self._authenticator.connect(request, client.ip)
        who = found or Credentials("hook", user="")
        caller = Caller(client.id, who.user, who.appid, who.session, client.ip, who.meta, client.headers)
        asked = self._backend.handle_connect(caller, _event(request, found is not None))
        answer = await asked if asked is not None else None
        if answer is None:
            return found or self._authenticator.anonymous()
        if answer.expire_at and self._node.deadline(answer.expire_at) <= self._clock():
            raise ClientError(ERROR_EXPIRED, "the team's code says that it has expired")
        return admitted(who, answer)

    def _enter(self, client: Client, request: ConnectRequest, credentials: Credentials) -> None:
        token = (credentials.token_id, credentials.token_hash, credentials.issued_at)
        self._gate.admit(credentials.user, *token)
        client.meta = credentials.meta
        client.sign_in(credentials.user, credentials.appid, credentials.session)
        client.facts = _facts(request, credentials, self._node.wall())
        client.conn_info = credentials.conn_info
        client.expires_at = self._node.deadline(credentials.expire_at)
        client.client_refresh = bool(credentials.expire_at) and credentials.client_refresh
        self._node.hub.add(client)
        if self._watch is not None:
            self._watch(client)

    async def _join_all(
        self, client: Client, request: ConnectRequest, credentials: Credentials
    ) -> list[Joined]:
        """The server-side subscriptions: the personal channel, and what the token grants."""
        wanted = dict(credentials.subs)
        if self._settings.personal_channel and credentials.user:
            wanted.setdefault(self._personal(credentials.user), SubscriptionOptions())
        if len(wanted) > self._settings.channel_limit:
            raise ClientError(
                DISCONNECT_CHANNEL_LIMIT, "more server-side subscriptions than channels allowed"
            )
        known = request.subs or {}
        orders = [self._order(name, granted, known.get(name)) for name, granted in wanted.items()]
        if len(orders) <= 1:  # by far the most frequent, and not worth a task
            return [await self._join(client, order) for order in orders]
        joined = await asyncio.gather(
            *(self._join(client, order) for order in orders), return_exceptions=True
        )
        failed = [each for each in joined if isinstance(each, BaseException)]
        if failed:
            raise failed[0]
        return [each for each in joined if not isinstance(each, BaseException)]

    def _personal(self, user: str) -> str:
        """The personal channel; openids always have one, the `sub` of a JWT may be no name for a channel."""
        channel = self._node.rules.personal(user)
        try:
            self._node.rules.options(channel)
        except ClientError as error:
            detail = f"this user cannot have a personal channel ({error.detail}): give the token another sub"
            raise ClientError(error.outcome, detail) from None
        return channel

    async def _join(self, client: Client, order: Order) -> Joined:
        subscription, result = await self._node.membership.prepare(client, order)
        return subscription, result, order.options

    def _order(self, name: str, granted: SubscriptionOptions, known: RecoverPosition | None) -> Order:
        changes = {
            option: value
            for option, value in msgspec.structs.asdict(granted.override).items()
            if value is not None
        }
        recovering = known is not None and known.recover
        return Order(
            channel=name,
            options=override(self._node.rules.options(name), changes),
            server_side=True,
            since=StreamPosition(known.offset, known.epoch) if known is not None and recovering else None,
            positioned=True,
            recoverable=True,
            join_leave=True,
            may_read_history=True,
            may_read_presence=False,
            chan_info=granted.info or EMPTY_RAW,
            data=granted.data or EMPTY_RAW,
        )

    def _welcome(
        self, client: Client, command_id: int, credentials: Credentials, joined: list[Joined]
    ) -> None:
        """The reply, strictly before anything else on this connection."""
        if not client.is_open:
            return
        now, interval = self._clock(), self._settings.ping_interval
        ttl = self._authenticator.ttl(credentials.expire_at) if client.client_refresh else 0
        result = ConnectResult(
            client=client.id,
            version=__version__,
            expires=bool(ttl),
            ttl=ttl,
            data=credentials.data,
            subs={subscription.channel: result for subscription, result, _ in joined} or None,
            ping=max(1, round(interval)),
            pong=True,
        )
        client.sink.send(encode_reply(command_id, "connect", result))
        # The first ping at a random point, so that clients who came together are not pinged together.
        client.connected(now + interval * random.uniform(0.5, 1.0))  # noqa: S311
        if self._tracker is not None:
            self._tracker.connected(client)
        for subscription, _, _ in joined:
            self._node.membership.activate(subscription)
        client.sink.reschedule()
        self._tell_welcome(client)
        log.debug("client connected", client=client.id, ip=client.ip, way=credentials.way)

    def leave(self, client: Client) -> None:
        """The client is gone, or was refused: end its subscriptions and forget it."""
        for subscription in list(client.subscriptions.values()):
            self._node.membership.end(subscription)
        self._node.hub.remove(client)
        self._node.user_connections.leave(client)
        if self._addresses is not None:
            self._addresses.leave(client)
        if self._tracker is not None:
            self._tracker.left(client)

    # ------------------------------------------------------------------ refresh
    async def refresh(self, client: Client, command_id: int, request: RefreshRequest) -> None:
        """A new token for a connection that expires."""
        if not request.token:
            raise ClientError(DISCONNECT_BAD_REQUEST, "refresh needs a token")
        if client.expires_at and not client.client_refresh:
            raise ClientError(DISCONNECT_BAD_REQUEST, "this connection is not the client's to refresh")
        try:
            credentials = await self._authenticator.token(request.token)
        except ClientError as error:
            if error.outcome is ERROR_TOKEN_EXPIRED:
                raise ClientError(DISCONNECT_EXPIRED, error.detail) from None
            raise
        if not client.is_open:
            raise ClientError(DISCONNECT_NORMAL, "the client left while it refreshed")
        if (credentials.user, credentials.appid) != (client.user, client.appid):
            raise ClientError(DISCONNECT_INVALID_TOKEN, "the token is another user's")
        client.expires_at = self._node.deadline(credentials.expire_at)
        client.client_refresh = bool(credentials.expire_at)
        client.conn_info = credentials.conn_info
        client.facts = client.facts._replace(
            token_id=credentials.token_id,
            issued_at=credentials.issued_at,
            token_hash=credentials.token_hash,
        )
        client.sign_in(credentials.user, credentials.appid, credentials.session)
        ttl = self._authenticator.ttl(credentials.expire_at)
        result = RefreshResult(client.id, __version__, bool(ttl), ttl)
        client.sink.send(encode_reply(command_id, "refresh", result))
        client.sink.reschedule()


def _facts(request: ConnectRequest, credentials: Credentials, now: float) -> Facts:
    return Facts(
        request.name[:NAME_LIMIT],
        request.version[:VERSION_LIMIT],
        now,
        credentials.token_id,
        credentials.issued_at,
        credentials.token_hash,
    )


def _event(request: ConnectRequest, signed_in: bool) -> ConnectEvent:
    """What the team's code is told. A code is good for one sign-in and nobody else's business."""
    return ConnectEvent(
        signed_in=signed_in,
        data=without_code(request.data),
        token="" if signed_in else request.token or "",
        name=request.name,
        version=request.version,
        channels=list(request.subs or ()),
    )


def _way(request: ConnectRequest) -> str:
    """How a client that was refused tried to sign in, as far as its request tells."""
    if request.token:
        return "jwt" if "." in request.token else "session"
    return "code" if bytes(request.data) else "anonymous"
