"""One socket: bytes to commands, frames to bytes, and an end that the client understands.

The connection is an `asyncio.Protocol`. It costs no task and no timer; deadlines of all connections are swept
by one (`sweeper`). The `websockets` library does the handshake and every frame that is not a plain
whole message; between two such frames a connection holds none of its objects.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

import structlog
from websockets.frames import Close, Frame, Opcode

from gateway.client import Client, Limits, Tick
from gateway.deadlines import Deadlines
from gateway.errors import (
    DISCONNECT_BAD_REQUEST,
    DISCONNECT_EXPIRED,
    DISCONNECT_INAPPROPRIATE_PROTOCOL,
    DISCONNECT_INVALID_UTF8,
    DISCONNECT_SLOW,
    ClientError,
    Disconnect,
    cut_reason,
)
from gateway.frames import LIBRARY, TEXT, FrameSplitter, text_frame
from gateway.metrics import Metrics
from gateway.node.node import Node
from gateway.outbox import Outboxes
from gateway.protocol import CLOSE, PING, decode, encode_disconnect
from gateway.websocket.connecting import Connecting
from gateway.websocket.dispatch import Dispatcher
from gateway.websocket.expiry import Expiry
from gateway.websocket.handshake import HEAD_LIMIT, Handshakes
from gateway.websocket.uncommon import Answer, Farewell, Message, UncommonFrames

DISCARD_LIMIT: Final = 64 * 1024
"""Bytes that are read and thrown away while a client's close frame is awaited; then it is cut off."""
CLOSE_TIMEOUT: Final = 3.0
"""Seconds that a client has to answer our close frame, or to take what it was sent before."""
HANDSHAKE_RESERVE: Final = 16
"""Sockets above `max_connections` that may still ask, to be answered in words; the next are cut short."""
_PING_FRAME: Final = text_frame(PING)
_END_OF_HEAD: Final = b"\r\n\r\n"
_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)

log = structlog.get_logger()


@dataclass(slots=True)
class Shared:
    """What all connections of a process share.

    Attributes:
        message_limit: bytes of one message. queue_size: unsent bytes after which a client is slow.
        max_connections: 0 is no limit.
        clock: monotonic seconds.
        tap: is given the messages of connections that are traced: client, "in" or "out", message.
    """

    node: Node
    connecting: Connecting
    expiry: Expiry
    dispatcher: Dispatcher
    outboxes: Outboxes
    handshakes: Handshakes
    deadlines: Deadlines[Connection]
    metrics: Metrics
    limits: Limits
    message_limit: int
    queue_size: int
    max_connections: int
    clock: Callable[[], float]
    connections: set[Connection]
    tap: Callable[[str, str, bytes], None] | None = None

    def refusal(self) -> str:
        """Why no further client can be taken; empty: it can."""
        if self.node.draining:
            return "draining"
        full = self.max_connections and len(self.connections) > self.max_connections
        return "full" if full else ""

    def is_crowded(self) -> bool:
        """Whether even those that have not shaken hands yet are too many."""
        return bool(self.max_connections) and len(self.connections) > self.max_connections + HANDSHAKE_RESERVE


class Connection(asyncio.Protocol):
    """One client's socket; the `ClientSink` of its client."""

    __slots__ = (
        "_client",
        "_closing",
        "_congested",
        "_discarded",
        "_head",
        "_parting",
        "_shared",
        "_splitter",
        "_transport",
        "_uncommon",
        "_unsent",
        "outbox",
    )

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._transport: asyncio.Transport | None = None
        self._client: Client | None = None
        self._splitter = FrameSplitter(shared.message_limit)
        self._head: bytes | None = b""
        self._uncommon: UncommonFrames | None = None
        self._discarded = 0
        self._unsent = 0
        self._closing = False
        self._parting: bytes | None = None
        self._congested = False
        self.outbox: list[bytes] = []

    # ------------------------------------------------------------------ asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        shared = self._shared
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=shared.queue_size, low=shared.queue_size // 2)
        shared.connections.add(self)
        if shared.is_crowded():
            # Told at once: waiting for its request would keep the file that another client needs.
            shared.metrics.handshake("full")
            self._transport.write(_FULL)
            self._end_transport()
            return
        shared.deadlines.set(self, shared.clock() + shared.limits.first_message_timeout)

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            data = self._read_head(data)
            if not data:
                return
        if self._closing and not self._may_discard(len(data)):
            return
        try:
            items = self._splitter.feed(data)
        except ClientError as error:
            self._refuse(error)
            return
        for kind, content in items:
            if kind == LIBRARY:
                self._take_frame(content)
            elif not self._closing and self._parting is None:
                self._take_message(kind, content)

    def _may_discard(self, size: int) -> bool:
        """Whether to look for the close frame in what comes after ours; not without end."""
        self._discarded += size
        if self._discarded > DISCARD_LIMIT:
            self.abort()
            return False
        return True

    def eof_received(self) -> bool:
        return False  # the transport closes itself: a client that stopped writing has gone

    def connection_lost(self, exc: Exception | None) -> None:
        shared = self._shared
        shared.connections.discard(self)
        shared.deadlines.discard(self)
        self.outbox.clear()
        if not self._closing:
            self._closing = True
            shared.metrics.disconnect(1006)
            log.debug(
                "connection lost", client=self._client.id if self._client else "", why=str(exc or "closed")
            )
        self._leave()
        # Each of these knows this connection: without them no cycle is left for the garbage collector.
        self._transport = None
        self._client = None

    def pause_writing(self) -> None:
        self._congested = True

    def resume_writing(self) -> None:
        self._congested = False

    # ------------------------------------------------------------------ opening
    def _read_head(self, data: bytes) -> bytes:
        """Collect the HTTP request, answer it; what came after it is returned."""
        head = (self._head or b"") + data
        end = head.find(_END_OF_HEAD)
        if end < 0 and len(head) <= HEAD_LIMIT:
            self._head = head
            return b""
        self._head = None
        rest = head[end + 4 :] if end >= 0 else b""
        self._open(head[: end + 4] if end >= 0 else head)
        return b"" if self._closing else rest

    def _open(self, head: bytes) -> None:
        transport, shared = self._transport, self._shared
        if transport is None:
            return
        peer = (transport.get_extra_info("peername") or ("",))[0]
        opened = shared.handshakes.answer(head, peer, shared.refusal())
        shared.metrics.handshake(opened.label)
        transport.write(opened.response)
        if opened.label != "accepted":
            self._end_transport()
            return
        now = shared.clock()
        client = Client(str(uuid.uuid4()), self, shared.limits, ip=opened.ip, now=now)
        client.headers = opened.headers
        self._client = client
        if opened.extensions:
            self._uncommon = UncommonFrames(shared.message_limit, opened.extensions, now)
            client.deflate = True
        shared.deadlines.set(self, client.next_deadline())
        if opened.protobuf:
            # Accepted only to be told so: an SDK whose subprotocol is refused tries again for ever.
            self.disconnect(DISCONNECT_INAPPROPRIATE_PROTOCOL)

    # ------------------------------------------------------------------ in
    def _take_message(self, kind: int, payload: bytes) -> None:
        client = self._client
        if client is None:
            return
        metrics = self._shared.metrics
        metrics.messages_in += 1
        metrics.bytes_in += len(payload)
        if not payload.isascii() and not _is_utf8(payload):
            outcome = DISCONNECT_INVALID_UTF8 if kind == TEXT else DISCONNECT_BAD_REQUEST
            self._refuse(ClientError(outcome, "a message that is not UTF-8"))
            return
        try:
            commands = decode(payload)
        except ClientError as error:
            self._refuse(error)
            return
        self._shared.dispatcher.receive(client, commands)

    def _take_frame(self, frame: bytes) -> None:
        """A frame off the fast path: the library judges it."""
        if self._closing or self._parting is not None:
            if frame[0] & 0x0F == Opcode.CLOSE and self._closing:
                self._end_transport()
            return
        now = self._shared.clock()
        uncommon = self._uncommon
        if uncommon is None:
            uncommon = self._uncommon = UncommonFrames(self._shared.message_limit, (), now)
        try:
            outcome = uncommon.take(frame, now)
        except ClientError as error:
            self._refuse(error)
            return
        match outcome:
            case Message(kind, payload):
                self._take_message(kind, payload)
            case Answer(answer):
                self._shared.outboxes.post(self, answer)
            case Farewell():
                self._take_leave(outcome)

    def _take_leave(self, farewell: Farewell) -> None:
        """The client closes; what it said before is done first."""
        client = self._client
        self._shared.metrics.disconnect(farewell.code)
        log.debug("client closes", client=client.id if client else "", code=farewell.code)
        self._parting = farewell.answer
        if client is not None:
            client.end_code = farewell.code
        if client is not None and client.backlog is not None:
            client.backlog.append(CLOSE)
            self._shared.deadlines.set(self, self._shared.clock() + CLOSE_TIMEOUT)
        else:
            self.part()

    def _refuse(self, error: ClientError) -> None:
        disconnect = cast("Disconnect", error.outcome)
        client = self._client
        log.info(
            "client is disconnected",
            client=client.id if client else "",
            ip=client.ip if client else "",
            code=disconnect.code,
            why=error.detail,
        )
        self.disconnect(disconnect)

    # ------------------------------------------------------------------ out
    def send(self, payload: bytes) -> None:
        """See `ClientSink`."""
        if not self._closing:
            metrics = self._shared.metrics
            metrics.messages_out += 1
            metrics.bytes_out += len(payload)
            self._unsent += len(payload)
            self._shared.outboxes.post(self, text_frame(payload))

    def flush(self) -> None:
        """See `outbox.Sink`."""
        outbox, transport = self.outbox, self._transport
        if not outbox:
            return
        data = outbox[0] if len(outbox) == 1 else b"".join(outbox)
        outbox.clear()
        self._unsent = 0
        if transport is None or self._closing:
            return
        if self._congested:
            self._shared.metrics.slow_consumers += 1
            self.disconnect(DISCONNECT_SLOW)
            return
        try:
            transport.write(data)
        except RuntimeError as error:  # it was closed in this turn, and will say so in the next
            log.debug("written to a closed socket", why=str(error))

    @property
    def is_full(self) -> bool:
        """See `ClientSink`."""
        return self._congested or self._unsent > self._shared.queue_size

    @property
    def waiting_bytes(self) -> int:
        """Bytes that this client has not taken yet: replies that are queued, and what the socket holds."""
        held = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return self._unsent + held

    def pause_reading(self) -> None:
        """See `ClientSink`."""
        if self._transport is not None and not self._transport.is_closing() and self._transport.is_reading():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See `ClientSink`."""
        if (
            self._transport is not None
            and not self._transport.is_closing()
            and not self._transport.is_reading()
        ):
            self._transport.resume_reading()

    # ------------------------------------------------------------------ the end
    def disconnect(self, disconnect: Disconnect) -> None:
        """See `ClientSink`. The push comes first: a mini-program sees nothing of a close frame."""
        if self._closing or self._transport is None:
            return
        self._shared.metrics.disconnect(disconnect.code)
        if self._client is not None:
            self._client.end_code = disconnect.code
        push = text_frame(encode_disconnect(disconnect))
        close = Frame(Opcode.CLOSE, Close(disconnect.code, cut_reason(disconnect.reason)).serialize())
        self._begin_close(push + close.serialize(mask=False))
        # What the client still sends is read until its close frame: closing now might reset the connection,
        # and a reset takes with it what the client has not read yet.
        self.resume_reading()
        if self._parting is not None:  # that frame has come, while the command was under way that ends here
            self._end_transport()

    def part(self) -> None:
        """See `ClientSink`: answer the client's close frame."""
        if not self._closing:
            self._begin_close(self._parting or b"")
            self._end_transport()

    def _begin_close(self, last: bytes) -> None:
        """Write what is queued, then `last`; from here on the client is gone for everybody else."""
        transport = self._transport
        if transport is not None:
            transport.write(b"".join((*self.outbox, last)))
        self.outbox.clear()
        self._closing = True
        self._shared.deadlines.set(self, self._shared.clock() + CLOSE_TIMEOUT)
        self._leave()

    def _leave(self) -> None:
        client = self._client
        if client is not None and client.is_open:
            client.close()
            self._shared.connecting.leave(client)
        self._uncommon = None

    def _end_transport(self) -> None:
        """Close the TCP connection once all is written; the deadline aborts it where that hangs."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()
            self._shared.deadlines.set(self, self._shared.clock() + CLOSE_TIMEOUT)

    def abort(self) -> None:
        """Cut the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------------ time
    def tick(self, now: float) -> None:
        """A deadline of this connection has passed."""
        client, transport = self._client, self._transport
        if transport is None:
            return
        if self._closing or self._parting is not None or client is None:
            transport.abort()
            return
        outcome = client.tick(now)
        if outcome is DISCONNECT_EXPIRED:
            self._shared.expiry.connection(client)
        elif isinstance(outcome, Disconnect):
            self.disconnect(outcome)
        elif outcome is Tick.PING:
            self._shared.outboxes.post(self, _PING_FRAME)
        for subscription in client.expired_subscriptions(now):
            self._shared.expiry.subscription(subscription)
        self.reschedule()

    def reschedule(self) -> None:
        """The client's deadlines have moved."""
        if self._client is not None and not self._closing:
            self._shared.deadlines.set(self, self._client.next_deadline())


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
