"""The ledger of grants: how many subscribe messages of which template a user has allowed.

A user allows them one by one, in `wx.requestSubscribeMessage`: one accept is one message. Only the phone
hears the answer, so it reports it, or the team's backend does. A phone that reports too much gains nothing:
WeChat refuses what the user did not allow, and the ledger learns of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Final, Literal

from msgspec import Meta

from gateway.errors import ERROR_LIMIT_EXCEEDED, ClientError
from gateway.inbox.base import Change, InboxStore
from gateway.inbox.limits import GRANTS, TEMPLATES

TEMPLATES_LIMIT: Final = 20
"""Templates of one report."""

Answer = Literal[
    "accept", "acceptWithAudio", "acceptWithAlert", "acceptWithForcePush", "reject", "ban", "filter"
]
"""What `wx.requestSubscribeMessage` tells of a template. `filter`: it was not shown to the user."""

Count = Annotated[int, Meta(ge=0, le=GRANTS)]

_CHANGES: Final[Mapping[str, Change]] = {"reject": "+0", "filter": "+0", "ban": "ban"}


class Ledger:
    """Grants of users, in the store of their inboxes."""

    def __init__(self, store: InboxStore, channel_of: Callable[[str], str]) -> None:
        self._store = store
        self._channel_of = channel_of

    async def report(self, user: str, templates: Mapping[str, Answer | int]) -> dict[str, int]:
        """Enter what a user answered, or numbers as they are, and read all. -1: the user banned the template.

        Raises:
            ClientError: 106 where the user has too many templates.
        """
        changes = {
            template: answer if isinstance(answer, int) else _CHANGES.get(answer, "+1")
            for template, answer in templates.items()
        }
        ledger = await self._store.grants(self._channel_of(user), changes)
        if ledger is None:
            raise ClientError(ERROR_LIMIT_EXCEEDED, f"a user has at most {TEMPLATES} templates")
        return ledger
