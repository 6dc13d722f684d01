"""The server API through cent, Centrifugo's own Python client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import cent
import pytest

from tests.gateway_process import API_KEY, GatewayProcess, token, unique
from tests.raw_ws import RawSocket


@pytest.fixture
async def client(gateway: GatewayProcess) -> AsyncIterator[cent.AsyncClient]:
    async with cent.AsyncClient(gateway.api_url, api_key=API_KEY) as client:
        yield client


async def test_publish_and_history(client: cent.AsyncClient) -> None:
    channel = unique("news")
    first = await client.publish(cent.PublishRequest(channel=channel, data={"n": 1}, tags={"k": "v"}))
    second = await client.publish(cent.PublishRequest(channel=channel, data={"n": 2}))
    assert (first.offset, second.offset) == (1, 2)
    assert first.epoch == second.epoch != ""
    history = await client.history(cent.HistoryRequest(channel=channel, limit=10))
    assert [each.data for each in history.publications] == [{"n": 1}, {"n": 2}]
    assert history.publications[0].tags == {"k": "v"}
    await client.history_remove(cent.HistoryRemoveRequest(channel=channel))
    history = await client.history(cent.HistoryRequest(channel=channel, limit=10))
    assert (history.publications, history.offset) == ([], 2)


async def test_idempotency_and_versions(gateway: GatewayProcess, client: cent.AsyncClient) -> None:
    channel = unique("news")
    once = cent.PublishRequest(channel=channel, data=1, idempotency_key="once")
    assert (await client.publish(once)).offset == (await client.publish(once)).offset == 1
    for version in (5, 4, 5, 6):  # newer than cent knows
        await gateway.api("publish", channel=channel, data=version, version=version)
    history = await client.history(cent.HistoryRequest(channel=channel, limit=10))
    assert [each.data for each in history.publications] == [1, 5, 6]


async def test_skipped_history(client: cent.AsyncClient) -> None:
    channel = unique("news")
    await client.publish(cent.PublishRequest(channel=channel, data=1, skip_history=True))
    assert (await client.history(cent.HistoryRequest(channel=channel, limit=10))).publications == []


async def test_broadcast(client: cent.AsyncClient) -> None:
    channels = [unique("news"), "nowhere:x", unique("news")]
    result = await client.broadcast(cent.BroadcastRequest(channels=channels, data=1))
    assert [each.error.code if each.error else None for each in result.responses] == [None, 102, None]
    assert result.responses[0].result is not None
    assert result.responses[0].result.offset == 1


async def test_batch(client: cent.AsyncClient) -> None:
    channel = unique("news")
    result = await client.batch(
        cent.BatchRequest(
            requests=[
                cent.PublishRequest(channel=channel, data=1),
                cent.PublishRequest(channel=channel, data=2),
                cent.HistoryRequest(channel=channel, limit=5),
                cent.PresenceStatsRequest(channel="chat:nobody"),
            ]
        )
    )
    published, _, history, stats = result.replies
    assert isinstance(published, cent.PublishResult)
    assert published.offset == 1
    assert isinstance(history, cent.HistoryResult)
    assert [each.data for each in history.publications] == [1, 2]
    assert isinstance(stats, cent.PresenceStatsResult)
    assert (stats.num_clients, stats.num_users) == (0, 0)


async def test_who_is_there(gateway: GatewayProcess, client: cent.AsyncClient) -> None:
    channel, user = unique("chat:room"), unique("user")
    async with await RawSocket.open(gateway.websocket_port) as socket:
        me = (await socket.connect(token(user, info={"name": "U"})))["client"]
        await socket.call("subscribe", channel=channel)
        presence = (await client.presence(cent.PresenceRequest(channel=channel))).presence
        assert list(presence) == [me]
        assert (presence[me].user, presence[me].conn_info) == (user, {"name": "U"})
        stats = await client.presence_stats(cent.PresenceStatsRequest(channel=channel))
        assert (stats.num_clients, stats.num_users) == (1, 1)
        channels = (await client.channels(cent.ChannelsRequest(pattern=channel))).channels
        assert {name: each.num_clients for name, each in channels.items()} == {channel: 1}
        node = (await client.info(cent.InfoRequest())).nodes[0]
        assert node.num_clients >= 1
        assert node.uid and node.name and node.version
        await client.disconnect(cent.DisconnectRequest(user=user))
        await socket.closed_with(3503)


async def test_subscribe_unsubscribe_refresh(gateway: GatewayProcess, client: cent.AsyncClient) -> None:
    channel, user = unique("news"), unique("user")
    async with await RawSocket.open(gateway.websocket_port) as socket:
        await socket.connect(token(user))
        await client.subscribe(cent.SubscribeRequest(user=user, channel=channel, data={"hi": 1}))
        push = (await socket.reply())["push"]
        assert push["channel"] == channel
        assert push["subscribe"]["data"] == {"hi": 1}
        await client.publish(cent.PublishRequest(channel=channel, data=1))
        assert (await socket.reply())["push"]["pub"]["data"] == 1
        await client.unsubscribe(cent.UnsubscribeRequest(user=user, channel=channel))
        assert (await socket.reply())["push"]["unsubscribe"]["code"] == 2000
        await client.refresh(cent.RefreshRequest(user=user, expired=True))
        await socket.closed_with(3005)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (cent.PublishRequest(channel="", data=1), 107),
        (cent.PublishRequest(channel="nowhere:x", data=1), 102),
        (cent.PresenceRequest(channel="plain:x"), 108),
        (cent.HistoryRequest(channel="plain:x"), 108),
    ],
)
async def test_refusals(client: cent.AsyncClient, request_: cent.PublishRequest, code: int) -> None:
    with pytest.raises(cent.CentApiResponseError) as caught:
        await client._send(request_)
    assert caught.value.code == code


async def test_a_wrong_key_is_nobody(gateway: GatewayProcess) -> None:
    async with cent.AsyncClient(gateway.api_url, api_key="guess") as client:
        with pytest.raises(cent.CentUnauthorizedError):
            await client.info(cent.InfoRequest())
