"""One simulated phone: a socket, its subscriptions, and what it has seen, all of it kept over reconnects.

Everybody in a channel gets the same bytes, so what a read means is worked out once and looked up by the
other subscribers (`Crowd.known`): a delivered message costs a phone about a microsecond of Python.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Protocol, cast

import msgspec

from gateway.loadtest import wire
from gateway.loadtest.histogram import bucket
from gateway.loadtest.tally import Tally
from gateway.loadtest.track import Track

AWAY, OPENING, ENTERING, IN = range(4)
FIRST_CALL = 1000
"""Ids from here on are RPC calls, those below sign in and subscribe."""
CODES_AGAIN = (109, 111)
"""Errors of a connect after which a phone tries again: the token is too old, too many at once."""

Message = tuple[str, int, int, int]
"""Channel, number, when it was due (µs), offset."""


class Owner(Protocol):
    """What a phone needs of its crowd; see there."""

    run: str
    upgrade: bytes
    known: dict[bytes, list[Message]]
    tick: float
    baseline: int
    tally: Tally

    def now(self) -> int: ...
    def hello(self, phone: Phone) -> dict[str, Any]: ...
    def channels_of(self, number: int) -> list[str]: ...
    def remember(self, data: bytes, messages: list[Message]) -> None: ...
    def odd(self, verdict: str) -> None: ...
    def answered(self, due: int) -> None: ...
    def put_off(self, phone: Phone, at: int) -> None: ...
    def entered(self, phone: Phone) -> None: ...
    def left(self, phone: Phone, before: int) -> None: ...


class Phone(asyncio.Protocol):
    """One client.

    Attributes:
        number: which one of all clients.
        token: what it signs in with next; "" fetches a code.
        due: µs at which its connect should have begun.
        why: the code that the server closed with, if it said one.
        planned: it is away because the scenario wants it.
        began_back: it was dropped by a storm and is on its way back.
    """

    __slots__ = (
        "_answers", "_crowd", "_frames", "began_back", "calls", "due", "granted", "heard", "next_call",
        "number", "planned", "slow", "state", "token", "tracks", "transport", "tries", "why",
    )  # fmt: skip
    transport: asyncio.Transport

    def __init__(self, crowd: Owner, number: int, *, slow: bool) -> None:
        self._crowd = crowd
        self._frames = wire.ServerFrames()
        self._answers = 0
        self.number = number
        self.slow = slow
        self.state = AWAY
        self.token = ""
        self.tracks: dict[str, Track] = {}
        self.granted: tuple[str, ...] = ()
        self.calls: dict[int, int] | None = None
        self.next_call = FIRST_CALL
        self.due = 0
        self.heard = 0.0
        self.tries = 0
        self.why = ""
        self.planned = False
        self.began_back = False

    # ------------------------------------------------------------------ in and out
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._frames = wire.ServerFrames()
        self.state = OPENING
        self.why = ""
        self.transport.write(self._crowd.upgrade)

    def connection_lost(self, exc: Exception | None) -> None:
        before, self.state = self.state, AWAY
        self._crowd.left(self, before)

    def enter(self, hello: dict[str, Any]) -> None:
        """Sign in, and subscribe to everything in the same frame, as SDKs do."""
        known = {name: _position(self.tracks[name]) for name in self.granted if self.tracks[name].epoch}
        if known:
            hello["subs"] = known
        commands: list[dict[str, Any]] = [{"id": 1, "connect": hello}]
        commands += [self._subscribe(at) for at in range(len(self._crowd.channels_of(self.number)))]
        self._answers = len(commands)
        self._send(commands)

    def _subscribe(self, at: int) -> dict[str, Any]:
        """The command for its channel number `at`, from where it was there."""
        name = self._crowd.channels_of(self.number)[at]
        track = self.tracks.get(name)
        if track is None:
            track = self.tracks[name] = Track(self._crowd.baseline)
        position = _position(track) if track.epoch else {}
        return {"id": at + 2, "subscribe": {"channel": name, **position}}

    def subscribe_again(self, at: int, due: int) -> None:
        """After a refusal for the moment, unless the socket is another one by now."""
        if self.state == ENTERING and self.due == due:
            self._send([self._subscribe(at)])

    def _send(self, commands: list[dict[str, Any]]) -> None:
        lines = (json.dumps(each, separators=(",", ":")) for each in commands)
        self.transport.write(wire.client_frame("\n".join(lines).encode()))

    def call(self, method: str, data: bytes, due: int) -> None:
        """One RPC; its time counts from `due`."""
        if self.calls is None:
            self.calls = {}
        self.next_call += 1
        self.calls[self.next_call] = due
        self.transport.write(
            wire.client_frame(
                b'{"id":%d,"rpc":{"method":"%b","data":%b}}' % (self.next_call, method.encode(), data)
            )
        )

    def drop(self) -> None:
        """The network is gone: no close frame, and no answer to what was asked."""
        self._crowd.tally.rpcs -= len(self.calls or ())
        self.calls = None
        self.transport.abort()

    # ------------------------------------------------------------------ what comes
    def data_received(self, data: bytes) -> None:
        crowd = self._crowd
        self.heard = crowd.tick
        if self.state == IN and not self._frames.rest:
            known = crowd.known.get(data)
            if known is not None:
                if known:
                    self._take(known, crowd.now())
                else:
                    self.transport.write(wire.PONG)
                return
        if self.state == OPENING:
            self._shake(data)
        else:
            self._read(data)

    def _shake(self, data: bytes) -> None:
        self._frames.rest += data
        head, end, rest = self._frames.rest.partition(b"\r\n\r\n")
        if not end:
            return
        self._frames.rest = b""
        if not head.startswith(b"HTTP/1.1 101"):
            self.why = f"handshake {head[9:12].decode(errors='replace')}"
            self.transport.abort()
            return
        self.state = ENTERING
        self.enter(self._crowd.hello(self))
        if rest:
            self._read(rest)

    def _read(self, data: bytes) -> None:
        whole = not self._frames.rest
        try:
            items = self._frames.feed(data)
            messages = self._messages(items)
        except (wire.WireError, msgspec.DecodeError) as error:
            self.why = f"not understood: {error}"
            self.transport.abort()
            return
        if messages is None:
            return
        if whole and not self._frames.rest and self.state == IN:
            self._crowd.remember(data, messages)
        if messages:
            self._take(messages, self._crowd.now())
        else:
            self.transport.write(wire.PONG)

    def _messages(self, items: list[tuple[int, bytes]]) -> list[Message] | None:
        """The stamped messages; [] is a ping alone; None: there was something else, or nothing whole."""
        messages: list[Message] = []
        pinged = mixed = False
        for opcode, payload in items:
            if opcode != wire.TEXT:
                mixed = True
                self._control(opcode, payload)
                continue
            for line in filter(None, payload.split(b"\n")):
                reply = wire.decode_reply(line)
                if reply.is_ping:
                    pinged = True
                elif (message := self._message_in(reply)) is not None:
                    messages.append(message)
                else:
                    mixed = True
                    self._answer(reply)
        if pinged != bool(messages) and not mixed:
            return messages
        if pinged:
            self.transport.write(wire.PONG)
        if messages:
            self._take(messages, self._crowd.now())
        return None

    def _message_in(self, reply: wire.Reply) -> Message | None:
        push = reply.push
        return None if push is None or push.pub is None else self._message(push.channel, push.pub)

    def _message(self, channel: str, pub: wire.Pub) -> Message | None:
        stamp = wire.stamp_of(pub.data)
        if stamp is None or stamp.run != self._crowd.run:
            return None
        return channel, stamp.n, stamp.at, pub.offset

    def _take(self, messages: list[Message], now: int) -> None:
        crowd, tracks = self._crowd, self.tracks
        if self.slow:
            return  # what it reads in the end says nothing about the server
        for channel, number, due, offset in messages:
            track = tracks.get(channel)
            if track is None:
                continue
            if offset:
                track.offset = offset
            if number == track.last + 1:
                track.last = number
            else:
                self._crowd.odd(track.see(number))
            crowd.tally.messages += 1
            index = bucket(now - due)
            latency = crowd.tally.latency
            latency[index] = latency.get(index, 0) + 1

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == wire.PING:
            self.transport.write(wire.client_frame(payload, 0xA))
        elif opcode == wire.CLOSE:
            if len(payload) >= 2 and not self.why:
                self.why = f"disconnect {int.from_bytes(payload[:2])}"
            self.transport.close()

    # ------------------------------------------------------------------ answers
    def _answer(self, reply: wire.Reply) -> None:
        if reply.push is not None:
            self._told(reply.push)
        elif reply.id >= FIRST_CALL:
            self._called(reply)
        elif reply.id == 1:
            self._signed_in(reply)
        else:
            self._subscribed(reply)

    def _told(self, push: wire.Push) -> None:
        if push.disconnect is not None:
            self.why = f"disconnect {push.disconnect.code}"
        elif push.unsubscribe is not None:
            self._crowd.tally.fail(f"unsubscribe {push.unsubscribe.code}")

    def _called(self, reply: wire.Reply) -> None:
        due = self.calls.pop(reply.id, None) if self.calls else None
        if due is None:
            return
        if reply.error is not None:
            self._crowd.tally.fail(f"rpc: {_named(reply.error)}")
        else:
            self._crowd.answered(due)

    def _signed_in(self, reply: wire.Reply) -> None:
        if reply.error is not None:
            self.why = f"connect: {_named(reply.error)}"
            if reply.error.code in CODES_AGAIN or reply.error.temporary:
                self._crowd.tally.retries += 1
                self.why = "again"
            if reply.error.code == 109:
                self.token = ""
            self.transport.abort()
            return
        connect = reply.connect or wire.ConnectResult()
        self.token = wire.token_in(connect.data) or self.token
        self.granted = tuple(connect.subs)
        for name, result in connect.subs.items():
            if name not in self.tracks:
                self.tracks[name] = Track(self._crowd.baseline)
            self._settle(name, result)
        self._one_less()

    def _subscribed(self, reply: wire.Reply) -> None:
        name = self._crowd.channels_of(self.number)[reply.id - 2]
        if reply.error is not None and (reply.error.temporary or reply.error.code < 100):
            self._crowd.put_off(self, reply.id - 2)
            return
        if reply.error is not None:
            self._crowd.tally.fail(f"subscribe: {_named(reply.error)}")
            self.tracks.pop(name, None)
        else:
            self._settle(name, reply.subscribe or wire.SubResult())
        self._one_less()

    def _settle(self, name: str, result: wire.SubResult) -> None:
        """Take what a subscribe brought: the position, and what was missed."""
        track = self.tracks[name]
        if result.was_recovering and not result.recovered:
            self._crowd.tally.unrecovered += 1
        if result.epoch:
            track.epoch, track.offset = result.epoch, result.offset
        for pub in result.publications:
            track.offset = max(track.offset, pub.offset)
            message = self._message(name, pub)
            if message is not None:
                self._crowd.tally.caught_up += 1
                self._crowd.odd(track.see(message[1]))

    def _one_less(self) -> None:
        self._answers -= 1
        if not self._answers:
            self.state = IN
            self.tries = 0
            self._crowd.entered(self)
            if self.slow:
                self.transport.pause_reading()


def _named(error: wire.ErrorReply) -> str:
    """The code and its name, without what is different for each client."""
    return f"error {error.code} {error.message.partition(':')[0][:60]}"


def _position(track: Track) -> dict[str, Any]:
    return {"recover": True, "epoch": track.epoch, "offset": track.offset}
