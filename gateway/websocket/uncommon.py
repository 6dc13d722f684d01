"""Frames off the fast path - fragments, control frames, compressed messages - as the library judges them.

They cost ten times what a plain message does, and may come before sign-in. So they have a rate and a count of
their own, far above what an honest client sends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, cast

from websockets.extensions import Extension
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import SERVER, Protocol, State

from gateway.errors import (
    DISCONNECT_MESSAGE_TOO_BIG,
    DISCONNECT_PROTOCOL_ERROR,
    DISCONNECT_TOO_MANY_REQUESTS,
    ClientError,
    Disconnect,
    cut_reason,
)
from gateway.websocket.handshake import library_log

FRAMES_PER_SECOND: Final = 200
"""Frames of this kind that one client may send on average."""
FRAME_BURST: Final = 600
MAX_FRAGMENTS: Final = 256
"""Fragments of one message: 256 bytes each would fill the largest one."""


class Message(NamedTuple):
    """A message that was fragmented or compressed; `kind` as of `frames.TEXT` and `frames.BINARY`."""

    kind: int
    payload: bytes


class Answer(NamedTuple):
    """What is owed for a ping."""

    frame: bytes


class Farewell(NamedTuple):
    """The client closes with `code` (1005: without one), and is owed an answer."""

    code: int
    answer: bytes


class UncommonFrames:
    """One connection's; made when the first such frame comes.

    Arguments:
        message_limit: bytes of one message, whatever the number of its fragments.
        extensions: what the handshake agreed upon.
    """

    __slots__ = ("_allowance", "_allowance_at", "_extensions", "_fragments", "_library", "_limit")

    def __init__(self, message_limit: int, extensions: Sequence[Extension], now: float) -> None:
        self._limit = message_limit
        self._extensions = extensions
        self._library: Protocol | None = None
        self._fragments: list[Frame] = []
        self._allowance: float = FRAME_BURST
        self._allowance_at = now

    def take(self, frame: bytes, now: float) -> Message | Answer | Farewell | None:
        """What one whole raw frame amounts to; None: nothing yet, or nothing at all.

        Raises:
            ClientError: with the disconnect that it has earned.
        """
        self._spend(now)
        library = self._library or self._new_library()
        library.receive_data(frame)
        answer = b"".join(library.data_to_send())
        if library.parser_exc is not None:
            raise ClientError(_verdict(library), str(library.parser_exc))
        outcome: Message | Answer | Farewell | None = None
        for event in library.events_received():
            outcome = self._judge(library, cast("Frame", event), answer)
        # Between messages the library has nothing to remember.
        self._library = library if self._fragments else None
        return outcome

    def _new_library(self) -> Protocol:
        library = Protocol(SERVER, state=State.OPEN, max_size=self._limit, logger=library_log)
        library.extensions = list(self._extensions)
        return library

    def _spend(self, now: float) -> None:
        earned = (now - self._allowance_at) * FRAMES_PER_SECOND
        self._allowance_at = now
        self._allowance = min(FRAME_BURST, self._allowance + earned) - 1
        if self._allowance < 0:
            raise ClientError(DISCONNECT_TOO_MANY_REQUESTS, "control frames or fragments kept coming")

    def _judge(self, library: Protocol, frame: Frame, answer: bytes) -> Message | Answer | Farewell | None:
        if frame.opcode is Opcode.CLOSE:
            return Farewell(library.close_code or 1005, answer)
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return Answer(answer) if answer else None
        fragments = self._fragments
        fragments.append(frame)
        if len(fragments) > MAX_FRAGMENTS:
            raise ClientError(DISCONNECT_MESSAGE_TOO_BIG, f"more than {MAX_FRAGMENTS} fragments")
        if not frame.fin:
            return None
        self._fragments = []
        return Message(int(fragments[0].opcode), b"".join(bytes(each.data) for each in fragments))


def _verdict(library: Protocol) -> Disconnect:
    """The close that the library would have sent, as our disconnect."""
    sent = library.close_sent or Close(DISCONNECT_PROTOCOL_ERROR.code, "")
    return Disconnect(sent.code, cut_reason(sent.reason) or DISCONNECT_PROTOCOL_ERROR.reason)
