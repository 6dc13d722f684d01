"""The opening handshake: one HTTP request in, 101 or an answer that helps out."""

from __future__ import annotations

import email.utils
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import msgspec
from websockets.datastructures import Headers
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from gateway.websocket.peers import Peers
from gateway.websocket.upgrade import accepted, read_upgrade

PATH: Final = "/connection/websocket"
HEAD_LIMIT: Final = 16 * 1024
"""Bytes of an HTTP request head."""

JSON_PROTOCOL: Final = Subprotocol("centrifuge-json")
PROTOBUF_PROTOCOL: Final = Subprotocol("centrifuge-protobuf")
_SUBPROTOCOLS: Final = (JSON_PROTOCOL, PROTOBUF_PROTOCOL)

library_log = logging.getLogger("gateway.websockets")
library_log.setLevel(logging.CRITICAL)  # the library's lines hold query strings, which hold tokens

_DEFLATE: Final = ServerPerMessageDeflateFactory(
    # Without context takeover one compressed frame serves every subscriber, and no connection keeps a window.
    server_no_context_takeover=True,
    client_no_context_takeover=True,
)


@dataclass(frozen=True, slots=True)
class Opened:
    """The outcome of a handshake.

    Attributes:
        response: the bytes to send.
        label: for the metrics; "accepted" means that the socket is open.
        headers: those that are kept, names in lower case; None where there are none.
        protobuf: the client wants Protobuf, and has to be told on the open socket that it is not served.
    """

    response: bytes
    label: str
    ip: str = ""
    protobuf: bool = False
    extensions: Sequence[Extension] = ()
    headers: Mapping[str, str] | None = None


class Handshakes:
    """Answers opening handshakes.

    Arguments:
        message_limit: bytes of one message.
        kept_headers: names of headers that are kept for the team's code, in lower case. The rest is dropped
            after the handshake: a connection is to cost little.
    """

    def __init__(
        self,
        peers: Peers,
        *,
        message_limit: int,
        compression: bool,
        kept_headers: Collection[str] = (),
    ) -> None:
        self._kept = tuple(sorted(kept_headers))
        self._peers = peers
        self._message_limit = message_limit
        self._compression = compression
        self._date = (0, "")

    def answer(self, head: bytes, peer: str, refusal: str) -> Opened:
        """Answer the request in `head` (up to its empty line) from the address `peer`.

        Arguments:
            refusal: "full" or "draining" if no client can be taken now, else empty.
        """
        return (None if refusal else self._quickly(head, peer)) or self._by_library(head, peer, refusal)

    def _quickly(self, head: bytes, peer: str) -> Opened | None:
        """The answer to an ordinary client that may come in; None for all others."""
        request = read_upgrade(head)
        if request is None or request.path.partition("?")[0] != PATH:
            return None
        if self._compression and b"sec-websocket-extensions" in request.headers:
            return None
        if b"origin" in request.headers and not self._peers.origin_allowed(
            request.header(b"origin"), request.header(b"host")
        ):
            return None
        protocol = _choose(request.protocols)
        kept = {
            name: request.header(name.encode()) for name in self._kept if name.encode() in request.headers
        }
        return Opened(
            accepted(request.accept, self._today(), protocol),
            "accepted",
            ip=self._peers.client_ip(peer, request.header(b"x-forwarded-for")),
            protobuf=protocol == PROTOBUF_PROTOCOL or _asks_for_protobuf(request.path),
            headers=kept or None,
        )

    def _today(self) -> str:
        """The date for HTTP, written once a second."""
        now = int(time.time())
        if now != self._date[0]:
            self._date = now, email.utils.formatdate(now, usegmt=True)
        return self._date[1]

    def _by_library(self, head: bytes, peer: str, refusal: str) -> Opened:
        protocol = _Library(
            subprotocols=_SUBPROTOCOLS,
            extensions=[_DEFLATE] if self._compression else None,
            max_size=self._message_limit,
            logger=library_log,
        )
        protocol.receive_data(head)
        events = protocol.events_received()
        if not events or not isinstance(events[0], Request):
            body = b"".join(protocol.data_to_send())
            return Opened(body or _plain(HTTPStatus.BAD_REQUEST, "Not an HTTP request."), "bad_request")
        request = events[0]
        label, response = self._judge(protocol, request, refusal)
        forwarded = ", ".join(request.headers.get_all("X-Forwarded-For"))
        ip = self._peers.client_ip(peer, forwarded)
        if label == "not_websocket":
            # Tells nobody more than their own address; shows `gateway doctor` whether the proxy passes it.
            response.headers["X-Client-IP"] = ip
        protocol.send_response(response)
        # A generator that knows its object: left open, each handshake would be a cycle, and collecting
        # thousands of them holds the loop.
        protocol.parser.close()
        if protocol.handshake_exc is not None:  # so would be a refused one, by its traceback
            protocol.handshake_exc.__traceback__ = None
        return Opened(
            b"".join(protocol.data_to_send()),
            label,
            ip=ip,
            protobuf=protocol.subprotocol == PROTOBUF_PROTOCOL or _asks_for_protobuf(request.path),
            extensions=protocol.extensions,
            headers=self._keep(request.headers) if self._kept else None,
        )

    def _keep(self, headers: Headers) -> dict[str, str] | None:
        found = {name: ", ".join(headers.get_all(name)) for name in self._kept if name in headers}
        return found or None

    def _judge(self, protocol: ServerProtocol, request: Request, refusal: str) -> tuple[str, Response]:
        if request.path.partition("?")[0] != PATH:
            return "wrong_path", _json(HTTPStatus.NOT_FOUND, f"Nothing is here: connect to {PATH}.")
        if refusal:
            response = _json(
                HTTPStatus.SERVICE_UNAVAILABLE, "No room for another connection, try again later."
            )
            response.headers["Retry-After"] = "5"
            return refusal, response
        origin, host = (", ".join(request.headers.get_all(name)) for name in ("Origin", "Host"))
        if not self._peers.origin_allowed(origin, host):
            return "forbidden_origin", _json(
                HTTPStatus.FORBIDDEN, "Pages of this origin may not connect: see websocket.allowed_origins."
            )
        response = protocol.accept(request)
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            return "accepted", response
        if response.status_code == HTTPStatus.UPGRADE_REQUIRED:
            return "not_websocket", _upgrade_required()
        return "bad_request", response


class _Library(ServerProtocol):
    """A method, where the library offers an argument: bound to its object, that one would be a cycle."""

    def select_subprotocol(self, subprotocols: Sequence[Subprotocol]) -> Subprotocol | None:
        return _choose(subprotocols)


def _choose(offered: Sequence[str]) -> Subprotocol | None:
    """Ours if it is offered. Others are not echoed: a client that insists sees that at once."""
    for known in _SUBPROTOCOLS:
        if known in offered:
            return known
    return None


def _asks_for_protobuf(path: str) -> bool:
    query = path.partition("?")[2].split("&")
    return "format=protobuf" in query or "cf_protocol=protobuf" in query


def _upgrade_required() -> Response:
    response = _json(
        HTTPStatus.UPGRADE_REQUIRED,
        "This is the WebSocket endpoint of wx-gateway, and it works. Open it with a WebSocket client. If you "
        "did, the proxy in front dropped the Upgrade and Connection headers: `gateway nginx` prints a site "
        "that passes them.",
    )
    response.headers["Upgrade"] = "websocket"
    del response.headers["Connection"]
    response.headers["Connection"] = "Upgrade, close"
    return response


def _json(status: HTTPStatus, message: str) -> Response:
    body = msgspec.json.encode({"status": status.value, "message": message})
    headers = Headers(
        [
            ("Content-Type", "application/json; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
    )
    return Response(status.value, status.phrase, headers, body)


def _plain(status: HTTPStatus, message: str) -> bytes:
    return _json(status, message).serialize()
