"""What the methods of the server API take and answer, as Centrifugo names it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Raw, Struct

from gateway.node.cluster import NodeInfo
from gateway.node.stats import NodeStats
from gateway.protocol import EMPTY_RAW, Offset, StreamPosition

Expiry = Annotated[int, Meta(ge=0, le=2**53)]
"""Seconds since 1970; 0: never."""


# ---------------------------------------------------------------------------- parameters
class Payload(Struct, frozen=True):
    data: Raw = EMPTY_RAW
    b64data: str = ""
    skip_history: bool = False
    tags: dict[str, str] | None = None
    idempotency_key: str = ""
    delta: bool = False
    version: Offset = 0
    version_epoch: str = ""
    ack: bool = False
    ack_ttl: float | str = 0.0


class Publish(Payload, frozen=True):
    channel: str = ""


class Broadcast(Payload, frozen=True):
    channels: list[str] = []


class BroadcastAll(Struct, frozen=True):
    data: Raw = EMPTY_RAW
    b64data: str = ""
    appid: str = ""


class Flag(Struct, frozen=True):
    value: bool = False


class Override(Struct, frozen=True):
    presence: Flag | None = None
    join_leave: Flag | None = None
    force_push_join_leave: Flag | None = None
    force_positioning: Flag | None = None
    force_recovery: Flag | None = None


class Whose(Struct, frozen=True):
    user: str = ""
    client: str = ""
    session: str = ""


class Subscribe(Whose, frozen=True):
    channel: str = ""
    info: Raw = EMPTY_RAW
    b64info: str = ""
    data: Raw = EMPTY_RAW
    b64data: str = ""
    expire_at: Expiry = 0
    recover_since: StreamPosition | None = None
    override: Override | None = None


class Unsubscribe(Whose, frozen=True):
    channel: str = ""


class Advice(Struct, frozen=True):
    code: int = 0
    reason: str = ""


class DisconnectUser(Whose, frozen=True):
    whitelist: list[str] = []
    disconnect: Advice | None = None


class Refresh(Whose, frozen=True):
    expired: bool = False
    expire_at: Expiry = 0
    info: Raw = EMPTY_RAW


class OneChannel(Struct, frozen=True):
    channel: str = ""


class ReadHistory(Struct, frozen=True):
    channel: str = ""
    limit: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] = 0
    since: StreamPosition | None = None
    reverse: bool = False


class Pattern(Struct, frozen=True):
    pattern: str = ""


class Nothing(Struct, frozen=True):
    """`info` and `stats` take no parameters."""


# ---------------------------------------------------------------------------- results
class Published(Struct, frozen=True, omit_defaults=True):
    offset: int = 0
    epoch: str = ""
    id: str = ""


class ChannelInfo(Struct, frozen=True):
    num_clients: int


class ChannelsResult(Struct, frozen=True, omit_defaults=True):
    """`missing`: ids of nodes that did not answer in time, so that their subscribers are not counted."""

    channels: dict[str, ChannelInfo]
    missing: list[str] = []


class InfoResult(Struct, frozen=True, omit_defaults=True):
    """`missing`: ids of nodes that were there a moment ago and did not answer."""

    nodes: list[NodeInfo]
    missing: list[str] = []


class StatsResult(Struct, frozen=True, omit_defaults=True):
    """`missing`: as in `InfoResult`."""

    nodes: list[NodeStats]
    missing: list[str] = []
