"""What the gateway asks of an inbox store; one contract test runs over every implementation.

A store decides everything about one user in one step: whoever acknowledges, claims or settles first has done
it, for all nodes. Times that are given or kept are milliseconds since 1970 of the store's own clock.

Every operation raises UpstreamError where the store is away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from gateway.inbox.records import Fallback, Record
from gateway.protocol import Publication

Kept = Literal["kept", "known", "too_many", "too_large"]
Claimed = Literal["send", "busy", "decided", "done", "gone"]
Grant = Literal["spent", "back", "none"]
Change = int | Literal["+1", "+0", "ban"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one user's inbox may hold.

    Attributes:
        messages: deliveries that wait; as many that are settled are remembered.
        size: bytes of those that wait. kept: seconds that a settled one is remembered.
    """

    messages: int = 200
    size: int = 1024 * 1024
    kept: float = 86400.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A publication on its way into an inbox; `word` names it, `ttl` in seconds."""

    word: str
    publication: Publication
    ttl: float
    fallback: Fallback = "-"


class Waiting(NamedTuple):
    """A delivery that nobody has acknowledged; `delivered`: it was written to a socket before."""

    word: str
    seq: int
    delivered: bool
    publication: Publication


class InboxStore(Protocol):
    """See the module. `channel` is always a user's personal channel."""

    def may_hold(self, channel: str) -> bool:
        """False: nothing waits there, surely, so that nobody needs to ask."""

    async def publish(self, channel: str, entry: Entry) -> Kept:
        """Keep and publish, in one step. Nothing is published where the word is known or the inbox full."""

    async def acknowledge(self, channel: str, words: Sequence[str]) -> dict[str, Record]:
        """Settle what waits. The records as they were before, also of those acknowledged earlier."""

    async def deliver(self, channel: str, words: Sequence[str]) -> dict[str, Record]:
        """They were written to a socket. The records of those for which it was the first time."""

    async def read(self, channel: str, after: int, size: int) -> list[Waiting]:
        """What waits behind the sequence `after`, in order, up to `size` bytes but at least one."""

    async def status(self, channel: str, words: Sequence[str] = ()) -> dict[str, Record]:
        """Records by word; of all where none is named."""

    # ------------------------------------------------------------------ subscribe messages
    async def claim(
        self, channel: str, word: str, template: str, *, strict: bool, patience: float, sender: str
    ) -> tuple[Claimed, Record | None]:
        """Become the one who sends the subscribe message; takes one grant.

        `strict`: without a grant it is refused. `patience`: seconds after which a sender who did not settle
        is given up, and the message with it. `sender`: a word of the caller's own, so that it may ask again.
        """

    async def settle(
        self, channel: str, word: str, template: str, fallback: Fallback, reason: str, grant: Grant
    ) -> Record | None:
        """What came of sending it; None where that was decided before. `w` lets it wait once more. The grant
        was spent, goes back, or there is none, whatever the ledger says."""

    async def grants(self, channel: str, changes: Mapping[str, Change]) -> dict[str, int] | None:
        """Change the ledger of a user and read it: messages allowed by template, -1 where it is banned.
        None where there are too many templates."""
