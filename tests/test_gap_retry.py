"""After a gap every channel is compared with its history, also where the broker cannot be asked yet."""

from __future__ import annotations

import pytest

from gateway.node import delivery
from tests.rooms import quiet
from tests.test_delivery import Stage, data
from tests.timing import MS, until


async def test_a_quiet_channel_is_compared_as_soon_as_the_broker_can_be_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It hears again before it can be asked; nothing is published any more that would show the gap."""
    monkeypatch.setattr(delivery, "RETRY_AFTER", 5 * MS)
    async with Stage() as stage:
        phone = await stage.subscriber("c1")
        stage.wire.straight = False
        await stage.publish(1, 2)
        stage.wire.events.clear()
        stage.wire.straight, stage.wire.broken = True, True
        stage.house.node.on_gap(None)
        await quiet()
        assert data(phone) == []
        stage.wire.broken = False
        await until(lambda: data(phone) == [1, 2], "what was missed")
