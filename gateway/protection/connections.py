"""Who is connected, over all nodes, a page at a time: for support, and for the dashboard.

Each node looks through its own connections, a slice per turn of the loop, and answers with its share of the
page; the node that was asked puts the shares together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.client import Client, State
from gateway.errors import ERROR_BAD_REQUEST, ClientError
from gateway.node.node import Node
from gateway.protection.pages import smallest

PAGE_LIMIT: Final = 500
"""Connections of one page."""
DEFAULT_PAGE: Final = 50
CHANNELS_SHOWN: Final = 32
"""Channels that are named for one connection; `num_channels` counts them all."""

QUESTION: Final = "connections"


class Query(Struct, frozen=True):
    """Which connections: all given fields must fit. `search`: a part of the user, the client or the address.

    `slow`: those with the most bytes waiting first. `cursor`: where the page before ended.
    """

    user: str = ""
    client: str = ""
    channel: str = ""
    search: str = ""
    slow: bool = False
    limit: int = DEFAULT_PAGE
    cursor: str = ""


class Connected(Struct, frozen=True):
    """One connection. `connected_at` is unix milliseconds; `waiting_bytes` it has not taken yet."""

    client: str
    user: str
    appid: str
    node: str
    ip: str
    name: str
    version: str
    transport: str
    connected_at: int
    channels: list[str]
    num_channels: int
    waiting_bytes: int


class Share(Struct, frozen=True):
    """What one node answers: the first of its connections, and how many fit in all."""

    connections: list[Connected]
    total: int


class Page(Struct, frozen=True, omit_defaults=True):
    """`cursor` is absent on the last page; `missing`: nodes that did not answer."""

    connections: list[Connected]
    total: int
    cursor: str = ""
    missing: list[str] = []


_decode_query: Final = msgspec.json.Decoder(Query).decode
_decode_share: Final = msgspec.json.Decoder(Share).decode
_encode: Final = msgspec.json.Encoder().encode

Key = tuple[int, str]
"""The order of pages: by waiting bytes where those count, then by client."""


class Connections:
    """Answers for this node, and asks the others."""

    def __init__(self, node: Node) -> None:
        self._node = node
        node.questions[QUESTION] = self._answer

    async def page(self, query: Query) -> Page:
        """One page over all nodes. Raises ClientError 107 for a cursor that is none of ours."""
        _place(query.cursor)
        answers, missing = await self._node.survey(QUESTION, _encode(query).decode())
        shares = [_decode_share(answer) for answer in answers.values() if answer != b"{}"]
        found = sorted(
            (each for share in shares for each in share.connections), key=lambda each: _key(query, each)
        )
        shown = found[: query.limit]
        last = shown[-1] if len(found) > query.limit else None
        cursor = f"{last.waiting_bytes if query.slow else 0}:{last.client}" if last else ""
        return Page(shown, sum(share.total for share in shares), cursor, missing)

    async def _answer(self, argument: str) -> bytes:
        query = _decode_query(argument)
        fits, after = _filter(query), _place(query.cursor)
        total = 0

        def key(client: Client) -> Key | None:
            nonlocal total
            if client.state is not State.CONNECTED or not fits(client):
                return None
            total += 1
            place = (-client.sink.waiting_bytes if query.slow else 0, client.id)
            return place if after is None or place > after else None

        clients = list(self._candidates(query))
        # One more than the page has: so it shows whether there is another one.
        found, _ = await smallest(clients, query.limit + 1, key)
        return _encode(Share([self._describe(client, -waiting) for (waiting, _), client in found], total))

    def _candidates(self, query: Query) -> Iterable[Client]:
        hub = self._node.hub
        if query.client:
            client = hub.clients.get(query.client)
            return [client] if client else []
        if query.user:
            return hub.of_user(query.user)
        if query.channel:
            channel = hub.channels.get(query.channel)
            return [each.client for each in channel.subscriptions()] if channel else []
        return hub.clients.values()

    def _describe(self, client: Client, waiting: int) -> Connected:
        facts, channels = client.facts, client.subscriptions
        return Connected(
            client=client.id,
            user=client.user,
            appid=client.appid,
            node=self._node.id,
            ip=client.ip,
            name=facts.name,
            version=facts.version,
            transport="websocket",
            connected_at=int(facts.connected_at * 1000),
            channels=list(channels)[:CHANNELS_SHOWN],
            num_channels=len(channels),
            # As it was when the order was made, or else the next page might begin in the wrong place.
            waiting_bytes=waiting or client.sink.waiting_bytes,
        )


def _filter(query: Query) -> Callable[[Client], bool]:
    part = query.search.lower()

    def fits(client: Client) -> bool:
        return (
            (not query.user or client.user == query.user)
            and (not query.client or client.id == query.client)
            and (not query.channel or query.channel in client.subscriptions)
            and (not part or part in client.user.lower() or part in client.id or part in client.ip.lower())
        )

    return fits


def _key(query: Query, found: Connected) -> Key:
    return (-found.waiting_bytes if query.slow else 0, found.client)


def _place(cursor: str) -> Key | None:
    """Where a page begins; None: at the first one."""
    if not cursor:
        return None
    waiting, colon, client = cursor.partition(":")
    if not colon or not (waiting.isascii() and waiting.isdigit() and len(waiting) < 16):
        raise ClientError(ERROR_BAD_REQUEST, "cursor is none of ours")
    return (-int(waiting), client)


def check(query: Query, size: int) -> None:
    """Raises ClientError 107 where a field is beyond its limit; `size`: characters of a text."""
    fields: dict[str, Any] = msgspec.structs.asdict(query)
    for name, value in fields.items():
        if isinstance(value, str) and len(value) > size:
            raise ClientError(ERROR_BAD_REQUEST, f"{name} has more than {size} characters")
    if not 1 <= query.limit <= PAGE_LIMIT:
        raise ClientError(ERROR_BAD_REQUEST, f"limit is 1 to {PAGE_LIMIT}")
