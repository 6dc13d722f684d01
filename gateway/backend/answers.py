"""Answers as the team writes them, and as the gateway reads them: Centrifugo's JSON.

A Python handler returns one of the classes here, or a dictionary with the same keys; an HTTP backend answers
with the same keys in JSON. Both are read by the same decoders, so both have the same limits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from gateway.auth.options import Flag, SubscriptionOptions, embedded_json, read_override
from gateway.backend.base import Connected, Published, Refreshed, Subscribed
from gateway.protocol import EMPTY_RAW

TAGS_LIMIT: Final = 64
TAGS_SIZE: Final = 8192
"""Characters of all tags of a publication together."""
KEY_SIZE: Final = 64
"""Characters of an idempotency key and of a version epoch."""
USER_SIZE: Final = 255
"""Characters of a user's name."""


# ---------------------------------------------------------------------------- as a handler writes them
class Subscription(Struct, omit_defaults=True):
    """One server-side subscription in the answer to a connect.

    `info`: shown in presence. `data`: for the client. `override`: options of this subscription alone, out of
    presence, join_leave, force_recovery, force_positioning, force_push_join_leave.
    """

    info: Any = None
    data: Any = None
    override: Mapping[str, bool] = {}


class ConnectAnswer(Struct, omit_defaults=True):
    """The client may connect; see `gateway.backend.base.Connected`. `channels`: `subs` without options."""

    user: str = ""
    expire_at: float = 0
    info: Any = None
    data: Any = None
    meta: Any = None
    channels: Sequence[str] = ()
    subs: Mapping[str, Subscription] = {}


class RefreshAnswer(Struct, omit_defaults=True):
    """The connection goes on until `expire_at` (unix seconds, 0: for ever), or has `expired`."""

    expired: bool = False
    expire_at: float = 0
    info: Any = None
    meta: Any = None


class SubscribeAnswer(Struct, omit_defaults=True):
    """The client may subscribe, until `expire_at`; the rest as of `Subscription`."""

    expire_at: float = 0
    info: Any = None
    data: Any = None
    override: Mapping[str, bool] = {}


class SubRefreshAnswer(Struct, omit_defaults=True):
    """The subscription goes on until `expire_at` (unix seconds, 0: for ever), or has `expired`."""

    expired: bool = False
    expire_at: float = 0
    info: Any = None


class PublishAnswer(Struct, omit_defaults=True):
    """The publication goes out, with `data` in place of what the client sent where that is not None."""

    data: Any = None
    skip_history: bool = False
    tags: Mapping[str, str] = {}
    idempotency_key: str = ""
    version: int = 0
    version_epoch: str = ""


# ---------------------------------------------------------------------------- as they are read
_ExpireAt = Annotated[float, Meta(ge=0, le=2**53)]
_Key = Annotated[str, Meta(max_length=KEY_SIZE)]


class _Info(Struct, frozen=True):
    expire_at: _ExpireAt | None = None
    info: Raw = EMPTY_RAW
    b64info: str | None = None


class _Override(Struct, frozen=True):
    """Like that of a token; `true` for `{"value": true}` is understood, too."""

    presence: Flag | bool | None = None
    join_leave: Flag | bool | None = None
    force_recovery: Flag | bool | None = None
    force_positioning: Flag | bool | None = None
    force_push_join_leave: Flag | bool | None = None


class _Options(Struct, frozen=True):
    info: Raw = EMPTY_RAW
    b64info: str | None = None
    data: Raw = EMPTY_RAW
    b64data: str | None = None
    override: _Override | None = None

    def read_options(self) -> SubscriptionOptions:
        return SubscriptionOptions(
            embedded_json(self.info, self.b64info),
            embedded_json(self.data, self.b64data),
            read_override(self.override),
        )


class _Connect(_Info, frozen=True):
    user: Annotated[str, Meta(max_length=USER_SIZE)] | None = None
    data: Raw = EMPTY_RAW
    b64data: str | None = None
    meta: Raw = EMPTY_RAW
    channels: list[str] | None = None
    subs: dict[str, _Options | None] | None = None

    def read(self) -> Connected:
        subs = {channel: SubscriptionOptions() for channel in self.channels or ()}
        for channel, options in (self.subs or {}).items():
            subs[channel] = options.read_options() if options else SubscriptionOptions()
        return Connected(
            user=self.user or "",
            expire_at=self.expire_at or 0.0,
            info=_raw(self.info, self.b64info),
            data=_raw(self.data, self.b64data),
            meta=_raw(self.meta),
            subs=subs,
        )


class _Refresh(_Info, frozen=True):
    expired: bool | None = None
    meta: Raw = EMPTY_RAW

    def read(self) -> Refreshed:
        return Refreshed(
            bool(self.expired), self.expire_at or 0.0, _raw(self.info, self.b64info), _raw(self.meta)
        )


class _Subscribe(_Options, frozen=True):
    expire_at: _ExpireAt | None = None

    def read(self) -> Subscribed:
        return Subscribed(self.read_options(), self.expire_at or 0.0)


class _Publish(Struct, frozen=True):
    data: Raw = EMPTY_RAW
    b64data: str | None = None
    skip_history: bool | None = None
    tags: Annotated[dict[str, str], Meta(max_length=TAGS_LIMIT)] | None = None
    idempotency_key: _Key | None = None
    version: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    version_epoch: _Key | None = None

    def read(self) -> Published:
        tags = self.tags or {}
        if sum(map(len, tags)) + sum(map(len, tags.values())) > TAGS_SIZE:
            raise ValueError(f"tags have more than {TAGS_SIZE} characters")
        return Published(
            data=_raw(self.data, self.b64data),
            skip_history=bool(self.skip_history),
            tags=tags or None,
            idempotency_key=self.idempotency_key or "",
            version=self.version or 0,
            version_epoch=self.version_epoch or "",
        )


class _RPC(Struct, frozen=True):
    data: Raw = EMPTY_RAW
    b64data: str | None = None

    def read(self) -> Raw:
        return _raw(self.data, self.b64data)


def _raw(raw: Raw, encoded: str | None = None) -> Raw:
    return embedded_json(raw, encoded) or EMPTY_RAW


Read = TypeVar("Read", covariant=True)
Reader = Callable[[bytes], Read]
"""JSON to an answer. Raises ValueError with what is wrong."""


def _reader(wire: Any) -> Reader[Any]:
    decode = msgspec.json.Decoder(wire).decode

    def read(body: bytes) -> Any:
        try:
            return decode(body).read()
        except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
            raise ValueError(f"not an answer to this event: {error}") from None

    return read


read_connect: Reader[Connected] = _reader(_Connect)
read_refresh: Reader[Refreshed] = _reader(_Refresh)
read_subscribe: Reader[Subscribed] = _reader(_Subscribe)
read_publish: Reader[Published] = _reader(_Publish)
read_rpc: Reader[Raw] = _reader(_RPC)
