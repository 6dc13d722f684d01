"""HTTP backends: what is sent to them, what they may answer, and that their troubles stay theirs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import RedirectResponse, Response
from structlog.testing import capture_logs

from gateway import Gateway
from gateway.backend import proxy as proxy_module
from gateway.backend.answers import read_connect, read_publish, read_refresh, read_rpc, read_subscribe
from gateway.backend.proxy import SIGNATURE_HEADER, TIMESTAMP_HEADER, Proxy, sign
from gateway.config import ConfigError, load
from gateway.config.backend import Proxy as ProxySettings
from gateway.errors import ClientError, Disconnect, Error, HandlerError
from gateway.metrics import Metrics
from tests.backend_team import Json, Team
from tests.bad_backend import bad_backend
from tests.gateway_process import HMAC_SECRET, GatewayProcess, free_port, token
from tests.raw_ws import RawSocket, text
from tests.timing import MS, until
from tests.wx_world import World, running


@contextlib.asynccontextmanager
async def proxy_of(endpoint: str, **row: Any) -> AsyncIterator[Proxy]:
    proxy = Proxy(ProxySettings(name="shop", endpoint=endpoint, **{"timeout": "1s", **row}), Metrics())
    try:
        yield proxy
    finally:
        await proxy.close()


def _always(response: Response) -> Callable[[Json], Response]:
    return lambda _request: response


async def rpc(proxy: Proxy, headers: dict[str, str] | None = None) -> bytes:
    return bytes(await proxy.ask("rpc", {"method": "m"}, headers, read_rpc))


# ---------------------------------------------------------------------------- what is answered
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b"null",
        b"[]",
        b"17",
        b'{"result":17}',
        b'{"result":[]}',
        b"{}",
        b'{"error":{}}',
        b'{"error":{"code":7}}',
        b'{"error":{"code":2000}}',
        b'{"disconnect":{"code":1000}}',
        b'{"result":{"data":"\xff"}}',
        b"[" * 100_000,
        b'{"result":' * 5_000,
    ],
)
async def test_what_is_no_answer_is_error_100(body: bytes) -> None:
    team = Team()
    team.say("rpc", lambda _: Response(body, media_type="application/json"))
    async with team.http() as endpoint, proxy_of(endpoint) as proxy:
        with capture_logs() as logged, pytest.raises(HandlerError) as failed:
            await rpc(proxy)
    assert (failed.value.error.code, failed.value.error.temporary) == (100, True)
    assert [line["event"] for line in logged if line["log_level"] == "warning"] == ["an HTTP backend failed"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "user expire_at info b64info data channels subs meta override expired tags version".split()
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@settings(max_examples=150, deadline=None)
@given(JSON)
def test_a_reader_takes_a_result_or_says_what_is_wrong(result: Any) -> None:
    body = json.dumps(result).encode()
    for read in (read_connect, read_refresh, read_subscribe, read_publish, read_rpc):
        with contextlib.suppress(ValueError):
            read(body)


async def test_any_bytes_are_an_answer_or_a_failure() -> None:
    async with proxy_of("http://127.0.0.1:9/{event}") as proxy:

        @settings(max_examples=100, deadline=None)
        @given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps({"result": value}).encode()))
        def check(body: bytes) -> None:
            with contextlib.suppress(HandlerError):
                proxy._result("rpc", body)

        check()


async def test_statuses_mean_what_the_configuration_says() -> None:
    team = Team()
    statuses = ["404: 1004 没有这个订单", "429: 111", "403: 4503 banned", "503: 3011"]
    outcomes = {
        404: Error(1004, "没有这个订单"),
        429: Error(111, "too many requests", temporary=True),
        403: Disconnect(4503, "banned"),
        503: Disconnect(3011, "force reconnect"),
    }
    async with team.http() as endpoint, proxy_of(endpoint, statuses=statuses) as proxy:
        for status, outcome in outcomes.items():
            team.say("rpc", _always(Response("no", status)))
            with pytest.raises(ClientError) as refused:
                await rpc(proxy)
            assert refused.value.outcome == outcome
        for other in (Response("no", 500), Response("", 204), RedirectResponse("/centrifugo/connect")):
            team.say("rpc", _always(other))
            with pytest.raises(HandlerError, match="status"):
                await rpc(proxy)
    assert not team.seen("connect"), "redirects are not followed"


async def test_errors_and_disconnects_go_through_as_they_are() -> None:
    team = Team()
    async with team.http() as endpoint, proxy_of(endpoint) as proxy:
        for body, outcome in (
            ({"error": {"code": 1000, "message": "售罄"}}, Error(1000, "售罄")),
            ({"error": {"code": 1000, "message": "x" * 1000}}, Error(1000, "x" * 300)),
            ({"error": {"code": 400}}, Error(400, "error")),
            ({"disconnect": {"code": 4000, "reason": "去" * 100}}, Disconnect(4000, "去" * 41)),
            ({"disconnect": {"code": 3000}}, Disconnect(3000, "disconnected by the backend")),
        ):
            team.say("rpc", body)
            with pytest.raises(ClientError) as refused:
                await rpc(proxy)
            assert refused.value.outcome == outcome


# ---------------------------------------------------------------------------- what is sent
async def test_a_signed_request_can_be_verified() -> None:
    team = Team()
    async with team.http() as endpoint, proxy_of(endpoint, secret="s3cret") as proxy:
        await rpc(proxy)
    headers = team.headers[0]
    timestamp = headers[TIMESTAMP_HEADER.lower()]
    assert abs(int(timestamp) - time.time()) < 5
    assert headers[SIGNATURE_HEADER.lower()] == sign("s3cret", timestamp, b'{"method":"m"}')
    assert sign("s3cret", timestamp, b"{}") != sign("other", timestamp, b"{}")


async def test_http2_is_only_spoken_where_the_backend_does() -> None:
    team = Team()
    async with team.http() as endpoint, proxy_of(endpoint, http2=True, max_concurrent=20) as proxy:
        await asyncio.gather(*(rpc(proxy) for _ in range(30)))
    assert len(team.seen("rpc")) == 30


async def test_headers_of_the_phone_are_sent_along_only_where_they_are_listed() -> None:
    team = Team()
    async with (
        team.http() as endpoint,
        proxy_of(
            endpoint, headers=["Cookie", "X-Real-IP"], static_headers=["Authorization: Bearer abc"]
        ) as proxy,
    ):
        await rpc(proxy, {"cookie": "a=b", "x-real-ip": "10.1.2.3\n", "user-agent": "wx"})
    headers = team.headers[0]
    assert (headers["cookie"], headers["authorization"]) == ("a=b", "Bearer abc")
    assert "x-real-ip" not in headers, "a value that is no header's"
    assert "wx" not in headers["user-agent"]
    assert headers["content-type"] == "application/json"


async def test_a_handshake_keeps_only_the_headers_that_somebody_wants() -> None:
    team = Team()
    async with team.http() as endpoint:
        backend = {
            "connect": "shop",
            "keep_headers": ["User-Agent"],
            "proxies": [{"name": "shop", "endpoint": endpoint, "headers": ["Cookie"]}],
        }
        async with world_with(None, backend) as world:
            port = world.server.ports["websocket"]
            async with await RawSocket.open(port, Cookie="a=b", User_Agent="wx", X_Other="1") as socket:
                await socket.connect(token("ann"))
                parts = world.server._parts
                assert parts is not None
                client = next(iter(parts.node.hub.clients.values()))
                assert client.caller.headers == {"cookie": "a=b", "user-agent": "wx"}
    assert team.headers[0]["cookie"] == "a=b"


@contextlib.asynccontextmanager
async def world_with(handlers: Gateway | None, backend: Json) -> AsyncIterator[World]:
    async with running(
        handlers,
        client={"token_hmac_secret": HMAC_SECRET},
        channels={"namespaces": {"deal": {"subscribe_proxy": "shop"}}},
        backend=backend,
    ) as world:
        yield world


# ---------------------------------------------------------------------------- Python and HTTP together
async def test_python_answers_what_it_has_and_http_the_rest() -> None:
    team = Team()
    team.say("rpc", {"result": {"data": "from http"}})
    gw = Gateway()
    gw.rpc("order.pay")(lambda ctx: "from python")
    gw.on_subscribe("deal:vip")(lambda ctx, channel: {"data": "from python"})
    async with team.http() as endpoint:
        backend = {"rpc": "shop", "proxies": [{"name": "shop", "endpoint": endpoint}]}
        async with world_with(gw, backend) as world:
            async with await RawSocket.open(world.server.ports["websocket"]) as socket:
                await socket.connect(token("ann"))
                assert (await socket.call("rpc", method="order.pay"))["rpc"]["data"] == "from python"
                assert (await socket.call("rpc", method="other"))["rpc"]["data"] == "from http"
                reply = await socket.call("subscribe", channel="deal:vip")
                assert reply["subscribe"]["data"] == "from python"
                assert "subscribe" in await socket.call("subscribe", channel="deal:1")
    assert [event for event, _ in team.asked] == ["rpc", "subscribe"]


# ---------------------------------------------------------------------------- trouble
async def test_no_more_requests_are_in_flight_than_allowed() -> None:
    team, inside, most = Team(), 0, 0
    slow = asyncio.Event()

    async def gate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal inside, most
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                inside += 1
                most = max(most, inside)
                await slow.wait()
                inside -= 1
                writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"result":{}}')
        writer.close()

    assert team.asked == []
    server = await asyncio.start_server(gate, "127.0.0.1", 0)
    async with proxy_of(
        f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", max_concurrent=3, timeout="3s"
    ) as proxy:
        calls = [asyncio.create_task(rpc(proxy)) for _ in range(33)]
        await until(lambda: inside == 3)
        with pytest.raises(HandlerError, match="busy"):
            await rpc(proxy)  # thirty wait already
        slow.set()
        assert await asyncio.gather(*calls) == [b""] * 33
    assert most == 3
    server.close()


async def test_a_backend_that_is_down_is_asked_once_a_second_until_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(proxy_module, "BREAKER_COOLDOWN", 200 * MS)
    port = free_port()
    async with proxy_of(f"http://127.0.0.1:{port}/") as proxy:
        whys = []
        for _ in range(proxy_module.BREAKER_FAILURES + 5):
            with pytest.raises(HandlerError) as failed:
                await rpc(proxy)
            whys.append(failed.value.detail.rpartition(" ")[2])
        assert whys == ["connect"] * proxy_module.BREAKER_FAILURES + ["breaker_open"] * 5
        server = await asyncio.start_server(_fine, "127.0.0.1", port)
        await asyncio.sleep(250 * MS)
        assert [await rpc(proxy) for _ in range(3)] == [b""] * 3
        server.close()


async def _fine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"result":{}}')
    writer.close()


async def test_the_log_says_it_once_a_second() -> None:
    async with proxy_of(f"http://127.0.0.1:{free_port()}/") as proxy:
        with capture_logs() as logged:
            for _ in range(30):
                with pytest.raises(HandlerError):
                    await rpc(proxy)
    assert 1 <= sum(line["event"] == "an HTTP backend failed" for line in logged) <= 2


@pytest.mark.parametrize("trouble", ["hang", "die", "html", "big", "drip"])
async def test_each_trouble_is_error_100_in_time(trouble: str) -> None:
    with bad_backend() as url:
        async with proxy_of(f"{url}/{trouble}", timeout="300ms") as proxy:
            began = time.monotonic()
            with pytest.raises(HandlerError) as failed:
                await rpc(proxy)
            assert time.monotonic() - began < 3
            assert failed.value.error.code == 100


TROUBLES = ("hang", "die", "html", "big")
TROUBLED = """
[channels.namespaces.{name}]
publish_proxy = "{name}"
[[backend.proxies]]
name = "{name}"
endpoint = "{url}/{name}"
timeout = "500ms"
"""


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


async def pushes(gateway: GatewayProcess, listener: RawSocket, count: int) -> list[float]:
    """Seconds from each publication to its push, one after the other."""
    took = []
    for number in range(count):
        began = time.perf_counter()
        await gateway.publish("news", number)
        while (await listener.reply()).get("push", {}).get("pub", {}).get("data") != number:
            pass
        took.append(time.perf_counter() - began)
    return took


async def test_backends_in_trouble_cost_nobody_else_anything(tmp_path: Path) -> None:
    """Forty phones ask backends in four kinds of trouble without end; another one's pushes are as quick."""
    with bad_backend() as url:
        more = "".join(TROUBLED.format(name=name, url=url) for name in TROUBLES)
        gateway = GatewayProcess(tmp_path, more=more)
        gateway.start()
        try:
            async with await RawSocket.open(gateway.websocket_port) as listener:
                await listener.connect(token("listener"))
                await listener.call("subscribe", channel="news")
                before = await pushes(gateway, listener, 60)
                codes: list[tuple[str, int]] = []
                crowd = [
                    asyncio.create_task(_ask_for_ever(gateway, TROUBLES[each % 4], codes))
                    for each in range(40)
                ]
                await until(lambda: len({name for name, _ in codes}) == 4)
                meanwhile = await pushes(gateway, listener, 60)
                for task in crowd:
                    task.cancel()
                await asyncio.gather(*crowd, return_exceptions=True)
            assert set(codes) == {(name, 100) for name in TROUBLES}
            usual, now = percentile(before, 0.98), percentile(meanwhile, 0.98)
            assert now < 3 * usual + 100 * MS, f"98 % of the pushes took {now:.4f} s, {usual:.4f} s before"
        finally:
            gateway.stop()


async def _ask_for_ever(gateway: GatewayProcess, trouble: str, codes: list[tuple[str, int]]) -> None:
    async with await RawSocket.open(gateway.websocket_port) as socket:
        await socket.connect(token("asker"))
        while True:
            reply = await socket.call("publish", channel=f"{trouble}:1", data=1)
            codes.append((trouble, reply["error"]["code"]))
            await asyncio.sleep(20 * MS)


# ---------------------------------------------------------------------------- configuration
@pytest.mark.parametrize(
    ("tables", "why"),
    [
        ({"backend": {"connect": "shop"}}, "there is no such proxy"),
        ({"channels": {"namespaces": {"ab": {"publish_proxy": "shop"}}}}, "there is no such proxy"),
        ({"backend": {"proxies": [{"name": "a", "endpoint": "http://x"}] * 2}}, "has this name already"),
        ({"backend": {"proxies": [{"name": "a"}]}}, "missing, it cannot be left out"),
        ({"backend": {"proxies": [{"name": "a", "endpoint": "x"}]}}, "not a URL"),
        ({"backend": {"keep_headers": ["Host"]}}, "nobody else's business"),
        ({"backend": {"keep_headers": ["a b"]}}, "write names of headers"),
        (
            {"backend": {"proxies": [{"name": "a", "endpoint": "http://x", "statuses": ["200: 1000"]}]}},
            "write statuses such as",
        ),
        (
            {"backend": {"proxies": [{"name": "a", "endpoint": "http://x", "static_headers": ["Key"]}]}},
            "write headers such as",
        ),
    ],
)
def test_a_configuration_that_cannot_be_is_told(tables: Json, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load(None, {}, tables)


async def test_a_plain_send_is_told_to_the_backend() -> None:
    team = Team()
    async with team.http() as endpoint:
        backend = {"send": "shop", "proxies": [{"name": "shop", "endpoint": endpoint}]}
        async with world_with(None, backend) as world:
            async with await RawSocket.open(world.server.ports["websocket"]) as socket:
                await socket.connect(token("ann"))
                await socket.send(text({"send": {"data": 1}}))
                await until(lambda: team.seen("send") != [])
