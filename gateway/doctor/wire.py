"""A WebSocket as a phone has it, except that control frames can be seen: Sans-I/O on a TLS socket."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from gateway.doctor.target import Target, parse_json

MAX_MESSAGE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Event:
    """What came: a message of text, a ping frame, or the end with its close code (1006: without one)."""

    kind: Literal["message", "ping", "end"]
    text: str = ""
    code: int = 0
    reason: str = ""


class Refused(Exception):
    """The handshake was answered with something else than 101; status 0: with nothing."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Wire:
    """One open socket."""

    def __init__(self, target: Target, headers: Mapping[str, str] | None = None) -> None:
        self._target = target
        self._protocol = ClientProtocol(
            parse_uri(f"wss://{target.domain}{target.options.path}"), max_size=MAX_MESSAGE
        )
        self._events: deque[Event] = deque()
        self._sock = target.tls()
        try:
            self._shake_hands(headers or {})
        except BaseException:
            self._sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sock.close()

    def _shake_hands(self, headers: Mapping[str, str]) -> None:
        request = self._protocol.connect()
        for name, value in headers.items():
            request.headers[name] = value
        self._protocol.send_request(request)
        self._flush()
        events: list[Any] = []
        while not events:
            data = self._sock.recv(65536)
            if not data:
                raise Refused(0, "the connection was closed without an answer")
            self._protocol.receive_data(data)
            events = self._protocol.events_received()
            self._check_handshake(events)
        self._take(events[1:])

    def _check_handshake(self, events: list[Any]) -> None:
        error = self._protocol.handshake_exc
        response = events[0] if events and isinstance(events[0], Response) else None
        if error is not None:
            status = response.status_code if response is not None else 0
            raise Refused(status, f"HTTP {status}" if status else str(error)) from None

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._sock.sendall(data)

    def send(self, value: Any) -> None:
        """One message: a text as it is, anything else as JSON."""
        text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        self._protocol.send_text(text.encode())
        self._flush()

    def next(self, seconds: float) -> Event | None:
        """What comes within `seconds`, or None."""
        deadline = time.monotonic() + seconds
        while not self._events:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._receive(left)
        return self._events.popleft()

    def _receive(self, seconds: float) -> None:
        self._sock.settimeout(seconds)
        try:
            data = self._sock.recv(65536)
        except TimeoutError:
            return
        except OSError as error:
            self._events.append(Event("end", code=1006, reason=str(error)))
            return
        finally:
            self._sock.settimeout(self._target.options.timeout)
        if not data:
            self._end()
            return
        self._protocol.receive_data(data)
        self._take(self._protocol.events_received())
        try:
            self._flush()  # pongs, and the answer to a close
        except OSError:
            return  # its end is read next

    def _end(self) -> None:
        received = self._protocol.close_rcvd
        if received is None:
            self._events.append(Event("end", code=1006, reason="the connection was cut"))
        elif not any(each.kind == "end" for each in self._events):
            self._events.append(Event("end", code=received.code, reason=received.reason))

    def _take(self, frames: list[Any]) -> None:
        for frame in frames:
            if not isinstance(frame, Frame):
                continue
            if frame.opcode is Opcode.TEXT:
                lines = bytes(frame.data).decode(errors="replace").split("\n")
                self._events.extend(Event("message", text=line) for line in lines if line)
            elif frame.opcode is Opcode.PING:
                self._events.append(Event("ping"))
            elif frame.opcode is Opcode.CLOSE:
                close = Close.parse(bytes(frame.data))
                self._events.append(Event("end", code=close.code, reason=close.reason))

    def ask(self, command: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        """Send a command; its reply, or the disconnect push instead of it, or None."""
        self.send(command)
        deadline = time.monotonic() + seconds
        while (event := self.next(deadline - time.monotonic())) is not None and event.kind != "end":
            reply = parse_json(event.text)
            if isinstance(reply, dict) and (reply.get("id") == command["id"] or "push" in reply):
                return reply
        return None
