"""The gateway's own rpc methods: what a client tells the gateway, and never the team's code."""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from gateway.client import Client
from gateway.errors import ERROR_BAD_REQUEST, ERROR_PERMISSION_DENIED, ClientError
from gateway.inbox.records import ID_LIMIT
from gateway.inbox.service import Inbox
from gateway.notify.ledger import TEMPLATES_LIMIT, Answer, Ledger
from gateway.protocol import raw
from gateway.websocket.commands import Builtin
from gateway.wechat.subscribe_message import TemplateId

ACK_LIMIT: Final = 500
"""Deliveries that one rpc acknowledges."""

DeliveryId = Annotated[str, Meta(max_length=ID_LIMIT)]

T = TypeVar("T")


class Ack(Struct, frozen=True):
    ids: Annotated[list[DeliveryId], Meta(max_length=ACK_LIMIT)]


class Granted(Struct, frozen=True):
    templates: Annotated[dict[TemplateId, Answer], Meta(max_length=TEMPLATES_LIMIT)]


_ack: Final = msgspec.json.Decoder(Ack)
_granted: Final = msgspec.json.Decoder(Granted)


def inbox_builtins(inbox: Inbox) -> dict[str, Builtin]:
    """`ack {"ids":[…]}` → `{"acknowledged":[…]}`."""

    async def ack(client: Client, data: Raw) -> Raw:
        ids = decoded(_ack, data).ids
        return raw({"acknowledged": await inbox.acknowledge(signed_in(client), ids)})

    return {"ack": ack}


def grant_builtins(ledger: Ledger) -> dict[str, Builtin]:
    """`gateway.granted {"templates":{"<id>":"accept"}}` → `{"grants":{"<id>":1}}`: what the user answered to
    `wx.requestSubscribeMessage`."""

    async def granted(client: Client, data: Raw) -> Raw:
        templates = decoded(_granted, data).templates
        return raw({"grants": await ledger.report(signed_in(client), templates)})

    return {"gateway.granted": granted}


def signed_in(client: Client) -> str:
    """The user; anonymous clients have nothing of their own."""
    if not client.user:
        raise ClientError(ERROR_PERMISSION_DENIED, "an anonymous client has no inbox")
    return client.user


def decoded(decoder: msgspec.json.Decoder[T], data: Raw) -> T:
    """The parameters. Raises ClientError 107 that says what is wrong with them."""
    try:
        return decoder.decode(bytes(data) or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ClientError(ERROR_BAD_REQUEST, str(error)) from None
