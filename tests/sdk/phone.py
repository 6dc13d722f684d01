"""What the journeys need of an SDK, whichever it is: do this, and wait until that has happened."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from tests.timing import MS

PATIENCE = 8_000 * MS
RECONNECT_DELAY = 20 * MS

Event = dict[str, Any]


class PhoneError(Exception):
    """The SDK refused or the server did; `code` is the reply's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Phone(ABC):
    """One SDK client and everything that has happened to it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._heard = asyncio.Condition()

    @abstractmethod
    async def start(
        self, url: str, *, token: str = "", data: Any = None, tokens: Sequence[str] | None = None
    ) -> None:
        """Make the client; `tokens` are what its getToken hands out, one after the other."""

    @abstractmethod
    async def act(self, action: str, **fields: Any) -> Any:
        """Call the SDK; PhoneError where that fails."""

    @abstractmethod
    async def stop(self) -> None:
        """End it for good."""

    async def hear(self, event: str, **fields: Any) -> None:
        """Note an event (called by the SDK's side)."""
        async with self._heard:
            self.events.append({"event": event, **fields})
            self._heard.notify_all()

    async def event(self, event: str, *, after: int = 0, **fields: Any) -> Event:
        """The first event like this, past the `after` first ones of all, which may be yet to come."""
        return (await self.several(1, event, after=after, **fields))[0]

    async def several(self, count: int, event: str, *, after: int = 0, **fields: Any) -> list[Event]:
        """The first `count` of them."""
        wanted = {"event": event, **fields}

        def found() -> list[Event]:
            return [each for each in self.events[after:] if wanted.items() <= each.items()]

        async with self._heard:
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._heard.wait_for(lambda: len(found()) >= count)
            except TimeoutError:
                raise AssertionError(f"{count} × {wanted} did not happen, but {self.events}") from None
            return found()[:count]

    def seen(self, event: str, **fields: Any) -> list[Event]:
        """All such events so far."""
        wanted = {"event": event, **fields}
        return [each for each in self.events if wanted.items() <= each.items()]

    async def connect(self) -> Event:
        """Connect, and the event when that has happened."""
        before = len(self.events)
        await self.act("connect")
        return await self.event("connected", after=before)

    async def subscribe(self, channel: str, **fields: Any) -> Event:
        """Subscribe, and the event when that has happened."""
        before = len(self.events)
        await self.act("subscribe", channel=channel, **fields)
        return await self.event("subscribed", after=before, channel=channel)

    def data(self, channel: str) -> list[Any]:
        """What has been published in `channel`, in the order of arrival."""
        return [each["data"] for each in self.seen("publication", channel=channel)]
