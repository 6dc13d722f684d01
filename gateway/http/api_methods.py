"""The methods of the server API: what each takes, what each answers; nothing of HTTP.

Parameters are decoded into the structs of `api_shapes`: wrong types do not decode. What decodes and still
makes no sense, or is beyond a limit, is the caller's `ClientError` with error 107, and says what is wrong.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from gateway.brokers.base import HistoryFilter
from gateway.config.units import parse_duration
from gateway.errors import (
    CLOSE_REASON_LIMIT,
    DISCONNECT_FORCED,
    DISCONNECTS,
    ERROR_BAD_REQUEST,
    ERROR_NOT_AVAILABLE,
    ClientError,
    Disconnect,
)
from gateway.http.api_shapes import (
    Advice,
    Broadcast,
    BroadcastAll,
    ChannelInfo,
    ChannelsResult,
    DisconnectUser,
    InfoResult,
    Nothing,
    OneChannel,
    Pattern,
    Payload,
    Publish,
    Published,
    ReadHistory,
    Refresh,
    StatsResult,
    Subscribe,
    Unsubscribe,
    Whose,
)
from gateway.http.fan import run_all
from gateway.inbox.service import Inbox
from gateway.node.cluster import Target
from gateway.node.node import Node, SubscribeOptions
from gateway.node.publications import PublishRequestOptions
from gateway.protocol import (
    EmptyResult,
    HistoryResult,
    PresenceResult,
    PresenceStatsResult,
    Publication,
    one_line,
)

CHANNELS_LIMIT: Final = 10_000
"""Channels of one broadcast."""
TAGS_LIMIT: Final = 64
TAGS_SIZE: Final = 8192
"""Characters of all tags of a publication together."""
KEY_SIZE: Final = 64
"""Characters of an idempotency key and of a version epoch."""
ID_SIZE: Final = 255
"""Characters of a user, client, session, appid and pattern."""
WHITELIST_LIMIT: Final = 1000

_EMPTY: Final = EmptyResult()
_encode: Final = msgspec.json.Encoder().encode


Handler = Callable[[Any], Awaitable[Struct | Raw]]
Method = tuple[msgspec.json.Decoder[Any], Handler]
"""How the parameters are read, and what is done with them."""


class Methods:
    """The methods by name; `table` has the decoder of the parameters and the coroutine function.

    Args:
        data_limit: bytes of `data` of one publication.
        guard: turns the outcome of a publish into `{"result":…}` or `{"error":…}`, and never raises.
        inbox: keeps what wants to be acknowledged.
    """

    def __init__(
        self,
        node: Node,
        data_limit: int,
        guard: Callable[[Awaitable[Struct | Raw]], Awaitable[bytes]],
        inbox: Inbox | None = None,
    ) -> None:
        self._node = node
        self._inbox = inbox
        self._data_limit = data_limit
        self._guard = guard
        self.table: dict[str, Method] = {
            name: (msgspec.json.Decoder(kind), handler)
            for name, kind, handler in (
                ("publish", Publish, self._publish),
                ("broadcast", Broadcast, self._broadcast),
                ("broadcast_all", BroadcastAll, self._broadcast_all),
                ("subscribe", Subscribe, self._subscribe),
                ("unsubscribe", Unsubscribe, self._unsubscribe),
                ("disconnect", DisconnectUser, self._disconnect),
                ("refresh", Refresh, self._refresh),
                ("presence", OneChannel, self._presence),
                ("presence_stats", OneChannel, self._presence_stats),
                ("history", ReadHistory, self._history),
                ("history_remove", OneChannel, self._history_remove),
                ("channels", Pattern, self._channels),
                ("info", Nothing, self._info),
                ("stats", Nothing, self._stats),
            )
        }

    # ------------------------------------------------------------------------ publishing
    async def _publish(self, request: Publish) -> Struct:
        data, options = self._data(request.data, request.b64data), _options(request)
        return await self._publish_to(_channel(request.channel), data, options, request)

    async def _publish_to(
        self, channel: str, data: bytes, options: PublishRequestOptions, request: Payload
    ) -> Published:
        if request.ack:
            return Published(id=await self._publish_letter(channel, data, options, request))
        result = await self._node.publish(channel, data, options)
        return Published(result.offset, result.epoch)

    async def _publish_letter(
        self, channel: str, data: bytes, options: PublishRequestOptions, request: Payload
    ) -> str:
        """To one user, until it is acknowledged; the id."""
        if self._inbox is None:
            raise ClientError(ERROR_NOT_AVAILABLE, "there are no inboxes here")
        if options.version:
            raise _bad("ack does not go with version: a letter that was taken is not overtaken")
        self._node.rules.options(channel)
        publication = Publication(Raw(data), tags=options.tags)
        ttl = seconds("ack_ttl", request.ack_ttl)
        return await self._inbox.publish(channel, publication, ttl=ttl, key=options.idempotency_key)

    async def _broadcast(self, request: Broadcast) -> Raw:
        _at_least_one("channels", len(request.channels), CHANNELS_LIMIT)
        data = self._data(request.data, request.b64data)
        options = _options(request)

        async def one(channel: str) -> Published:
            return await self._publish_to(_channel(channel), data, options, request)

        responses = await run_all(request.channels, lambda channel: self._guard(one(channel)), parallel=True)
        return Raw(b'{"responses":[%b]}' % b",".join(responses))

    async def _broadcast_all(self, request: BroadcastAll) -> Struct:
        _limit("appid", request.appid, ID_SIZE)
        await self._node.broadcast_all(self._data(request.data, request.b64data), request.appid)
        return _EMPTY

    def _data(self, data: Raw, b64data: str) -> bytes:
        content = _embedded("data", data, b64data)
        if not content:
            raise _bad("data is missing")
        if len(content) > self._data_limit:
            raise _bad(f"data has {len(content)} bytes, the limit is {self._data_limit}")
        return content

    # ------------------------------------------------------------------------ live connections
    async def _subscribe(self, request: Subscribe) -> Struct:
        override = request.override
        options = SubscribeOptions(
            info=Raw(_embedded("info", request.info, request.b64info)),
            data=Raw(_embedded("data", request.data, request.b64data)),
            expire_at=request.expire_at,
            recover_since=request.recover_since,
            override={
                name: flag.value
                for name in (override.__struct_fields__ if override else ())
                if (flag := getattr(override, name)) is not None
            },
        )
        await self._node.subscribe(_target(request), _channel(request.channel), options)
        return _EMPTY

    async def _unsubscribe(self, request: Unsubscribe) -> Struct:
        await self._node.unsubscribe(_target(request), request.channel)
        return _EMPTY

    async def _disconnect(self, request: DisconnectUser) -> Struct:
        if len(request.whitelist) > WHITELIST_LIMIT:
            raise _bad(f"whitelist has at most {WHITELIST_LIMIT} clients")
        for client in request.whitelist:
            _limit("whitelist", client, ID_SIZE)
        await self._node.disconnect(_target(request), _advice(request.disconnect), request.whitelist)
        return _EMPTY

    async def _refresh(self, request: Refresh) -> Struct:
        info = Raw(_embedded("info", request.info, ""))
        await self._node.refresh(_target(request), request.expired, request.expire_at, info)
        return _EMPTY

    # ------------------------------------------------------------------------ reading
    async def _presence(self, request: OneChannel) -> Struct:
        return PresenceResult(await self._node.presence(_channel(request.channel)))

    async def _presence_stats(self, request: OneChannel) -> Struct:
        stats = await self._node.presence_stats(_channel(request.channel))
        return PresenceStatsResult(stats.num_clients, stats.num_users)

    async def _history(self, request: ReadHistory) -> Struct:
        if request.reverse and request.since is not None and not request.since.offset:
            raise _bad("nothing is before offset 0")
        query = HistoryFilter(request.limit, request.since, request.reverse)
        history = await self._node.history(_channel(request.channel), query)
        return HistoryResult(history.publications, history.top.epoch, history.top.offset)

    async def _history_remove(self, request: OneChannel) -> Struct:
        await self._node.history_remove(_channel(request.channel))
        return _EMPTY

    async def _channels(self, request: Pattern) -> Struct:
        _limit("pattern", request.pattern, ID_SIZE)
        found, missing = await self._node.channels(request.pattern)
        return ChannelsResult({channel: ChannelInfo(count) for channel, count in found.items()}, missing)

    async def _info(self, _: Nothing) -> Struct:
        return InfoResult(*await self._node.info())

    async def _stats(self, _: Nothing) -> Struct:
        return StatsResult(*await self._node.stats())


# ---------------------------------------------------------------------------- checks
def seconds(name: str, value: float | str) -> float:
    """A duration as a number of seconds or as text, "10s"."""
    try:
        number = parse_duration(value) if isinstance(value, str) else float(value)
    except ValueError as error:
        raise _bad(f"{name}: {error}") from None
    if not 0 <= number < 2**31:
        raise _bad(f'{name} is a number of seconds, or a text such as "10s"')
    return number


def _bad(detail: str) -> ClientError:
    return ClientError(ERROR_BAD_REQUEST, detail)


def _channel(channel: str) -> str:
    # The node checks the name against its namespace; here only that there is one.
    if not channel:
        raise _bad("channel is missing")
    return channel


def _limit(name: str, value: str, limit: int) -> None:
    if len(value) > limit:
        raise _bad(f"{name} has more than {limit} characters")


def _at_least_one(name: str, count: int, limit: int) -> None:
    if not count:
        raise _bad(f"{name} is missing or empty")
    if count > limit:
        raise _bad(f"{count} {name}, the limit is {limit}")


def _options(request: Publish | Broadcast) -> PublishRequestOptions:
    _limit("idempotency_key", request.idempotency_key, KEY_SIZE)
    _limit("version_epoch", request.version_epoch, KEY_SIZE)
    tags = request.tags
    if tags:
        if len(tags) > TAGS_LIMIT:
            raise _bad(f"{len(tags)} tags, the limit is {TAGS_LIMIT}")
        if sum(map(len, tags)) + sum(map(len, tags.values())) > TAGS_SIZE:
            raise _bad(f"tags have more than {TAGS_SIZE} characters")
    return PublishRequestOptions(
        tags=tags or None,
        skip_history=request.skip_history,
        idempotency_key=request.idempotency_key,
        version=request.version,
        version_epoch=request.version_epoch,
    )


def _target(request: Whose) -> Target:
    _limit("user", request.user, ID_SIZE)
    _limit("client", request.client, ID_SIZE)
    _limit("session", request.session, ID_SIZE)
    if not (request.user or request.client or request.session):
        # Else a forgotten field would hit every anonymous client.
        raise _bad("user is missing")
    return Target(request.user, request.client, request.session)


def _advice(advice: Advice | None) -> Disconnect:
    if advice is None or not advice.code:
        return DISCONNECT_FORCED if advice is None or not advice.reason else _forced(advice.reason)
    if not 3000 <= advice.code < 5000:
        raise _bad("disconnect.code is 3000 to 4999")
    known = DISCONNECTS.get(advice.code)
    return Disconnect(advice.code, _reason(advice.reason) or (known.reason if known else "disconnected"))


def _forced(reason: str) -> Disconnect:
    return Disconnect(DISCONNECT_FORCED.code, _reason(reason))


def _reason(reason: str) -> str:
    if len(reason.encode()) > CLOSE_REASON_LIMIT:
        raise _bad(f"disconnect.reason has more than {CLOSE_REASON_LIMIT} bytes")
    return reason


def _embedded(name: str, plain: Raw, encoded: str) -> bytes:
    """The JSON of a field that also comes in base64, on one line; empty where it was not given."""
    content = bytes(plain)
    if encoded:
        if content and content != b"null":
            raise _bad(f"{name} and b64{name} are both given")
        content = _from_base64(name, encoded)
    return bytes(one_line(content)) if content else b""


def _from_base64(name: str, encoded: str) -> bytes:
    try:
        content = base64.b64decode(encoded, validate=True)
        # Clients that speak JSON can only be given JSON.
        msgspec.json.decode(content)
    except (binascii.Error, ValueError, RecursionError):
        raise _bad(f"b64{name} is not JSON in base64") from None
    return content
