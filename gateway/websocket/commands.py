"""What each command of the client protocol does. Permission first, then the node, then the reply."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from gateway.auth.tokens import SubscriptionClaims, TokenVerifier
from gateway.backend.base import Backend, Published
from gateway.brokers.base import HistoryFilter
from gateway.channels import Channels, Who
from gateway.client import Client
from gateway.config import ChannelOptions, Settings
from gateway.errors import (
    DISCONNECT_BAD_REQUEST,
    DISCONNECT_INVALID_TOKEN,
    DISCONNECT_NOT_AVAILABLE,
    ERROR_ALREADY_SUBSCRIBED,
    ERROR_BAD_REQUEST,
    ERROR_EXPIRED,
    ERROR_LIMIT_EXCEEDED,
    ERROR_NOT_AVAILABLE,
    ERROR_PERMISSION_DENIED,
    ClientError,
)
from gateway.node.live import override
from gateway.node.membership import ANSWER_LIMIT, Order
from gateway.node.node import Node
from gateway.node.publications import PublishRequestOptions
from gateway.node.recovery import within
from gateway.protocol import (
    EMPTY_RAW,
    Command,
    EmptyResult,
    HistoryRequest,
    HistoryResult,
    PresenceRequest,
    PresenceResult,
    PresenceStatsRequest,
    PresenceStatsResult,
    PublishRequest,
    Result,
    RPCRequest,
    SendRequest,
    StreamPosition,
    SubRefreshRequest,
    SubRefreshResult,
    SubscribeRequest,
    UnsubscribeRequest,
    encode_reply,
    encode_rpc,
    ttl_until,
)
from gateway.safety.checker import TextChecker
from gateway.websocket.connecting import Connecting
from gateway.websocket.permission import Permissions

DELTA_TYPES: Final = frozenset({"", "fossil"})
REJECT_UNRECOVERED: Final = 2
"""The bit of a subscribe's `flag` that asks for error 112 rather than a subscription without recovery."""

Pending = Coroutine[Any, Any, None] | None

Builtin = Callable[[Client, Raw], Coroutine[Any, Any, Raw]]
"""An rpc method of the gateway's own: client and data to the result, both JSON. It raises ClientError."""


class Commands:
    """The handlers of all commands.

    Arguments:
        builtins: the gateway's own rpc methods, by name; the team's code does not see them.
        texts: judges what clients publish, where the channel wants that.
        wall: unix seconds.
    """

    def __init__(
        self,
        settings: Settings,
        node: Node,
        connecting: Connecting,
        tokens: TokenVerifier,
        backend: Backend,
        *,
        builtins: Mapping[str, Builtin],
        texts: TextChecker,
        wall: Callable[[], float],
    ) -> None:
        self._texts = texts
        self._settings = settings
        self._node = node
        self._rules: Channels = node.rules
        self._tokens = tokens
        self._permissions = Permissions(settings, node.rules, tokens, backend, wall=wall)
        self._backend = backend
        self._builtins = builtins
        self._wall = wall
        self._handlers: dict[str, Callable[[Client, int, Any], Pending]] = {
            "connect": connecting.connect,
            "refresh": connecting.refresh,
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "publish": self._publish,
            "presence": self._presence,
            "presence_stats": self._presence_stats,
            "history": self._history,
            "rpc": self._rpc,
            "send": self._send,
            "sub_refresh": self._sub_refresh,
            "pong": self._pong,
            "close": self._close,
        }

    def handle(self, client: Client, command: Command) -> Pending:
        """See `Handlers`."""
        return self._handlers[command.method](client, command.id, command.request)

    def _pong(self, client: Client, _id: int, _request: None) -> None:
        client.sink.reschedule()

    def _close(self, client: Client, _id: int, _request: None) -> None:
        client.sink.part()

    # ------------------------------------------------------------------ subscribe
    async def _subscribe(self, client: Client, command_id: int, request: SubscribeRequest) -> None:
        order = await self._order(client, request)
        subscription, result = await self._node.membership.prepare(client, order)
        _reply(client, command_id, "subscribe", result)
        self._node.membership.activate(subscription)
        client.sink.reschedule()
        await self._node.membership.announce(subscription, order.options)

    async def _order(self, client: Client, request: SubscribeRequest) -> Order:
        channel = request.channel
        if not channel or request.delta not in DELTA_TYPES:
            raise ClientError(DISCONNECT_BAD_REQUEST, "subscribe needs a channel and a known delta type")
        options = self._rules.options(channel)
        if request.type:
            raise ClientError(ERROR_NOT_AVAILABLE, "only stream subscriptions are served")
        if bytes(request.tf):
            raise ClientError(ERROR_BAD_REQUEST, "filters by tags are not allowed here")
        if channel in client.subscriptions:
            raise ClientError(ERROR_ALREADY_SUBSCRIBED)
        if len(client.subscriptions) >= self._settings.client.channel_limit:
            raise ClientError(ERROR_LIMIT_EXCEEDED, f"at most {self._settings.client.channel_limit} channels")
        grant = await self._permissions.subscribe(client, request, options)
        options = override(options, _flags(grant.options.override))
        who = Who(client.user, subscribed=True)
        return Order(
            channel=channel,
            options=options,
            since=StreamPosition(request.offset, request.epoch) if request.recover else None,
            positioned=request.positioned,
            recoverable=request.recoverable,
            join_leave=request.join_leave,
            only_recovered=request.recover and bool(request.flag & REJECT_UNRECOVERED),
            may_read_history=self._rules.may("history", channel, options, who),
            may_read_presence=self._rules.may("presence", channel, options, who),
            chan_info=grant.options.info or EMPTY_RAW,
            data=grant.options.data or EMPTY_RAW,
            expires_at=self._node.deadline(grant.expire_at),
            ttl=self._ttl(grant.expire_at) if grant.client_refresh else 0,
            client_refresh=grant.client_refresh,
        )

    def _ttl(self, expire_at: float) -> int:
        return ttl_until(expire_at, self._wall())

    def _unsubscribe(self, client: Client, command_id: int, request: UnsubscribeRequest) -> None:
        if not request.channel:
            raise ClientError(DISCONNECT_BAD_REQUEST, "unsubscribe needs a channel")
        subscription = client.subscriptions.get(request.channel)
        if subscription is not None:
            self._node.membership.end(subscription)
        _reply(client, command_id, "unsubscribe", _EMPTY)

    async def _sub_refresh(self, client: Client, command_id: int, request: SubRefreshRequest) -> None:
        if not request.channel:
            raise ClientError(DISCONNECT_BAD_REQUEST, "sub_refresh needs a channel")
        if request.type:
            raise ClientError(ERROR_NOT_AVAILABLE, "only stream subscriptions are served")
        subscription = client.subscriptions.get(request.channel)
        if subscription is None:
            raise ClientError(ERROR_PERMISSION_DENIED, "not subscribed")
        if not subscription.client_refresh:
            raise ClientError(DISCONNECT_BAD_REQUEST, "this subscription is not the client's to refresh")
        if not request.token:
            raise ClientError(ERROR_BAD_REQUEST, "sub_refresh needs a token")
        claims = await self._renewal(client, request)
        if client.subscriptions.get(request.channel) is not subscription:
            raise ClientError(ERROR_PERMISSION_DENIED, "not subscribed any more")
        if claims.expire_at and claims.expire_at <= self._wall():
            raise ClientError(ERROR_EXPIRED, "the new token has expired")
        subscription.expires_at = self._node.deadline(claims.expire_at)
        subscription.chan_info = claims.options.info or EMPTY_RAW
        result = SubRefreshResult(expires=bool(claims.expire_at), ttl=self._ttl(claims.expire_at))
        _reply(client, command_id, "sub_refresh", result)
        client.sink.reschedule()

    async def _renewal(self, client: Client, request: SubRefreshRequest) -> SubscriptionClaims:
        """As for a subscribe, but a token that was forged ends the connection."""
        try:
            return await self._tokens.verify_subscription(
                request.token, client.user, client.id, request.channel
            )
        except ClientError as error:
            if error.outcome is ERROR_PERMISSION_DENIED:
                raise ClientError(DISCONNECT_INVALID_TOKEN, error.detail) from None
            raise

    # ------------------------------------------------------------------ channel operations
    # What may be refused is refused at once; only what was granted goes on in a task. A client that leaves
    # right after its last command has had it granted.
    def _publish(self, client: Client, command_id: int, request: PublishRequest) -> Pending:
        asked = self._permissions.publish(client, request)
        rules = self._rules.options(request.channel)

        async def publish() -> None:
            data, options = request.data, PublishRequestOptions(info=client.info())
            if rules.content_check != "off":
                await self._check_text(client, rules, data, asked)
            if asked is not None:
                answer = await asked
                data, options = answer.data or data, _publish_options(client, answer)
            await self._node.publish(request.channel, bytes(data), options)
            _reply(client, command_id, "publish", _EMPTY)

        return publish()

    async def _check_text(
        self, client: Client, rules: ChannelOptions, data: Raw, asked: Coroutine[Any, Any, Any] | None
    ) -> None:
        """Before the team's code sees it: that might keep it, or pass it on."""
        try:
            await self._texts.check(client.user, client.appid, rules, bytes(data))
        except BaseException:
            if asked is not None:
                asked.close()
            raise

    def _presence(self, client: Client, command_id: int, request: PresenceRequest) -> Pending:
        self._permissions.check("presence", client, request.channel)

        async def presence() -> None:
            result = PresenceResult(await self._node.presence(request.channel))
            _reply(client, command_id, "presence", result)

        return presence()

    def _presence_stats(self, client: Client, command_id: int, request: PresenceStatsRequest) -> Pending:
        self._permissions.check("presence", client, request.channel)

        async def stats() -> None:
            stats = await self._node.presence_stats(request.channel)
            result = PresenceStatsResult(stats.num_clients, stats.num_users)
            _reply(client, command_id, "presence_stats", result)

        return stats()

    def _history(self, client: Client, command_id: int, request: HistoryRequest) -> Pending:
        self._permissions.check("history", client, request.channel)
        cap = self._settings.channels.recovery_limit
        limit = cap if request.limit < 0 else min(request.limit, cap)

        async def history() -> None:
            query = HistoryFilter(limit, request.since, request.reverse)
            history = await self._node.history(request.channel, query)
            publications = within(history.publications, ANSWER_LIMIT)
            result = HistoryResult(publications, history.top.epoch, history.top.offset)
            _reply(client, command_id, "history", result)

        return history()

    # ------------------------------------------------------------------ to the team's code
    async def _rpc(self, client: Client, command_id: int, request: RPCRequest) -> None:
        builtin = self._builtins.get(request.method)
        if builtin is not None:
            client.sink.send(encode_rpc(command_id, await builtin(client, request.data)))
            return
        answer = self._backend.handle_rpc(client.caller, request.method, request.data)
        if answer is None:
            raise ClientError(ERROR_NOT_AVAILABLE, "no backend answers rpc")
        client.sink.send(encode_rpc(command_id, await answer))

    def _send(self, client: Client, _id: int, request: SendRequest) -> Pending:
        handled = self._backend.handle_send(client.caller, request.data)
        if handled is None:
            raise ClientError(DISCONNECT_NOT_AVAILABLE, "no backend takes messages")
        return handled


_EMPTY: Final = EmptyResult()


def _reply(client: Client, command_id: int, method: str, result: Result) -> None:
    client.sink.send(encode_reply(command_id, method, result))


def _flags(changes: Any) -> dict[str, bool]:
    """The options that a token sets."""
    return {name: value for name, value in msgspec.structs.asdict(changes).items() if value is not None}


def _publish_options(client: Client, answer: Published) -> PublishRequestOptions:
    """How the team's code wants a client's publication to go out."""
    return PublishRequestOptions(
        info=client.info(),
        tags=answer.tags,
        skip_history=answer.skip_history,
        idempotency_key=answer.idempotency_key,
        version=answer.version,
        version_epoch=answer.version_epoch,
    )
