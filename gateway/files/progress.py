"""Tells a user's sockets how an upload of theirs goes: `#<openid>` gets `{"type": "upload", ...}`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from gateway.errors import ClientError
from gateway.node.node import Node
from gateway.node.publications import PublishRequestOptions

INTERVAL: Final = 0.5
"""Seconds between two of them: a progress bar moves, a phone is not kept busy."""

_OPTIONS: Final = PublishRequestOptions(skip_history=True)
_encode: Final = msgspec.json.Encoder().encode


class Progress:
    """The progress of one upload. An upload that is over within `INTERVAL` says only that.

    Arguments:
        total: bytes that are expected, 0 where unknown.
        clock: monotonic seconds.
    """

    def __init__(
        self, node: Node, user: str, file_id: str, name: str, total: int, clock: Callable[[], float]
    ) -> None:
        self._node = node
        self._channel = node.rules.personal(user)
        self._about = {"type": "upload", "id": file_id, "name": name, "total": total}
        self._clock = clock
        self._due = clock() + INTERVAL

    def at(self, received: int) -> None:
        """So many bytes have come."""
        now = self._clock()
        if now >= self._due:
            self._due = now + INTERVAL
            self._say("uploading", received)

    def ends(self, state: str, received: int) -> None:
        """`state`: done or failed."""
        self._say(state, received)

    def _say(self, state: str, received: int) -> None:
        data = _encode(self._about | {"state": state, "received": received})
        self._node.spawn(self._publish(data))

    async def _publish(self, data: bytes) -> None:
        try:
            await self._node.publish(self._channel, data, _OPTIONS)
        except ClientError:
            return  # the personal channel cannot be: an openid with a comma, a namespace that is gone
