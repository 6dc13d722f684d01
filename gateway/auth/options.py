"""What a token, or the team's backend, says about one subscription, in Centrifugo's JSON; pure."""

from __future__ import annotations

import base64
import binascii

import msgspec
from msgspec import Raw, Struct


class Override(Struct, frozen=True):
    """Channel options that are set for one subscription; None leaves the namespace's."""

    presence: bool | None = None
    join_leave: bool | None = None
    force_recovery: bool | None = None
    force_positioning: bool | None = None
    force_push_join_leave: bool | None = None


class SubscriptionOptions(Struct, frozen=True):
    """`info` and `data` are compact JSON."""

    info: Raw | None = None
    data: Raw | None = None
    override: Override = Override()


class Flag(Struct, frozen=True):
    """How the JSON tells "off" from "not said"."""

    value: bool


class WireOverride(Struct, frozen=True):
    """`Override` in JSON."""

    presence: Flag | None = None
    join_leave: Flag | None = None
    force_recovery: Flag | None = None
    force_positioning: Flag | None = None
    force_push_join_leave: Flag | None = None


class WireOptions(Struct, frozen=True):
    """`SubscriptionOptions` in JSON."""

    info: Raw = Raw()
    b64info: str | None = None
    data: Raw = Raw()
    b64data: str | None = None
    override: WireOverride | None = None

    def read(self) -> SubscriptionOptions:
        """Raises ValueError where base64 holds no JSON."""
        return SubscriptionOptions(
            embedded_json(self.info, self.b64info),
            embedded_json(self.data, self.b64data),
            read_override(self.override),
        )


def read_override(wire: Struct | None) -> Override:
    """Of a struct with the fields of `WireOverride`; a plain bool is a flag, too."""
    flags = msgspec.structs.asdict(wire) if wire is not None else {}
    return Override(
        **{
            name: flag.value if isinstance(flag, Flag) else flag
            for name, flag in flags.items()
            if flag is not None
        }
    )


def embedded_json(raw: Raw, encoded: str | None = None) -> Raw | None:
    """One value from its two spellings, as compact JSON: a line break would split a frame of replies.

    Raises ValueError where base64 holds no JSON.
    """
    if encoded:
        try:
            data = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("not base64") from None
        try:
            msgspec.json.decode(data.decode("utf-8"))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ValueError("base64 of something else than JSON") from None
    else:
        data = bytes(raw)
    if data in (b"", b"null"):
        return None
    return Raw(msgspec.json.format(data, indent=-1))
