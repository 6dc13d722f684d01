"""What the team's handlers of coming and going users are given, and what the gateway hears of them."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from gateway import ClientError, Error, Gateway, UserEvent
from gateway.backend.base import NoBackend
from gateway.errors import UpstreamError
from tests.timing import MS

EVENT = UserEvent("disconnect", "o1", 1763800000000, 1763800031007, 1763800031000, reason="lost")


async def test_each_kind_goes_to_its_own_handler() -> None:
    gateway = Gateway()
    seen: list[UserEvent] = []

    @gateway.on_online
    async def came(event: UserEvent) -> None:
        raise AssertionError("nobody came")

    @gateway.on_disconnect
    def gone(event: UserEvent) -> None:  # in a thread
        seen.append(event)

    assert gateway.user_events == {"online", "disconnect"}
    handled = gateway.handle_user_event(EVENT)
    assert handled is not None
    await handled
    assert seen == [EVENT]


def test_a_kind_without_a_handler_is_not_handled() -> None:
    gateway = Gateway()
    gateway.on_online(lambda event: None)
    gateway.on_background(lambda event: None)
    gateway.on_unsubscribe(lambda event: None)
    assert gateway.user_events == {"online", "background", "unsubscribe"}
    assert gateway.handle_user_event(EVENT) is None
    assert NoBackend().handle_user_event(EVENT) is None
    assert not NoBackend().user_events


async def test_an_event_whose_handler_fails_or_hangs_was_not_taken() -> None:
    gateway = Gateway(timeout=20 * MS)

    @gateway.on_disconnect
    async def gone(event: UserEvent) -> None:
        if event.reason == "lost":
            raise ClientError(Error(1000, "not now"))
        await asyncio.sleep(60)

    for event, problem in (
        (EVENT, ClientError),
        (msgspec.structs.replace(EVENT, reason="node"), UpstreamError),
    ):
        handled = gateway.handle_user_event(event)
        assert handled is not None
        with pytest.raises(problem):
            await handled


def test_the_json_of_an_event_leaves_out_what_it_has_not() -> None:
    assert msgspec.json.decode(msgspec.json.encode(EVENT)) == {
        "event": "disconnect",
        "user": "o1",
        "generation": 1763800000000,
        "id": 1763800031007,
        "at": 1763800031000,
        "reason": "lost",
    }
