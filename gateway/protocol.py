"""The wire: commands in, replies and pushes out, in the JSON of the Centrifuge client protocol.

A frame holds one or more JSON objects, one to a line. `decode` turns it into validated commands or raises
`ClientError`, and nothing else, whatever the bytes. What the protocol calls *bytes* (the `data` of a
publication, an rpc, a connect) is embedded JSON: it is kept as `Raw`, byte for byte, never parsed here.

Zero values are left out on the way out; fields without a default are the exceptions that the protocol wants
to see even when they are empty.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw, Struct

from gateway.errors import DISCONNECT_BAD_REQUEST, ClientError, Disconnect, Error

UInt32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Offset = Annotated[int, Meta(ge=0, le=2**63 - 1)]

EMPTY_RAW: Final = Raw(b"")
MAX_TTL: Final = 365 * 86400
"""Seconds; the longest expiry that a client is told, because SDKs keep it in a timer."""
PING: Final = b"{}"
"""The server's ping; the client's pong has the same bytes."""


# ---------------------------------------------------------------------------- shared by both directions
class ClientInfo(Struct, omit_defaults=True, frozen=True):
    """Who is behind a presence entry, a join, a leave or a publication."""

    user: str
    client: str
    conn_info: Raw = EMPTY_RAW
    chan_info: Raw = EMPTY_RAW


class Publication(Struct, omit_defaults=True, frozen=True):
    """One publication as clients see it. `offset` 0: the channel keeps no history of it."""

    data: Raw
    info: ClientInfo | None = None
    offset: int = 0
    tags: dict[str, str] | None = None


class StreamPosition(Struct, omit_defaults=True, frozen=True):
    """A place in a channel's history; the epoch changes when the history was lost."""

    offset: Offset = 0
    epoch: str = ""


# ---------------------------------------------------------------------------- commands
class RecoverPosition(Struct, frozen=True):
    """What the client last saw of one server-side subscription."""

    recover: bool = False
    offset: Offset = 0
    epoch: str = ""
    delta: str = ""


class ConnectRequest(Struct, frozen=True):
    token: str | None = None
    data: Raw = EMPTY_RAW
    subs: dict[str, RecoverPosition] | None = None
    name: str = ""
    version: str = ""
    headers: dict[str, str] | None = None


class SubscribeRequest(Struct, frozen=True):
    channel: str = ""
    token: str | None = None
    recover: bool = False
    offset: Offset = 0
    epoch: str = ""
    data: Raw = EMPTY_RAW
    positioned: bool = False
    recoverable: bool = False
    join_leave: bool = False
    delta: str = ""
    flag: Offset = 0
    type: int = 0
    tf: Raw = EMPTY_RAW


class UnsubscribeRequest(Struct, frozen=True):
    channel: str = ""


class PublishRequest(Struct, frozen=True):
    channel: str = ""
    data: Raw = EMPTY_RAW


class PresenceRequest(Struct, frozen=True):
    channel: str = ""


class PresenceStatsRequest(Struct, frozen=True):
    channel: str = ""


class HistoryRequest(Struct, frozen=True):
    channel: str = ""
    limit: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] = 0
    since: StreamPosition | None = None
    reverse: bool = False


class RPCRequest(Struct, frozen=True):
    method: str = ""
    data: Raw = EMPTY_RAW


class SendRequest(Struct, frozen=True):
    data: Raw = EMPTY_RAW


class RefreshRequest(Struct, frozen=True):
    token: str = ""


class SubRefreshRequest(Struct, frozen=True):
    channel: str = ""
    token: str = ""
    type: int = 0


class PingRequest(Struct, frozen=True):
    """In the schema, but pings are the server's: a client that sends one is closed."""


Request = (
    ConnectRequest
    | SubscribeRequest
    | UnsubscribeRequest
    | PublishRequest
    | PresenceRequest
    | PresenceStatsRequest
    | HistoryRequest
    | RPCRequest
    | SendRequest
    | RefreshRequest
    | SubRefreshRequest
    | PingRequest
)


class Command(Struct, frozen=True):
    """One command: `method` is the key it stood under; a pong has the method "pong" and no request."""

    id: int
    method: str
    request: Request | None


PONG: Final = Command(0, "pong", None)
CLOSE: Final = Command(0, "close", None)
"""The client's close frame, where commands before it still wait: its last words come first."""

_decode_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_id: Final = msgspec.json.Decoder(UInt32).decode
_decode_request: Final[dict[str, Callable[[Raw], Request]]] = {
    "connect": msgspec.json.Decoder(ConnectRequest).decode,
    "subscribe": msgspec.json.Decoder(SubscribeRequest).decode,
    "unsubscribe": msgspec.json.Decoder(UnsubscribeRequest).decode,
    "publish": msgspec.json.Decoder(PublishRequest).decode,
    "presence": msgspec.json.Decoder(PresenceRequest).decode,
    "presence_stats": msgspec.json.Decoder(PresenceStatsRequest).decode,
    "history": msgspec.json.Decoder(HistoryRequest).decode,
    "rpc": msgspec.json.Decoder(RPCRequest).decode,
    "send": msgspec.json.Decoder(SendRequest).decode,
    "refresh": msgspec.json.Decoder(RefreshRequest).decode,
    "sub_refresh": msgspec.json.Decoder(SubRefreshRequest).decode,
    "ping": msgspec.json.Decoder(PingRequest).decode,
}


def decode(message: bytes) -> list[Command]:
    """The commands of one frame, in order.

    Raises:
        ClientError: with disconnect 3501, for anything that is not one to many well-formed commands.
    """
    try:
        if b"\n" not in message:
            return [_command(message)] if message != PING else [PONG]
        commands = [_command(line) for line in message.split(b"\n") if line.strip()]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ClientError(DISCONNECT_BAD_REQUEST, f"not a command: {error}") from None
    except RecursionError:
        raise ClientError(DISCONNECT_BAD_REQUEST, "not a command: nested too deeply") from None
    if not commands:
        raise ClientError(DISCONNECT_BAD_REQUEST, "a frame without commands")
    return commands


def _command(line: bytes) -> Command:
    fields = _decode_fields(line)
    id_field = fields.pop("id", None)
    command_id = _decode_id(id_field) if id_field is not None else 0
    if len(fields) != 1:  # nearly always there is the method and nothing else
        fields = {name: fields[name] for name in fields.keys() & _decode_request.keys()}
        if len(fields) > 1:
            raise ClientError(DISCONNECT_BAD_REQUEST, f"more than one method: {', '.join(sorted(fields))}")
    for method, content in fields.items():
        decode_request = _decode_request.get(method)
        if decode_request is not None:
            if not command_id and method != "send":
                raise ClientError(DISCONNECT_BAD_REQUEST, f"a {method} command needs an id of at least 1")
            return Command(command_id, method, decode_request(content))
    if command_id:
        raise ClientError(DISCONNECT_BAD_REQUEST, "a command without a method")
    return PONG


# ---------------------------------------------------------------------------- replies
class SubscribeResult(Struct, omit_defaults=True, frozen=True):
    expires: bool = False
    ttl: int = 0
    recoverable: bool = False
    positioned: bool = False
    epoch: str = ""
    offset: int = 0
    publications: list[Publication] | None = None
    recovered: bool = False
    was_recovering: bool = False
    data: Raw = EMPTY_RAW


class ConnectResult(Struct, omit_defaults=True, frozen=True):
    """`ping` and `ttl` in seconds; `pong`: the client must answer pings."""

    client: str
    version: str
    expires: bool = False
    ttl: int = 0
    data: Raw = EMPTY_RAW
    subs: dict[str, SubscribeResult] | None = None
    ping: int = 0
    pong: bool = False


class RefreshResult(Struct, omit_defaults=True, frozen=True):
    client: str = ""
    version: str = ""
    expires: bool = False
    ttl: int = 0


class SubRefreshResult(Struct, omit_defaults=True, frozen=True):
    expires: bool = False
    ttl: int = 0


class PresenceResult(Struct, frozen=True):
    presence: dict[str, ClientInfo]


class PresenceStatsResult(Struct, frozen=True):
    num_clients: int
    num_users: int


class HistoryResult(Struct, frozen=True):
    publications: list[Publication]
    epoch: str
    offset: int


class EmptyResult(Struct, frozen=True):
    """The `{}` of publish and unsubscribe."""


Result = (
    ConnectResult
    | SubscribeResult
    | RefreshResult
    | SubRefreshResult
    | PresenceResult
    | PresenceStatsResult
    | HistoryResult
    | EmptyResult
)

_encode: Final = msgspec.json.Encoder().encode
_decode_any: Final = msgspec.json.Decoder().decode


def encode_reply(command_id: int, method: str, result: Result) -> bytes:
    """The reply to the command `command_id` that asked for `method`."""
    return b'{"id":%d,"%b":%b}' % (command_id, method.encode(), _encode(result))


def encode_rpc(command_id: int, data: Raw) -> bytes:
    """The reply to an rpc, which is the most frequent of all: without the detour over a result."""
    return b'{"id":%d,"rpc":{"data":%b}}' % (command_id, data) if data else b'{"id":%d,"rpc":{}}' % command_id


def encode_error(command_id: int, error: Error, detail: str = "") -> bytes:
    """An error reply; `detail` replaces the registered message where it helps the developer."""
    body: dict[str, object] = {"code": error.code, "message": detail or error.message}
    if error.temporary:
        body["temporary"] = True
    return b'{"id":%d,"error":%b}' % (command_id, _encode(body))


# ---------------------------------------------------------------------------- pushes
def encode_publication(channel: str, publication: Publication) -> bytes:
    """The push of a publication: made once, whatever the number of subscribers."""
    return b'{"push":{"channel":%b,"pub":%b}}' % (_encode(channel), _encode(publication))


def encode_join(channel: str, info: ClientInfo) -> bytes:
    return b'{"push":{"channel":%b,"join":{"info":%b}}}' % (_encode(channel), _encode(info))


def encode_leave(channel: str, info: ClientInfo) -> bytes:
    return b'{"push":{"channel":%b,"leave":{"info":%b}}}' % (_encode(channel), _encode(info))


def encode_unsubscribe(channel: str, code: int, reason: str) -> bytes:
    """The last thing that a client hears of a subscription."""
    body = {"code": code, "reason": reason}
    return b'{"push":{"channel":%b,"unsubscribe":%b}}' % (_encode(channel), _encode(body))


def encode_subscribe(channel: str, result: SubscribeResult) -> bytes:
    """A server-side subscription was added after connect."""
    return b'{"push":{"channel":%b,"subscribe":%b}}' % (_encode(channel), _encode(result))


def encode_message(data: Raw) -> bytes:
    """A message to this client alone, on no channel."""
    return b'{"push":{"message":{"data":%b}}}' % bytes(data)


def encode_refresh(expires: bool, ttl: int) -> bytes:
    """The server moved the expiry of this connection; `ttl` in seconds."""
    return b'{"push":{"refresh":%b}}' % _encode(RefreshResult(expires=expires, ttl=ttl))


def encode_disconnect(disconnect: Disconnect) -> bytes:
    """The advice before the close frame: a mini-program never sees the close frame's code."""
    body = {"code": disconnect.code, "reason": disconnect.reason, "reconnect": disconnect.reconnect}
    return b'{"push":{"disconnect":%b}}' % _encode(body)


def ttl_until(expire_at: float, now: float) -> int:
    """Seconds until `expire_at` (both unix seconds) as a client is told; 0 where it never expires."""
    return min(MAX_TTL, max(1, math.ceil(expire_at - now))) if expire_at else 0


# ---------------------------------------------------------------------------- embedded JSON
def raw(value: object) -> Raw:
    """`value` as embedded JSON. Raises TypeError where it has no JSON form."""
    return Raw(_encode(value))


def parse_raw(embedded: Raw) -> object:
    """The Python value of embedded JSON; None where the field was absent."""
    return _decode_any(embedded) if embedded else None


def one_line(embedded: bytes) -> Raw:
    """Embedded JSON from outside without raw newlines, which would end the object on the wire.

    Bytes stay as they came wherever they can. It is the caller who checks that they are JSON.
    """
    if b"\n" in embedded or b"\r" in embedded:
        return Raw(msgspec.json.format(embedded, indent=-1))
    return Raw(embedded)
