"""The server API over real HTTP, with httpx and with Centrifugo's own SDK, against a real node."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import cent
import httpx
import pytest
import structlog

from gateway.brokers.base import History, HistoryFilter, PublishOptions, PublishResult
from gateway.brokers.memory import MemoryBroker
from gateway.errors import ERROR_INTERNAL, UpstreamError
from gateway.http import asgi
from gateway.http.fan import run_all
from gateway.protocol import ClientInfo, Publication
from tests.http_world import KEY, OTHER_KEY, World, running_world, settings_for
from tests.timing import MS


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running_world() as running:
        yield running


# ---------------------------------------------------------------------------- who is let in
@pytest.mark.parametrize("key", [KEY, OTHER_KEY])
async def test_every_key_opens_in_every_way(world: World, key: str) -> None:
    for headers, query in (
        ({"X-API-Key": key}, {}),
        ({"Authorization": f"apikey {key}"}, {}),
        ({"Authorization": f"APIKEY {key}"}, {}),
        ({}, {"api_key": key}),
    ):
        response = await world.http.post("/api/info", headers=headers, params=query, json={})
        assert response.status_code == 200, headers


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": "wrong"},
        {"X-API-Key": KEY[:-1]},
        {"X-API-Key": KEY + "x"},
        {"Authorization": KEY},
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": "apikey"},
    ],
)
async def test_without_a_key_the_answer_is_an_empty_401(world: World, headers: dict[str, str]) -> None:
    for path in ("/api/info", "/api/no-such-method", "/api"):
        response = await world.http.post(path, headers=headers, json={})
        assert (response.status_code, response.content) == (401, b"")


async def test_calls_without_a_good_key_are_in_the_log_but_do_not_fill_it(world: World) -> None:
    with structlog.testing.capture_logs() as logged:
        for key in ("", "wrong", "wrong"):
            await world.http.post("/api/info", headers={"X-API-Key": key}, json={})
    lines = [line for line in logged if "without a key" in line["event"]]
    assert len(lines) == 1
    assert lines[0]["ip"] == "127.0.0.1"
    assert "wrong" not in str(lines)


async def test_no_keys_let_nobody_in() -> None:
    async with running_world(settings_for(api={})) as world:
        for key in ("", KEY, "None"):
            response = await world.http.post("/api/info", headers={"X-API-Key": key}, json={})
            assert response.status_code == 401


async def test_a_query_that_makes_no_sense_is_no_key(world: World) -> None:
    for query in (b"api_key", b"api_key=%ff", b"&".join([b"a=b"] * 99), b"%ff=%ff&&="):
        response = await world.http.post(httpx.URL("/api/info", query=query), json={})
        assert response.status_code == 401


async def test_a_page_cannot_use_a_key_in_the_query(world: World) -> None:
    """A form of any page can send it without asking first; a header it cannot."""
    url = httpx.URL("/api/info", query=f"api_key={KEY}".encode())
    assert (await world.http.post(url, json={})).status_code == 200
    page = {"Origin": "http://evil.example"}
    assert (await world.http.post(url, json={}, headers=page)).status_code == 401
    assert (
        await world.http.post("/api/info", json={}, headers={**page, "X-API-Key": KEY})
    ).status_code == 200


# ---------------------------------------------------------------------------- HTTP
async def test_unknown_methods_get_and_bad_bodies(world: World) -> None:
    assert (await world.call("no_such_method")).status_code == 404
    assert (await world.call("publish/more")).status_code == 404
    assert (await world.call("connections")).status_code == 404
    response = await world.http.get("/api/info", headers={"X-API-Key": KEY})
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert (await world.http.get("/elsewhere")).json()["message"].startswith("nothing here")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"not json",
        b"[]",
        b'"text"',
        b"1",
        b"null",
        b"\xff\xfe",
        b'{"channel":1}',
        b'{"channel":"news","data":{"a":1,}}',
        b'{"channel":"news","data":1,"tags":{"a":1}}',
        b'{"channel":"news","data":1,"tags":["a"]}',
        b'{"channel":"news","data":1,"skip_history":"yes"}',
        b'{"channel":"news","data":1,"version":-1}',
        b'{"channel":"news","data":1,"version":99999999999999999999999999}',
        b'{"channel":"news","data":"\xff"}',
        b'{"channel":"\xff","data":1}',
        b'{"channel":"news","data":"\xed\xa0\x80"}',
        b'{"channel":"news","data":' + b"[" * 100_000,
        b'{"channel":"news","data":1} trailing',
    ],
)
async def test_a_body_that_does_not_decode_is_400(world: World, body: bytes) -> None:
    response = await world.call("publish", body)
    assert response.status_code == 400
    assert response.json()["code"] == 107
    assert response.json()["message"]
    assert (await world.result("history", {"channel": "news"}))["offset"] == 0


async def test_a_body_over_the_limit_is_413_and_the_limit_itself_is_not() -> None:
    api = {"keys": [KEY], "max_body": "1KB"}
    async with running_world(settings_for(api=api)) as world:
        fitting = b'{"channel":"news","data":"%b"}'
        fitting = fitting % (b"x" * (1024 - len(fitting) + 2))
        assert len(fitting) == 1024
        assert (await world.call("publish", fitting)).status_code == 200
        assert (await world.call("publish", fitting + b" ")).status_code == 413

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(10):
                yield b" " * 200

        response = await world.http.post("/api/info", headers={"X-API-Key": KEY}, content=chunks())
        assert response.status_code == 413


async def test_a_body_in_many_chunks(world: World) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for character in '{"channel":"news","data":"很好"}'.encode():
            yield bytes([character])
            await asyncio.sleep(0)

    response = await world.http.post("/api/publish", headers={"X-API-Key": KEY}, content=chunks())
    assert response.json()["result"]["offset"] == 1


async def test_a_body_that_does_not_come(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "BODY_TIMEOUT", 50 * MS)
    port = int(world.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /api/publish HTTP/1.1\r\nconnection: close\r\nx-api-key: {KEY}\r\ncontent-length: 9\r\n\r\n"
    writer.write(head.encode() + b"{")
    async with asyncio.timeout(5000 * MS):
        assert (await reader.read()).startswith(b"HTTP/1.1 408")
    writer.close()


async def test_a_client_that_leaves_in_the_middle_of_its_body(world: World) -> None:
    port = int(world.url.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /api/publish HTTP/1.1\r\nx-api-key: %b\r\ncontent-length: 9\r\n\r\n{" % KEY.encode())
    await writer.drain()
    await asyncio.sleep(20 * MS)
    writer.close()
    async with asyncio.timeout(5000 * MS):
        while 'method="publish",outcome="cancelled"} 1.0' not in (await world.http.get("/metrics")).text:
            await asyncio.sleep(MS)


async def test_errors_as_http_statuses(world: World) -> None:
    for body, status, code in (
        ({"channel": "", "data": 1}, 400, 107),
        ({"channel": "nowhere:news", "data": 1}, 404, 102),
    ):
        response = await world.call("publish", body, X_Centrifugo_Error_Mode="transport")
        assert (response.status_code, response.json()["code"]) == (status, code)
        assert response.json().keys() == {"code", "message"}
    since = {"channel": "news", "limit": 1, "since": {"offset": 1, "epoch": "lost"}}
    response = await world.call("history", since, X_Centrifugo_Error_Mode="transport")
    assert (response.status_code, response.json()["code"]) == (416, 112)


async def test_the_error_mode_of_the_settings_and_its_exception() -> None:
    api = {"keys": [KEY], "error_mode": "transport"}
    async with running_world(settings_for(api=api)) as world:
        assert (await world.call("presence", {"channel": "plain:x"})).status_code == 400
        response = await world.call("presence", {"channel": "plain:x"}, X_Centrifugo_Error_Mode="body")
        assert (response.status_code, response.json()["error"]["code"]) == (200, 108)


async def test_the_old_form(world: World) -> None:
    body = {"method": "publish", "params": {"channel": "news", "data": 1}}
    headers = {"X-API-Key": KEY}
    response = await world.http.post("/api", headers=headers, json=body)
    assert response.json()["result"]["offset"] == 1
    response = await world.http.post("/api", headers=headers, json={"method": "nothing"})
    assert response.json()["error"]["code"] == 104


async def test_null_is_a_field_that_was_left_out(world: World) -> None:
    body = {"channel": "news", "data": None, "tags": None, "idempotency_key": None, "skip_history": None}
    assert (await world.result("publish", body))["offset"] == 1
    assert (await world.result("history", {"channel": "news", "limit": 5}))["publications"][0]["data"] is None


# ---------------------------------------------------------------------------- publish and broadcast
async def test_publish_keeps_the_bytes_and_answers_the_position(world: World) -> None:
    data = b'{"z":1.10, "a" :"\\u00e9\xc3\xa9"}'
    response = await world.call("publish", b'{"channel":"news","data":%b,"tags":{"k":"v"}}' % data)
    result = response.json()["result"]
    assert result["offset"] == 1
    assert result["epoch"]
    raw = await world.call("history", {"channel": "news", "limit": 1})
    assert data in raw.content
    assert raw.json()["result"]["publications"][0]["tags"] == {"k": "v"}


async def test_publish_without_history_answers_an_empty_result(world: World) -> None:
    response = await world.call("publish", {"channel": "plain:x", "data": 1})
    assert response.content == b'{"result":{}}'
    assert await world.result("publish", {"channel": "news", "data": 1, "skip_history": True}) == {}


async def test_newlines_between_tokens_do_not_reach_the_wire(world: World) -> None:
    await world.call("publish", b'{"channel":"news","data":{\n "a": 1,\r\n "b": [2]\n}}')
    history = await world.call("history", {"channel": "news", "limit": 1})
    assert b'{"a":1,"b":[2]}' in history.content


async def test_base64_data_is_json_or_refused(world: World) -> None:
    encoded = base64.b64encode(b'{"n": 1}').decode()
    assert (await world.result("publish", {"channel": "news", "b64data": encoded}))["offset"] == 1
    publications = (await world.result("history", {"channel": "news", "limit": 9}))["publications"]
    assert publications == [{"data": {"n": 1}, "offset": 1}]
    for wrong in ("%%%", base64.b64encode(b"\x00\x01").decode(), base64.b64encode(b'"\xff"').decode(), "e30"):
        error = await world.error("publish", {"channel": "news", "b64data": wrong})
        assert error["code"] == 107
    both = {"channel": "news", "data": 1, "b64data": encoded}
    assert (await world.error("publish", both))["code"] == 107


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"channel": "news"},
        {"data": 1},
        {"channel": "", "data": 1},
        {"channel": "x" * 256, "data": 1},
        {"channel": "a\nb", "data": 1},
        {"channel": "ü", "data": 1},
        {"channel": "news", "data": 1, "idempotency_key": "x" * 65},
        {"channel": "news", "data": 1, "version": 1, "version_epoch": "x" * 65},
        {"channel": "news", "data": 1, "tags": {str(n): "" for n in range(65)}},
        {"channel": "news", "data": 1, "tags": {"k": "x" * 9000}},
        {"channel": "news", "data": "x" * 300_000},
    ],
)
async def test_publish_says_what_is_wrong(world: World, body: dict[str, Any]) -> None:
    assert (await world.error("publish", body))["code"] == 107


async def test_an_idempotency_key_publishes_once(world: World) -> None:
    body = {"channel": "news", "data": 1, "idempotency_key": "order-1"}
    first = await world.result("publish", body)
    assert await world.result("publish", body) == first
    assert (await world.result("history", {"channel": "news"}))["offset"] == 1


async def test_an_old_version_is_dropped_and_still_a_success(world: World) -> None:
    await world.result("publish", {"channel": "news", "data": 2, "version": 2})
    await world.result("publish", {"channel": "news", "data": 1, "version": 1})
    publications = (await world.result("history", {"channel": "news", "limit": 9}))["publications"]
    assert [publication["data"] for publication in publications] == [2]


async def test_broadcast_answers_in_order_with_errors_in_place(world: World) -> None:
    await world.result("publish", {"channel": "b", "data": 0})
    body = {"channels": ["a", "nowhere:x", "b", "", "plain:x"], "data": {"n": 1}}
    responses = (await world.result("broadcast", body))["responses"]
    assert responses[0]["result"]["offset"] == 1
    assert responses[1]["error"]["code"] == 102
    assert responses[2]["result"]["offset"] == 2
    assert responses[3]["error"]["code"] == 107
    assert responses[4] == {"result": {}}


async def test_the_limits_of_broadcast(world: World) -> None:
    for body in (
        {"data": 1},
        {"channels": [], "data": 1},
        {"channels": ["a"]},
        {"channels": ["a"] * 10_001, "data": 1},
    ):
        assert (await world.error("broadcast", body))["code"] == 107
    many = {"channels": [f"c{n}" for n in range(10_000)], "data": 1}
    responses = (await world.result("broadcast", many))["responses"]
    assert [response["result"]["offset"] for response in responses] == [1] * 10_000


async def test_a_large_broadcast_lets_others_have_their_turns(world: World) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def publish(channel: str) -> bytes:
        # The memory broker never waits, so without slices this would be one turn.
        await world.node.publish(channel, b"1")
        return b""

    counting = asyncio.create_task(count())
    await run_all([f"c{n}" for n in range(10_000)], publish, parallel=False)
    counting.cancel()
    await asyncio.gather(counting, return_exceptions=True)
    assert turns > 5


async def test_run_all_bounds_what_runs_at_a_time() -> None:
    running = highest = 0

    async def call(number: int) -> bytes:
        nonlocal running, highest
        running += 1
        highest = max(highest, running)
        await asyncio.sleep(MS)
        running -= 1
        return b"%d" % number

    results = await run_all(range(300), call, parallel=True)
    assert results == [b"%d" % number for number in range(300)]
    assert highest == 128
    highest = 0
    assert await run_all(range(5), call, parallel=False) == [b"0", b"1", b"2", b"3", b"4"]
    assert highest == 1
    assert await run_all([], call, parallel=True) == []


# ---------------------------------------------------------------------------- batch
async def test_batch_has_no_result_wrapper_and_errors_in_place(world: World) -> None:
    commands = [
        {"publish": {"channel": "news", "data": 1}},
        {"publish": {"channel": "", "data": 1}},
        {"nothing": {}},
        {"batch": {"commands": []}},
        {},
        {"info": {}, "channels": {}},
        {"publish": {"channel": 1}},
        {"presence_stats": {"channel": "news"}},
        {"publish": {"channel": "news", "data": 2}},
    ]
    for parallel in (False, True):
        response = await world.call("batch", {"commands": commands, "parallel": parallel})
        replies = response.json()["replies"]
        assert response.json().keys() == {"replies"}
        assert [next(iter(reply)) for reply in replies] == [
            "publish", "error", "error", "error", "error", "error", "error", "presence_stats", "publish",
        ]  # fmt: skip
        assert [reply["error"]["code"] for reply in replies if "error" in reply] == [
            107, 104, 104, 107, 107, 107,
        ]  # fmt: skip
        assert replies[7] == {"presence_stats": {"num_clients": 0, "num_users": 0}}
    assert (await world.result("history", {"channel": "news"}))["offset"] == 4


async def test_the_limits_of_batch(world: World) -> None:
    assert (await world.error("batch", {"commands": [{"info": {}}] * 10_001}))["code"] == 107
    assert (await world.call("batch", {"commands": {}})).status_code == 400
    assert (await world.call("batch", {})).json() == {"replies": []}


# ---------------------------------------------------------------------------- live connections
@pytest.mark.parametrize("method", ["subscribe", "unsubscribe", "disconnect", "refresh"])
async def test_live_methods_need_somebody(world: World, method: str) -> None:
    assert (await world.error(method, {"channel": "news"}))["code"] == 107
    assert (await world.error(method, {"channel": "news", "user": "x" * 256}))["code"] == 107
    assert (await world.call(method, {"channel": "news", "user": 42})).status_code == 400
    assert await world.result(method, {"channel": "news", "user": "nobody"}) == {}


async def test_subscribe_takes_everything(world: World) -> None:
    body = {
        "user": "42",
        "channel": "news",
        "client": "c",
        "session": "s",
        "info": {"a": 1},
        "b64data": base64.b64encode(b"{}").decode(),
        "expire_at": 2_000_000_000,
        "recover_since": {"offset": 1, "epoch": "e"},
        "override": {"presence": {"value": True}, "join_leave": {"value": False}},
    }
    assert await world.result("subscribe", body) == {}
    assert (await world.error("subscribe", {"user": "42"}))["code"] == 107
    assert (await world.error("subscribe", {"user": "42", "channel": "nowhere:x"}))["code"] == 102
    assert await world.result("unsubscribe", {"user": "42"}) == {}


@pytest.mark.parametrize(
    ("advice", "code"),
    [
        (None, 0),
        ({}, 0),
        ({"code": 0, "reason": "bye"}, 0),
        ({"code": 3000}, 0),
        ({"code": 4999, "reason": "很" * 41}, 0),
        ({"code": 4999, "reason": "很" * 42}, 107),
        ({"reason": "很" * 42}, 107),
        ({"code": 2999}, 107),
        ({"code": 5000}, 107),
        ({"code": -1}, 107),
    ],
)
async def test_disconnect_codes(world: World, advice: object, code: int) -> None:
    body = {"user": "42", "whitelist": ["c"]} | ({} if advice is None else {"disconnect": advice})
    if code:
        assert (await world.error("disconnect", body))["code"] == code
    else:
        assert await world.result("disconnect", body) == {}


async def test_the_whitelist_has_a_limit(world: World) -> None:
    assert (await world.error("disconnect", {"user": "4", "whitelist": ["c"] * 1001}))["code"] == 107
    assert (await world.error("disconnect", {"user": "4", "whitelist": ["c" * 256]}))["code"] == 107


async def test_broadcast_all(world: World) -> None:
    assert await world.result("broadcast_all", {"data": {"hello": "all"}}) == {}
    assert await world.result("broadcast_all", {"data": 1, "appid": "wx0000000000000000"}) == {}
    for body in ({}, {"data": 1, "appid": "x" * 256}, {"data": "x" * 300_000}):
        assert (await world.error("broadcast_all", body))["code"] == 107


# ---------------------------------------------------------------------------- reading
async def test_what_must_be_there_even_when_empty(world: World) -> None:
    assert await world.result("presence", {"channel": "news"}) == {"presence": {}}
    stats = await world.result("presence_stats", {"channel": "news"})
    assert stats == {"num_clients": 0, "num_users": 0}
    history = await world.result("history", {"channel": "news"})
    assert (history["publications"], history["offset"]) == ([], 0)
    assert history["epoch"]
    assert await world.result("channels") == {"channels": {}}
    assert await world.result("history_remove", {"channel": "news"}) == {}


async def test_presence_names_clients(world: World) -> None:
    await world.node._presence.add("news", "client-1", ClientInfo("42", "client-1"))
    presence = await world.result("presence", {"channel": "news"})
    assert presence == {"presence": {"client-1": {"user": "42", "client": "client-1"}}}


async def test_history_pages(world: World) -> None:
    for number in range(1, 6):
        await world.result("publish", {"channel": "news", "data": number})
    top = await world.result("history", {"channel": "news"})
    since = {"offset": 2, "epoch": top["epoch"]}

    async def page(**query: object) -> list[int]:
        result = await world.result("history", {"channel": "news", **query})
        return [publication["data"] for publication in result["publications"]]

    assert await page(limit=-1) == [1, 2, 3, 4, 5]
    assert await page(limit=2, since=since) == [3, 4]
    assert await page(limit=2, reverse=True) == [5, 4]
    assert await page(limit=9, reverse=True, since=since) == [1]
    nowhere = {"channel": "news", "limit": 1, "reverse": True, "since": {"offset": 0, "epoch": ""}}
    assert (await world.error("history", nowhere))["code"] == 107


@pytest.mark.parametrize("method", ["presence", "presence_stats", "history", "history_remove"])
async def test_reading_needs_a_channel_that_has_the_feature(world: World, method: str) -> None:
    assert (await world.error(method, {}))["code"] == 107
    assert (await world.error(method, {"channel": "nowhere:x"}))["code"] == 102
    assert (await world.error(method, {"channel": "plain:x"}))["code"] == 108


async def test_info(world: World) -> None:
    (node,) = (await world.result("info"))["nodes"]
    assert (node["uid"], node["name"], node["num_clients"]) == ("node-1", "test", 0)
    assert node.keys() == {
        "uid", "name", "version", "num_clients", "num_users", "num_subs", "num_channels", "uptime",
    }  # fmt: skip
    assert (await world.call("info", b"")).status_code == 200


async def test_channels_takes_a_pattern_of_a_limited_length(world: World) -> None:
    assert await world.result("channels", {"pattern": "news*"}) == {"channels": {}}
    assert (await world.error("channels", {"pattern": "*" * 256}))["code"] == 107


async def test_calls_are_counted(world: World) -> None:
    await world.call("publish", {"channel": "news", "data": 1})
    await world.call("publish", b"{")
    await world.call("x" * 100)
    text = (await world.http.get("/metrics")).text
    assert 'gateway_api_calls_total{method="publish",outcome="ok"} 1.0' in text
    assert 'gateway_api_calls_total{method="publish",outcome="undecodable"} 1.0' in text
    assert 'gateway_api_calls_total{method="other",outcome="not_found"} 1.0' in text
    assert "xxx" not in text


# ---------------------------------------------------------------------------- Centrifugo's SDK
async def test_cent_async(world: World) -> None:
    client = cent.AsyncClient(f"{world.url}/api", KEY)
    try:
        first = cent.PublishRequest(channel="news", data={"n": 1}, tags={"k": "v"}, idempotency_key="once")
        assert (await client.publish(first)).offset == 1
        sent = await client.broadcast(cent.BroadcastRequest(channels=["news", "nowhere:x"], data={"n": 2}))
        assert sent.responses[0].result is not None
        assert sent.responses[1].error is not None
        assert sent.responses[1].error.code == 102
        history = await client.history(cent.HistoryRequest(channel="news", limit=10))
        assert [publication.data for publication in history.publications] == [{"n": 1}, {"n": 2}]
        assert history.publications[0].tags == {"k": "v"}
        since = cent.StreamPosition(offset=1, epoch=history.epoch)
        page = await client.history(cent.HistoryRequest(channel="news", limit=1, since=since))
        assert page.publications[0].offset == 2
        await client.history_remove(cent.HistoryRemoveRequest(channel="news"))
        assert (await client.history(cent.HistoryRequest(channel="news", limit=10))).publications == []
        assert (await client.presence(cent.PresenceRequest(channel="news"))).presence == {}
        stats = await client.presence_stats(cent.PresenceStatsRequest(channel="news"))
        assert stats.num_clients == 0
        assert (await client.channels(cent.ChannelsRequest(pattern="*"))).channels == {}
        assert (await client.info(cent.InfoRequest())).nodes[0].uid == "node-1"
    finally:
        await client.close()


async def test_cent_async_with_live_connections_batches_and_errors(world: World) -> None:
    client = cent.AsyncClient(f"{world.url}/api", KEY)
    try:
        override = cent.ChannelOptionsOverride(presence=cent.BoolValue(value=True))
        await client.subscribe(cent.SubscribeRequest(user="42", channel="news", override=override))
        await client.unsubscribe(cent.UnsubscribeRequest(user="42", channel="news"))
        advice = cent.Disconnect(code=4500, reason="go away")
        await client.disconnect(cent.DisconnectRequest(user="42", disconnect=advice))
        await client.refresh(cent.RefreshRequest(user="42", expired=True))
        commands: list[Any] = [cent.PublishRequest(channel="news", data=1), cent.InfoRequest()]
        batch = await client.batch(cent.BatchRequest(requests=commands, parallel=True))
        assert [type(reply) for reply in batch.replies] == [cent.PublishResult, cent.InfoResult]
        with pytest.raises(cent.CentApiResponseError) as caught:
            await client.publish(cent.PublishRequest(channel="nowhere:x", data={}))
        assert caught.value.code == 102
    finally:
        await client.close()


async def test_cent_with_a_wrong_key(world: World) -> None:
    client = cent.AsyncClient(f"{world.url}/api", "wrong")
    try:
        with pytest.raises(cent.CentUnauthorizedError):
            await client.info(cent.InfoRequest())
    finally:
        await client.close()


async def test_cent_sync(world: World) -> None:
    def use() -> None:
        client = cent.Client(f"{world.url}/api", KEY)
        try:
            assert client.publish(cent.PublishRequest(channel="news", data={"n": 1})).offset == 1
            history = client.history(cent.HistoryRequest(channel="news", limit=1))
            assert history.publications[0].data == {"n": 1}
            client.subscribe(cent.SubscribeRequest(user="42", channel="news", data={"a": 1}))
            assert client.presence_stats(cent.PresenceStatsRequest(channel="news")).num_users == 0
            with pytest.raises(cent.CentApiResponseError):
                client.presence(cent.PresenceRequest(channel="plain:x"))
        finally:
            client.close()

    await asyncio.to_thread(use)


# ---------------------------------------------------------------------------- trouble behind it
class FailingBroker(MemoryBroker):
    """Redis is away for publications, and reading the history is a bug."""

    async def publish(self, channel: str, publication: Publication, options: PublishOptions) -> PublishResult:
        raise UpstreamError(ERROR_INTERNAL, "redis://user:secret@host is away")

    async def history(self, channel: str, query: HistoryFilter, meta_ttl: float) -> History:
        raise RuntimeError("a secret that must stay here")


class BrokerAway(FailingBroker):
    """Known to be away: `/readyz` says it."""

    problem = "Redis at 10.0.0.5:6379: connection refused"


async def test_while_redis_is_away_the_caller_is_told_where_to_look() -> None:
    async with running_world(broker=BrokerAway()) as world:
        told = await world.error("publish", {"channel": "news", "data": 1})
    assert told == {"code": 100, "message": "internal server error: /readyz says why"}


async def test_trouble_is_error_100_and_keeps_its_details_to_itself() -> None:
    # Captured, not printed: the console's tracebacks read source files.
    with structlog.testing.capture_logs() as lines:
        async with running_world(broker=FailingBroker()) as world:
            for method, body in (
                ("publish", {"channel": "news", "data": 1}),
                ("history", {"channel": "news", "limit": 1}),
            ):
                assert await world.error(method, body) == {"code": 100, "message": "internal server error"}
                response = await world.call(method, body, X_Centrifugo_Error_Mode="transport")
                assert (response.status_code, response.json()["code"]) == (500, 100)
            sent = await world.result("broadcast", {"channels": ["a", "b"], "data": 1})
            assert [response["error"]["code"] for response in sent["responses"]] == [100, 100]
    # Once for each of the two calls that are a bug; what an upstream does is no traceback.
    errors = [line for line in lines if line["log_level"] == "error"]
    assert [line["event"] for line in errors] == ["server API call failed"] * 2
