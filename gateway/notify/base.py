"""What the notifier asks of its store: what waits for its time, of all users, and the counts of each day.

Every operation raises UpstreamError where the store is away. What became of one notification is decided in
the user's inbox (`gateway.inbox.base`); here is only when somebody has to look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, Protocol

from gateway.wechat.subscribe_message import Content, SubscribeMessage

Scheduled = Literal["scheduled", "known", "full"]

REFUSALS: Final = (
    "no_grant",
    "banned",
    "expired",
    "rejected",
    "bad_data",
    "bad_template",
    "bad_user",
    "bad_page",
    "quota",
    "busy",
    "unreachable",
    "setup",
    "other",
)
"""Why no subscribe message was sent."""
STEPS: Final = ("notified", "delivered", "acknowledged", "sent", "uncertain", "late", "again", "lost")
"""What else is counted. Of a notification exactly one of `acknowledged`, `sent`, `uncertain`, a refusal
and `lost` becomes true; `late`: acknowledged after that; `again`: attempts repeated."""


class Job(Content, frozen=True, kw_only=True):
    """The subscribe message of one notification, without its addressee."""

    appid: str

    def message(self, openid: str) -> SubscribeMessage:
        content = {name: getattr(self, name) for name in Content.__struct_fields__}
        return SubscribeMessage(touser=openid, **content)


class NotifyStore(Protocol):
    """See the module. Times are milliseconds since 1970, a day is a number of days since then."""

    async def schedule(self, delivery: str, due: int, job: bytes, most: int) -> Scheduled:
        """Somebody has to look at `due`; `full` where `most` jobs wait."""

    async def take(self, now: int, lease: int, count: int) -> list[tuple[str, bytes]]:
        """Jobs that are due; nobody else gets them for `lease` milliseconds."""

    async def move(self, delivery: str, due: int) -> None:
        """Look again at `due`."""

    async def drop(self, deliveries: Sequence[str]) -> None:
        """Nobody has to look any more."""

    async def waiting(self) -> int:
        """Jobs that wait."""

    async def count(self, day: int, counts: Mapping[str, int]) -> None:
        """Add to the counts of a day."""

    async def counts(self, days: Sequence[int]) -> list[dict[str, int]]:
        """The counts of these days, in their order."""

    async def stop(self, appid: str, seconds: float) -> None:
        """The app's quota is used up for so long."""

    async def stopped(self, appid: str) -> bool: ...
