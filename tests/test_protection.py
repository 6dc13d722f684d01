"""Support tools over real gateways: who is connected, who is blocked, which tokens are void, who did it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.auth.addresses import network_of
from gateway.client import Client
from gateway.protection.guard import BLOCKED, Entry
from tests.raw_ws import RawSocket
from tests.redis_server import RedisServer
from tests.rooms import LIMITS
from tests.rooms import Phone as Sink
from tests.support_world import KEY, PATIENCE, Gate, gate, gates, token
from tests.timing import MS, until


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer("--save", "", "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@pytest.fixture
async def two(redis: RedisServer) -> AsyncIterator[list[Gate]]:
    """Two gateways on one Redis, which is empty at first."""
    redis.command("FLUSHALL")
    async with gates(redis.url) as both:
        yield both


@pytest.fixture
async def alone() -> AsyncIterator[Gate]:
    """A gateway without Redis."""
    async with gate() as one:
        yield one


# ---------------------------------------------------------------------------- connections
async def test_connections_are_found_on_every_node(two: list[Gate]) -> None:
    before = time.time()
    one = await two[0].socket()
    result = (await one.call("connect", token=token("alice"), name="js", version="5.8.0"))["connect"]
    await one.call("subscribe", channel="news")
    await two[1].phone("alice")
    await two[1].phone("bob", "news")
    found = await two[0].result("connections", user="alice")
    assert found["total"] == 2
    assert "cursor" not in found
    assert {each["node"] for each in found["connections"]} == {each.node.id for each in two}
    mine = next(each for each in found["connections"] if each["client"] == result["client"])
    assert before - 1 <= mine["connected_at"] / 1000 <= time.time() + 1
    assert mine | {"connected_at": 0, "node": ""} == {
        "client": result["client"], "user": "alice", "appid": "", "node": "", "ip": "127.0.0.1",
        "name": "js", "version": "5.8.0", "transport": "websocket", "connected_at": 0,
        "channels": ["#alice", "news"], "num_channels": 2, "waiting_bytes": 0,
    }  # fmt: skip
    by_channel = await two[0].result("connections", channel="news")
    assert sorted(each["user"] for each in by_channel["connections"]) == ["alice", "bob"]
    assert (await two[1].result("connections", search="LIC"))["total"] == 2
    assert (await two[1].result("connections", search="nobody"))["connections"] == []
    both = await two[1].result("connections", user="alice", channel="news")
    assert [each["client"] for each in both["connections"]] == [result["client"]]


async def test_pages_of_connections_have_everybody_once(two: list[Gate]) -> None:
    for number in range(7):
        await two[number % 2].phone(f"user-{number}")
    for order in ({}, {"slow": True}):
        seen, cursor, pages = [], "", 0
        while True:
            page = await two[0].result("connections", limit=3, cursor=cursor, **order)
            assert page["total"] == 7
            seen += [each["user"] for each in page["connections"]]
            pages += 1
            if "cursor" not in page:
                break
            cursor = page["cursor"]
        assert sorted(seen) == [f"user-{number}" for number in range(7)]
        assert pages == 3


async def test_slow_clients_come_first(alone: Gate) -> None:
    for name in ("quick", "other"):
        await alone.phone(name, "news")
    slow = await alone.phone("slow", "news")
    transport: Any = slow._reader._transport  # type: ignore[attr-defined]
    transport.pause_reading()
    for _ in range(40):
        await alone.result("publish", channel="#slow", data="x" * 200_000)
        first = (await alone.result("connections", slow=True, limit=1))["connections"][0]
        if first["waiting_bytes"]:
            break
    assert first["user"] == "slow"
    assert first["waiting_bytes"] > 0


@pytest.mark.parametrize(
    "wrong",
    [{"limit": 0}, {"limit": 501}, {"cursor": "x"}, {"cursor": "9" * 30 + ":c"}, {"search": "x" * 256}],
)
async def test_what_connections_does_not_take(alone: Gate, wrong: dict[str, Any]) -> None:
    assert await alone.error("connections", **wrong) == 107


# ---------------------------------------------------------------------------- blocking
async def test_a_blocked_user_is_out_on_every_node_and_stays_out(two: list[Gate]) -> None:
    phones = [await each.phone("mallory") for each in two]
    bystander = await two[0].phone("alice")
    await two[0].result("block_user", user="mallory", reason="spam")
    for phone in phones:
        await phone.closed_with(4502)
    for each in two:
        socket = await each.socket()
        reply = await socket.call("connect", token=token("mallory"))
        assert (reply["error"]["code"], reply["error"].get("temporary", False)) == (407, False)
    assert await bystander.call("subscribe", channel="news")
    listed = await two[1].result("blocked_users")
    assert [(each["user"], each["reason"]) for each in listed["users"]] == [("mallory", "spam")]
    await two[1].result("unblock_user", user="mallory")

    async def is_in() -> bool:
        socket = await two[0].socket()
        return "connect" in await socket.call("connect", token=token("mallory"))

    await until(is_in)
    assert (await two[0].result("blocked_users")) == {"users": [], "total": 0}


async def test_a_blocked_mini_program_user_is_refused_everywhere(two: list[Gate]) -> None:
    phone, told = await two[0].mini_program("mallory")
    bearer = {"Authorization": f"Bearer {told['token']}"}
    await two[1].result("block_user", user=told["openid"])
    await phone.closed_with(4502)
    async with asyncio.timeout(PATIENCE):
        while (await two[0].http.get("/wx/session", headers=bearer)).status_code != 403:
            await asyncio.sleep(10 * MS)
    upload = await two[0].http.post("/files", headers=bearer, files={"file": ("a.txt", b"hello")})
    login = await two[0].http.post("/wx/login", json={"code": await two[0].code("mallory")})
    for answer in (upload, login):
        assert (answer.status_code, answer.json()["code"]) == (403, 407), answer.text
    socket = await two[0].socket()
    assert (await socket.call("connect", token=told["token"]))["error"]["code"] == 407


async def test_a_block_ends_by_itself(alone: Gate) -> None:
    await alone.result("block_user", user="mallory", expire_at=int(time.time()) + 2)
    socket = await alone.socket()
    assert (await socket.call("connect", token=token("mallory")))["error"]["code"] == 407

    async def is_in() -> bool:
        socket = await alone.socket()
        return "connect" in await socket.call("connect", token=token("mallory"))

    await until(is_in)
    assert (await alone.result("blocked_users"))["total"] == 0


async def test_blocks_outlive_gateways_and_a_redis_that_forgets(redis: RedisServer) -> None:
    redis.command("FLUSHALL")
    async with gate(redis.url) as first:
        await first.result("block_user", user="mallory")
    async with gate(redis.url) as second:
        assert (await second.result("blocked_users"))["total"] == 1
        redis.command("FLUSHALL")
        redis.command("CLIENT", "KILL", "TYPE", "pubsub")

        async def is_back() -> bool:
            return bool(redis.command("HEXISTS", "wxgw:protection:{blocked}", "mallory"))

        await until(is_back)
        socket = await second.socket()
        assert (await socket.call("connect", token=token("mallory")))["error"]["code"] == 407


async def test_a_node_that_missed_the_message_reads_the_lists_again(
    two: list[Gate], redis: RedisServer
) -> None:
    phone = await two[1].phone("mallory")
    # Written behind the back of both: as by a node whose message was lost.
    redis.command("HSET", "wxgw:protection:{blocked}", "", "1", "mallory", '{"since":1.0}')
    redis.command("CLIENT", "KILL", "TYPE", "pubsub")
    await phone.closed_with(4502)


async def test_pages_of_blocked_users(alone: Gate) -> None:
    for number in range(5):
        await alone.result("block_user", user=f"user-{number}")
    first = await alone.result("blocked_users", limit=3)
    second = await alone.result("blocked_users", limit=3, cursor=first["cursor"])
    assert [each["user"] for each in first["users"] + second["users"]] == [f"user-{n}" for n in range(5)]
    assert (first["total"], second["total"]) == (5, 5)
    assert "cursor" not in second


async def test_a_blocked_user_is_found_by_a_part_of_the_name(alone: Gate) -> None:
    for user in ("osVs-mallory", "osVs-bob", "mallory-2"):
        await alone.result("block_user", user=user)
    found = await alone.result("blocked_users", search="mallory", limit=1)
    assert ([each["user"] for each in found["users"]], found["total"]) == (["mallory-2"], 2)
    rest = await alone.result("blocked_users", search="mallory", cursor=found["cursor"])
    assert [each["user"] for each in rest["users"]] == ["osVs-mallory"]
    assert (await alone.result("blocked_users", search="trent")) == {"users": [], "total": 0}


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        ("block_user", {}),
        ("block_user", {"user": "x" * 256}),
        ("block_user", {"user": "x", "expire_at": 1}),
        ("block_user", {"user": "x", "reason": "r" * 201}),
        ("unblock_user", {}),
        ("blocked_users", {"search": "x" * 256}),
        ("revoke_token", {}),
        ("revoke_token", {"token": "a", "jti": "b"}),
        ("revoke_token", {"token_hash": "zz"}),
        ("revoke_token", {"token": "x" * 9000}),
        ("invalidate_user_tokens", {"user": ""}),
    ],
)
async def test_what_protection_does_not_take(alone: Gate, method: str, wrong: dict[str, Any]) -> None:
    assert await alone.error(method, **wrong) == 107


# ---------------------------------------------------------------------------- tokens
async def test_a_session_token_is_revoked_everywhere(two: list[Gate]) -> None:
    phone, told = await two[0].mini_program("alice")
    other, kept = await two[1].mini_program("alice")
    await two[1].result("revoke_token", token=told["token"])
    await phone.closed_with(4501)
    socket = await two[0].socket()
    assert (await socket.call("connect", token=told["token"]))["error"]["code"] == 109
    assert "subscribe" in await other.call("subscribe", channel="news")
    await two[0].result("revoke_token", token_hash=hashlib.sha256(kept["token"].encode()).hexdigest())
    await other.closed_with(4501)


@pytest.mark.parametrize("by", ["token", "token_hash", "jti", "uid"])
async def test_a_jwt_is_revoked_everywhere(two: list[Gate], by: str) -> None:
    bad, good = token("alice", jti="the-stolen-one"), token("alice", jti="another")
    phones = []
    for each in two:
        phones.append(await each.socket())
        await phones[-1].connect(bad)
    kept = await two[0].phone("alice", jti="another")
    value = {"token": bad, "token_hash": hashlib.sha256(bad.encode()).hexdigest()}.get(by, "the-stolen-one")
    await two[0].result("revoke_token", **{by: value})
    for phone in phones:
        await phone.closed_with(3500)
    for each in two:
        socket = await each.socket()
        await socket.send_command("connect", token=bad)
        await socket.closed_with(3500)
        form = {"file": ("a.txt", b"hello")}
        assert (await each.http.post("/files", headers={"X-WX-Token": bad}, files=form)).status_code == 401
    await (await two[1].socket()).connect(good)
    assert "subscribe" in await kept.call("subscribe", channel="news")


async def test_all_tokens_of_a_user_are_invalidated(two: list[Gate]) -> None:
    phone, told = await two[0].mini_program("alice")
    user, now = told["openid"], int(time.time())
    old = await two[1].phone(user, iat=now - 100)
    without = await two[0].phone(user)
    await two[1].result("invalidate_user_tokens", user=user)
    await phone.closed_with(4501)
    await old.closed_with(3500)
    await without.closed_with(3500)
    socket = await two[0].socket()
    assert (await socket.call("connect", token=told["token"]))["error"]["code"] == 109
    await two[0].phone(user, iat=now + 100)
    again, _ = await two[1].mini_program("alice")
    assert "subscribe" in await again.call("subscribe", channel="news")


async def test_only_tokens_from_before_are_invalidated(alone: Gate) -> None:
    now = int(time.time())
    old, new = await alone.phone("alice", iat=now - 100), await alone.phone("alice", iat=now - 10)
    await alone.result("invalidate_user_tokens", user="alice", issued_before=now - 50)
    await old.closed_with(3500)
    assert "subscribe" in await new.call("subscribe", channel="news")
    assert await alone.error("invalidate_user_tokens", user="alice", channel="news") == 108


# ---------------------------------------------------------------------------- audit
async def test_what_was_done_to_users_is_written_down(two: list[Gate]) -> None:
    stolen = token("alice")
    with capture_logs() as logged:
        await two[0].result("block_user", user="mallory", reason="spam")
        await two[1].result("disconnect", user="alice", disconnect={"code": 4000, "reason": "x"})
        await two[0].result("revoke_token", token=stolen)
        assert await two[0].error("block_user") == 107
        await two[1].internal.post(
            "/api/unsubscribe", json={"user": "bob", "channel": "news"},
            headers={"X-API-Key": KEY, "X-Dashboard-User": "carol"},
        )  # fmt: skip
    page = await two[1].result("audit")
    who = f"key:{hashlib.sha256(KEY.encode()).hexdigest()[:8]}"
    facts = [(each["who"], each["action"], each["target"], each["outcome"]) for each in page["entries"]]
    assert facts == [
        (f"{who} carol", "unsubscribe", "bob", "ok"),
        (who, "block_user", "", "107"),
        (who, "revoke_token", "", "ok"),
        (who, "disconnect", "alice", "ok"),
        (who, "block_user", "mallory", "ok"),
    ]
    assert page["entries"][-1]["detail"] == "reason=spam"
    assert stolen not in str(page) + str(logged)
    assert KEY not in str(page) + str(logged)
    assert [each["action"] for each in logged if each["event"] == "audit"] == [
        "block_user", "disconnect", "revoke_token", "block_user", "unsubscribe",
    ]  # fmt: skip
    first = await two[0].result("audit", limit=2)
    second = await two[0].result("audit", limit=3, cursor=first["cursor"])
    assert first["entries"] + second["entries"] == page["entries"]
    assert [each["action"] for each in (await two[0].result("audit", target="alice"))["entries"]] == [
        "disconnect"
    ]
    assert await two[0].error("audit", cursor="nonsense") == 107


async def test_the_audit_log_of_one_process_has_pages(alone: Gate) -> None:
    for number in range(5):
        await alone.result("block_user", user=f"user-{number}")
    first = await alone.result("audit", limit=3)
    second = await alone.result("audit", limit=3, cursor=first["cursor"])
    assert [each["target"] for each in first["entries"] + second["entries"]] == [
        f"user-{number}" for number in reversed(range(5))
    ]
    assert "cursor" not in second


# ---------------------------------------------------------------------------- traces
async def test_a_trace_shows_a_users_traffic_on_every_node(two: list[Gate]) -> None:
    here = await two[0].phone("alice")
    await two[0].phone("bob", "news")
    async with two[0].trace(user="alice", seconds=30) as trace:
        there: RawSocket = await two[1].phone("alice")
        await trace.line(direction="in", kind="connect", node=two[1].node.id)
        await trace.line(direction="out", kind="connect", node=two[1].node.id)
        await here.call("subscribe", channel="news")
        line = await trace.line(direction="in", kind="subscribe", channel="news", node=two[0].node.id)
        assert line["bytes"] > 0
        assert abs(line["at"] / 1000 - time.time()) < 60
        await there.call("rpc", method="order.pay", data={"n": 1})
        await trace.line(kind="error", code=108, node=two[1].node.id)
        await two[1].result("publish", channel="news", data={"secret": "not shown"})
        await trace.line(direction="out", kind="pub", channel="news", node=two[0].node.id)
        await two[1].result("disconnect", user="alice")
        await trace.line(kind="disconnect", code=3503)
    assert not any("payload" in line for line in trace.seen)
    assert "not shown" not in str(trace.seen)
    audit = await two[1].result("audit", action="trace")
    assert [each["target"] for each in audit["entries"]] == ["alice"]


async def test_a_trace_with_payloads_hides_what_opens_doors(alone: Gate) -> None:
    phone, told = await alone.mini_program("alice")
    async with alone.trace(user=told["openid"], payloads="true", seconds=30) as trace:
        again = await alone.socket()
        await again.call("connect", data={"code": await alone.code("alice"), "scene": 1089})
        line = await trace.line(direction="out", kind="connect")
        assert '"token":"[hidden]"' in line["payload"]
        data = {"text": "a word", "password": "hunter2", "jwt": token("alice"), "odd": told["token"]}
        await phone.call("subscribe", channel="news")
        await phone.call("publish", channel="news", data=data)
        line = await trace.line(direction="out", kind="pub")
        assert "a word" in line["payload"]
        refreshed = token(told["openid"])
        await phone.send_command("refresh", token=refreshed)
        await trace.line(direction="in", kind="refresh")
    shown = str(trace.seen)
    assert all(each not in shown for each in ("hunter2", told["token"], token("alice"), refreshed))


async def test_a_trace_of_a_client_that_floods_is_bounded_and_ends_by_itself(alone: Gate) -> None:
    phone = await alone.phone("alice")
    client = (await alone.result("connections", user="alice"))["connections"][0]["client"]
    async with alone.trace(client=client, seconds=1) as trace:
        for _ in range(350):
            await phone.call("presence_stats", channel="x")
        lines = await trace.rest()
    assert lines[-1]["kind"] == "end"
    assert any(line["kind"] == "dropped" and line["count"] > 0 for line in lines)
    assert len(lines) < 900


async def test_who_is_not_traced_any_more_is_an_ordinary_connection(two: list[Gate]) -> None:
    await two[1].phone("alice")
    client = two[1].node.hub.of_user("alice")[0]
    plain = type(client.sink)
    async with two[0].trace(user="alice", seconds=30):
        assert type(client.sink) is not plain

    async def is_plain() -> bool:
        return type(client.sink) is plain

    await until(is_plain)
    assert not two[0].server._parts.protection.tracer._readers  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "wrong",
    ["", "user=a&client=b", "user=a&seconds=0", "user=a&seconds=601", "user=a&payloads=x", "user=%ff"],
)
async def test_what_a_trace_does_not_take(alone: Gate, wrong: str) -> None:
    answer = await alone.internal.get(f"/api/trace?{wrong}", headers={"X-API-Key": KEY})
    assert (answer.status_code, answer.json()["code"]) == (400, 107)


async def test_a_trace_needs_a_key(alone: Gate) -> None:
    assert (await alone.internal.get("/api/trace?user=a")).status_code == 401
    assert (await alone.internal.get("/api/trace?user=a", headers={"X-API-Key": "x"})).status_code == 401


# ---------------------------------------------------------------------------- addresses
@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("", ""),
        ("no address", "no address"),
    ],
)
def test_an_ipv6_address_counts_as_its_network(address: str, network: str) -> None:
    assert network_of(address) == network


async def from_address(world: Gate, address: str) -> RawSocket:
    """A connection through the trusted proxy of this machine."""
    socket = await RawSocket.open(world.server.ports["websocket"], X_Forwarded_For=address)
    return await world.stack.enter_async_context(socket)


async def test_connections_of_an_address_are_limited_over_all_nodes(redis: RedisServer) -> None:
    redis.command("FLUSHALL")
    async with gates(redis.url, client={"address_connection_limit": 2}) as both:
        first = await from_address(both[0], "2001:db8:1:2::1")
        await first.connect(token("alice"))
        second = await from_address(both[1], "2001:db8:1:2::2")
        await second.connect(token("bob"))
        for each in both:
            third = await from_address(each, "2001:db8:1:2::3")
            reply = await third.call("connect", token=token("carol"))
            assert (reply["error"]["code"], reply["error"]["temporary"]) == (408, True)
        other = await from_address(both[0], "2001:db8:1:3::1")
        await other.connect(token("dave"))
        await both[1].result("disconnect", user="bob")
        await second.closed_with(3503)

        async def has_room() -> bool:
            again = await from_address(both[0], "2001:db8:1:2::4")
            return "connect" in await again.call("connect", token=token("carol"))

        await until(has_room)
        await both[0].server._parts.protection.addresses.refresh()  # type: ignore[union-attr]


async def test_a_forged_address_counts_as_the_proxys() -> None:
    async with gate(
        client={"address_connection_limit": 1}, websocket={"trusted_proxies": ["10.0.0.1/32"]}
    ) as world:
        await (await from_address(world, "203.0.113.1")).connect(token("alice"))
        second = await from_address(world, "203.0.113.2")
        assert (await second.call("connect", token=token("bob")))["error"]["code"] == 408


async def test_sign_ins_of_an_address_are_limited_over_all_nodes(redis: RedisServer) -> None:
    redis.command("FLUSHALL")
    app = {"sign_ins_per_minute_per_ip": 2}
    async with gates(redis.url, wechat=app) as both:
        while time.time() % 60 > 55:  # not over the end of a minute
            await asyncio.sleep(1)
        for each in both:
            await each.mini_program("alice")
        socket = await both[0].socket()
        reply = await socket.call("connect", data={"code": await both[0].code("alice")})
        assert (reply["error"]["code"], reply["error"]["temporary"]) == (111, True)
        login = await both[1].http.post("/wx/login", json={"code": await both[1].code("alice")})
        assert (login.status_code, login.json()["code"]) == (429, 111)
        elsewhere = await from_address(both[0], "203.0.113.9")
        assert "connect" in await elsewhere.call("connect", data={"code": await both[0].code("alice")})


# ---------------------------------------------------------------------------- many
async def test_no_list_holds_the_loop(alone: Gate) -> None:
    """At 50,000 connections and 100,000 blocked users; in CPU time, whatever else the machine does."""
    guard = alone.server._parts.protection.guard  # type: ignore[union-attr]
    guard._lists[BLOCKED].update({f"blocked-{number:06d}": Entry(1.0) for number in range(100_000)})
    hub = alone.node.hub
    for number in range(50_000):
        client = Client(f"client-{number}", Sink(), LIMITS, ip="192.0.2.1", now=0.0)
        client.sign_in(f"user-{number % 20_000}", "", "")
        client.connected(1e9)
        hub.add(client)
    try:
        held = await longest_turn(alone.result("connections", limit=500))
        held = max(held, await longest_turn(alone.result("connections", slow=True, search="ser-1")))
        held = max(held, await longest_turn(alone.result("blocked_users", limit=1000)))
        held = max(held, await longest_turn(alone.result("blocked_users", search="099")))
        held = max(held, await longest_turn(alone.result("revoke_token", jti="somebody's")))
    finally:
        hub.clients.clear()
        hub.users.clear()
    assert held < 10 * MS, held
    print(f"the loop was held for {held * 1000:.1f} ms at most")


async def longest_turn(work: Coroutine[Any, Any, Any]) -> float:
    """Seconds of CPU between two turns of the loop while `work` runs."""
    done, longest = asyncio.create_task(work), 0.0
    while not done.done():
        began = time.thread_time()
        await asyncio.sleep(0)
        longest = max(longest, time.thread_time() - began)
    await done
    return longest


async def test_while_redis_is_away_the_blocked_stay_out_and_nothing_is_said_to_be_done(
    redis: RedisServer,
) -> None:
    redis.command("FLUSHALL")
    async with gate(redis.url) as one:
        await one.result("block_user", user="mallory")
        redis.kill()
        try:
            assert await one.error("block_user", user="trudy") == 100
            socket = await one.socket()
            assert (await socket.call("connect", token=token("mallory")))["error"]["code"] == 407
        finally:
            redis.start()

        async def works() -> bool:
            return "result" in await one.call("block_user", user="trudy")

        await until(works)
        socket = await one.socket()
        assert (await socket.call("connect", token=token("trudy")))["error"]["code"] == 407
        assert (await one.result("blocked_users"))["total"] == 2
