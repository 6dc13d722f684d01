"""Several real gateways on one real Redis are one gateway: what happens on one node holds on all."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from chaos.team import APPID, Team, gateway_toml, readiness
from tests.gateway_process import free_port, unique
from tests.redis_server import RedisServer
from tests.sdk.phone import Phone
from tests.timing import MS
from tests.worker_world import MORE, PATIENCE, START, People, api, people, result, until

pytestmark = pytest.mark.timeout(90)

PRESENCE_TTL = 3_000 * MS
NODE_TTL = 10.0
"""Seconds of silence after which a node is taken for gone; the gateway's own constant."""
CHANNELS = f'presence_ttl = "{PRESENCE_TTL:.2f}s"\npresence_interval = "{PRESENCE_TTL / 3:.2f}s"'


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """It keeps what it was told when it is killed."""
    with RedisServer("--save", "", "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@pytest.fixture(scope="module")
def start_node(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Team]]:
    """Starts single processes; the WeChat of all of them is the sandbox of the first."""
    started: list[Team] = []
    port = free_port()

    def start(client: str = "user_connection_limit = 2") -> Team:
        first = not started
        config = gateway_toml(
            redis.url,
            http=port if first else 0,
            sandbox=first,
            app="" if first else f'api_base = "http://127.0.0.1:{port}/sandbox"',
            client=client,
            channels=CHANNELS,
            more=MORE,
        )
        node = Team(Path(tmp_path_factory.mktemp("node")), config, workers=1)
        started.append(node)
        node.start(START)
        return node

    yield start
    for node in started:
        node.close()


@pytest.fixture(scope="module")
def shared_nodes(start_node: Callable[..., Team]) -> list[Team]:
    return [start_node(), start_node()]


@pytest.fixture
def nodes(shared_nodes: list[Team]) -> Iterator[list[Team]]:
    """Two nodes; both are ready after each test, without a traceback."""
    yield shared_nodes
    for node in shared_nodes:
        assert node.process is not None
        assert node.process.poll() is None, node.log()
        assert "Traceback" not in node.log(), node.log()


@pytest.fixture
async def crowd() -> AsyncIterator[People]:
    async with people() as crowd:
        yield crowd


async def uid_of(node: Team) -> str:
    """The id of a node: the one that answers lists itself first."""
    return str((await result(node, "info"))["nodes"][0]["uid"])


# ---------------------------------------------------------------------------- publications
async def test_two_publishers_and_one_order_everywhere(nodes: list[Team], crowd: People) -> None:
    channel, count = unique("chat:order"), 40
    phones = [await crowd.at(node, unique("user"), channel) for node in nodes for _ in range(2)]

    async def publish(node: Team, name: str) -> None:
        for number in range(count):
            await result(node, "publish", channel=channel, data=f"{name}{number}")

    await asyncio.gather(publish(nodes[0], "a"), publish(nodes[1], "b"))
    for phone in phones:
        await phone.several(2 * count, "publication", channel=channel)
    first = phones[0].data(channel)
    assert all(phone.data(channel) == first for phone in phones)
    for name in "ab":
        assert [each for each in first if each[0] == name] == [f"{name}{number}" for number in range(count)]


async def test_joins_leaves_and_presence_over_nodes(nodes: list[Team], crowd: People) -> None:
    channel = unique("chat:who")
    phones = [await crowd.at(node, name, channel) for node, name in zip(nodes, ("alice", "bob"), strict=True)]
    for node in nodes:
        present = (await result(node, "presence", channel=channel))["presence"]
        assert sorted(each["user"] for each in present.values()) == ["alice", "bob"]
        assert await result(node, "presence_stats", channel=channel) == {"num_clients": 2, "num_users": 2}
    await phones[0].act("unsubscribe", channel=channel)

    async def alone() -> bool:
        present = (await result(nodes[1], "presence", channel=channel))["presence"]
        return [each["user"] for each in present.values()] == ["bob"]

    await until(alone, "alice's leave")


# ---------------------------------------------------------------------------- users
async def test_a_users_connections_are_reached_on_every_node(nodes: list[Team], crowd: People) -> None:
    user, channel = unique("user"), unique("plain:room")
    phones = [await crowd.at(node, user) for node in nodes]
    await result(nodes[0], "subscribe", user=user, channel=channel)
    for phone in phones:
        await phone.event("subscribed", channel=channel, server=True)
    await result(nodes[1], "publish", channel=channel, data="all of you")
    for phone in phones:
        await phone.event("publication", channel=channel, data="all of you")
    await result(nodes[1], "unsubscribe", user=user, channel=channel)
    for phone in phones:
        await phone.event("unsubscribed", channel=channel, server=True)
    await result(nodes[0], "refresh", user=user, expire_at=int(time.time()) + 600)
    await result(nodes[0], "disconnect", user=user, disconnect={"code": 4999, "reason": "go"})
    for phone in phones:
        assert (await phone.event("disconnected"))["code"] == 4999


async def test_refresh_ends_what_has_expired_on_every_node(nodes: list[Team], crowd: People) -> None:
    user = unique("user")
    phones = [await crowd.at(node, user) for node in nodes]
    await result(nodes[0], "refresh", user=user, expired=True)
    for phone in phones:
        assert (await phone.event("connecting", code=3005))["code"] == 3005
        await phone.several(2, "connected")


async def test_of_too_many_connections_the_oldest_goes_wherever_it_is(
    nodes: list[Team], crowd: People
) -> None:
    user = unique("user")
    phones = [await crowd.at(nodes[number % 2], user) for number in range(4)]
    for oldest in phones[:2]:
        assert (await oldest.event("disconnected"))["code"] == 4500
    await asyncio.gather(*(phone.act("publish", channel=f"#{user}", data=1) for phone in phones[2:]))
    assert not any(phone.seen("disconnected") for phone in phones[2:])


async def test_of_a_burst_on_all_nodes_as_many_stay_as_may(nodes: list[Team], crowd: People) -> None:
    for _ in range(3):
        user = unique("user")
        phones = [await crowd(nodes[number % 2], user) for number in range(8)]
        await asyncio.gather(*(phone.act("connect") for phone in phones))

        def ended(phones: list[Phone] = phones) -> int:
            return sum(bool(phone.seen("disconnected", code=4500)) for phone in phones)

        await until(lambda: ended() >= 6, "six to go")
        await result(nodes[0], "info")  # what nodes had to tell each other has been told by now
        assert ended() == 6
        for phone in phones:
            await phone.act("disconnect")


async def test_or_the_newest_is_refused(
    nodes: list[Team], start_node: Callable[..., Team], crowd: People
) -> None:
    policy = 'user_connection_limit = 2\nuser_connection_policy = "refuse"'
    strict = await asyncio.to_thread(start_node, policy)
    user = unique("user")
    stay = [await crowd.at(nodes[0], user), await crowd.at(strict, user)]
    late = await crowd(strict, user)
    await late.act("connect")
    assert (await late.event("disconnected"))["code"] == 3504
    await stay[0].act("disconnect")

    async def let_in() -> bool:
        phone = await crowd(strict, user)
        before = len(phone.events)
        await phone.act("connect")
        while not phone.events[before:] or phone.events[-1]["event"] == "connecting":
            await asyncio.sleep(5 * MS)
        return not phone.seen("disconnected")

    await until(let_in, "a free place")
    assert not stay[1].seen("disconnected")
    strict.signal(signal.SIGTERM)  # it says good-bye to the other nodes
    assert await asyncio.to_thread(strict.wait, PATIENCE) == 0


# ---------------------------------------------------------------------------- signing in
async def _code(node: Team, user: str) -> str:
    async with httpx.AsyncClient(trust_env=False) as http:
        url = f"http://127.0.0.1:{node.ports['http'][0]}/sandbox/login"
        return str((await http.post(url, json={"user": user})).json()["code"])


async def _wechat_calls(node: Team) -> int:
    async with httpx.AsyncClient(trust_env=False) as http:
        return int(
            (await http.get(f"http://127.0.0.1:{node.ports['http'][0]}/sandbox/stats")).json()["calls"]
        )


async def test_one_code_at_two_nodes_at_once_reaches_wechat_once(nodes: list[Team], crowd: People) -> None:
    for _ in range(5):
        code, calls = await _code(nodes[0], unique("user")), await _wechat_calls(nodes[0])
        phones = [await crowd(node, data={"code": code, "appid": APPID}) for node in nodes]
        await asyncio.gather(*(phone.act("connect") for phone in phones))

        def outcome(phone: Phone) -> str:
            return next((each["event"] for each in phone.events if each["event"] != "connecting"), "")

        await until(lambda: all(map(outcome, phones)), "an answer to both")  # noqa: B023
        assert [bool(phone.seen("connected")) for phone in phones].count(True) == 1
        refused = next(phone for phone in phones if not phone.seen("connected"))
        assert refused.seen("error", code=109), "the one that came second is asked for a new code"
        assert await _wechat_calls(nodes[0]) == calls + 1


async def test_signed_in_here_signed_out_there(nodes: list[Team], crowd: People) -> None:
    phone = await crowd(nodes[0], data={"code": await _code(nodes[0], unique("user")), "appid": APPID})
    session = (await phone.connect())["data"]["token"]
    other = await crowd(nodes[1])
    await other.act("set_token", token=session)
    await other.connect()
    async with httpx.AsyncClient(trust_env=False) as http:
        url = f"http://127.0.0.1:{nodes[1].ports['http'][0]}/wx/logout"
        answer = await http.post(url, headers={"Authorization": f"Bearer {session}"})
    assert answer.status_code == 200, answer.text
    for each in (phone, other):
        assert (await each.event("disconnected"))["code"] == 4501
    late = await crowd(nodes[0])
    await late.act("set_token", token=session)
    await late.act("connect")
    await late.event("disconnected")
    assert not late.seen("connected")


# ---------------------------------------------------------------------------- the nodes themselves
async def test_surveys_name_who_does_not_answer_and_the_dead_age_out(
    nodes: list[Team], start_node: Callable[..., Team], crowd: People
) -> None:
    """A node that stands still is named at once; one that was killed is forgotten, and so are its people."""
    channel = unique("chat:survey")
    third = await asyncio.to_thread(start_node)
    assert third.process is not None
    three = [*nodes, third]
    ids = [await uid_of(node) for node in three]
    await crowd.at(nodes[0], "alice", channel)
    doomed = await crowd.at(third, "carol", channel)

    async def all_known() -> bool:
        return {each["uid"] for each in (await result(nodes[0], "info"))["nodes"]} == set(ids)

    await until(all_known, "three nodes")
    listed = await result(nodes[1], "channels", pattern=channel)
    assert listed == {"channels": {channel: {"num_clients": 2}}}
    stats = (await result(nodes[1], "stats"))["nodes"]
    assert {each["uid"]: each["connections"] for each in stats}.items() >= {(ids[0], 1), (ids[2], 1)}
    assert len(stats) == 3, "the figures of each node, whoever is asked"

    os.kill(third.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    answer, listed = await asyncio.gather(
        result(nodes[0], "info"), result(nodes[1], "channels", pattern=channel)
    )
    assert time.monotonic() - began < 5_000 * MS
    assert answer["missing"] == listed["missing"] == [ids[2]]
    assert (await result(nodes[0], "stats"))["missing"] == [ids[2]]
    assert {each["uid"] for each in answer["nodes"]} == set(ids[:2])
    assert listed["channels"] == {channel: {"num_clients": 1}}
    os.kill(third.process.pid, signal.SIGCONT)
    await until(all_known, "its return")

    os.kill(third.process.pid, signal.SIGKILL)

    async def forgotten() -> bool:
        present = (await result(nodes[0], "presence", channel=channel))["presence"]
        return [each["user"] for each in present.values()] == ["alice"]

    await until(forgotten, "the end of carol's presence", PRESENCE_TTL + PATIENCE)

    async def aged_out() -> bool:
        answer = await result(nodes[1], "info")
        return "missing" not in answer and {each["uid"] for each in answer["nodes"]} == set(ids[:2])

    await until(aged_out, "two nodes", NODE_TTL + PATIENCE)
    await doomed.stop()


async def test_while_redis_is_away_and_after(nodes: list[Team], redis: RedisServer, crowd: People) -> None:
    channel = unique("chat:away")
    phones = [await crowd.at(node, unique("user"), channel) for node in nodes]
    await result(nodes[0], "publish", channel=channel, data="before")
    for phone in phones:
        await phone.event("publication", channel=channel, data="before")

    await asyncio.to_thread(redis.kill)
    answers: list[dict[str, Any]] = []
    for node in nodes:
        began = time.monotonic()
        answers.append(await api(node, "publish", channel=channel, data="lost"))
        assert time.monotonic() - began < 5_000 * MS, "it is answered within a bounded time"
    assert [answer["error"]["code"] for answer in answers] == [100, 100], "a temporary error"
    for node in nodes:
        status, problem = await asyncio.to_thread(readiness, node.ports["internal"][0])
        assert status == 503
        assert "Redis" in problem
    assert not any(phone.seen("connecting")[1:] for phone in phones), "the sockets stay"

    redis.start()  # not in a thread: the server ends with the thread that started it

    async def all_ready() -> bool:
        return all(
            [(await asyncio.to_thread(readiness, node.ports["internal"][0]))[0] == 200 for node in nodes]
        )

    await until(all_ready, "readiness")
    await result(nodes[1], "publish", channel=channel, data="after")
    for phone in phones:
        await phone.event("publication", channel=channel, data="after")
        assert phone.data(channel) == ["before", "after"]
        assert len(phone.seen("connecting")) == 1
        assert not phone.seen("disconnected")


async def test_a_redis_that_stands_still_costs_its_callers_an_error_and_nobody_else_anything(
    nodes: list[Team], redis: RedisServer, crowd: People
) -> None:
    channel = unique("chat:still")
    phone = await crowd.at(nodes[0], unique("user"), channel)
    assert redis.process is not None
    redis.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        answers = await asyncio.gather(*(api(node, "publish", channel=channel, data="?") for node in nodes))
        assert time.monotonic() - began < 5_000 * MS
        assert all(answer["error"]["code"] == 100 for answer in answers)
    finally:
        redis.process.send_signal(signal.SIGCONT)

    async def taken() -> bool:
        return "result" in await api(
            nodes[1], "publish", channel=channel, data="after", idempotency_key="after"
        )

    await until(taken, "Redis again")
    await phone.event("publication", channel=channel, data="after")
    assert len(phone.seen("connecting")) == 1
