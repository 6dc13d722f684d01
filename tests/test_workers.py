"""`gateway serve --workers`: real supervisors, their workers and the HTTP process, seen from outside."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from chaos.team import API_KEY, HMAC_SECRET, Team, gateway_toml, readiness
from tests.redis_server import RedisServer
from tests.timing import MS
from tests.worker_world import (
    MORE,
    PATIENCE,
    START,
    People,
    api,
    people,
    ready,
    refusal,
    result,
    sockets,
    token,
    until,
)

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def shared_team(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    team = Team(tmp_path_factory.mktemp("team"), gateway_toml(redis.url, more=MORE))
    try:
        team.start(START)
        yield team
    finally:
        team.close()


@pytest.fixture
def team(shared_team: Team) -> Iterator[Team]:
    """Two workers and the HTTP process; whole again after each test, and without a traceback."""
    yield shared_team
    assert "Traceback" not in shared_team.log(), shared_team.log()
    deadline = time.monotonic() + START
    while not shared_team.ready():
        assert time.monotonic() < deadline, shared_team.log()
        time.sleep(20 * MS)


@pytest.fixture
async def crowd() -> AsyncIterator[People]:
    async with people() as crowd:
        yield crowd


@pytest.fixture
def own_team(redis: RedisServer, tmp_path: Path) -> Iterator[Team]:
    """One that the test may end; its drain takes long enough to be seen."""
    more = f'{MORE}\n[files]\ndirectory = "{tmp_path}/files"'
    config = gateway_toml(redis.url, more=more).replace('drain = "200ms"', 'drain = "3s"')
    team = Team(tmp_path, config)
    try:
        team.start(START)
        yield team
    finally:
        team.close()


# ---------------------------------------------------------------------------- one gateway
async def test_connections_are_spread_over_the_workers(team: Team) -> None:
    async with sockets(team, 32):
        await until(lambda: _knows(team, 3), "three processes that know each other", 1_500 * MS)
        answer = await result(team, "info")
        assert "missing" not in answer
        counts = [node["num_clients"] for node in answer["nodes"]]
        assert counts[0] == 0, "the HTTP process has no sockets, and answers first"
        assert len(counts) == 3
        assert sum(counts) == 32
        assert min(counts[1:]) > 0
        assert len(set(team.ports["websocket"])) == 1

        # Each process has its own metrics, on ports one after the other.
        per_port = [await _connections(port) for port in team.ports["internal"]]
        assert sorted(per_port[1:]) == sorted(counts[1:])
        assert per_port[0] == 0


async def _knows(team: Team, count: int) -> bool:
    return len((await result(team, "info"))["nodes"]) == count


async def _connections(port: int) -> int:
    async with httpx.AsyncClient(trust_env=False) as http:
        text = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
    found = re.search(r"^gateway_connections (\d+)", text, re.MULTILINE)
    assert found, text
    return int(found[1])


async def test_a_killed_worker_is_replaced_and_nobody_is_refused(team: Team, crowd: People) -> None:
    phones = [await crowd.at(team, f"user-{number}", "chat:kill") for number in range(6)]
    before = team.children()
    ended = len(team.lines("a process ended"))
    for round_ in (1, 2):
        os.kill(team.children()["worker 1"], signal.SIGKILL)
        await until(lambda n=round_: len(team.lines("a process ended")) == ended + n, "its end")
        async with sockets(team, 8):  # none is refused; some wait for the successor
            await result(team, "publish", channel="chat:kill", data=round_)
        await until(lambda: ready(team.ports["internal"][1]), "the successor")
    for phone in phones:
        await phone.several(2, "publication", channel="chat:kill")
        assert phone.data("chat:kill") == [1, 2]
    after = team.children()
    assert after["worker 1"] != before["worker 1"]
    assert (after["worker 2"], after["http"]) == (before["worker 2"], before["http"])
    first, second = team.lines("a process ended")[ended:]
    assert (first["process"], first["exit_code"]) == ("worker 1", -9)
    assert 0 < first["again_in"] < second["again_in"], "crash after crash it waits longer"


async def test_a_worker_that_is_told_to_leave_is_replaced_at_once(team: Team, crowd: People) -> None:
    """The way to restart one after the other. Its people are told 3001 and come back to the successor."""
    phones = [await crowd.at(team, f"user-{number}", "chat:roll") for number in range(6)]
    crashed = len(team.lines("a process ended"))
    for number in (1, 2):
        old = team.children()[f"worker {number}"]
        os.kill(old, signal.SIGTERM)
        await until(lambda n=number, o=old: _replaced(team, n, o), "the successor")
    await result(team, "publish", channel="chat:roll", data="after")
    for phone in phones:
        await phone.event("publication", channel="chat:roll", data="after")
        assert {each["code"] for each in phone.seen("connecting")} == {0, 3001}
    assert len(team.lines("a process ended")) == crashed


async def _replaced(team: Team, number: int, old: int) -> bool:
    return team.children().get(f"worker {number}", old) != old and await ready(team.ports["internal"][number])


async def test_sighup_takes_over_namespaces_keys_and_secrets(
    team: Team, redis: RedisServer, crowd: People
) -> None:
    before, workers = team.children(), team.ports["internal"]
    phone = await crowd.at(team, "stays", "chat:before")
    config = gateway_toml(redis.url, more=MORE)
    changed = config.replace(API_KEY, "another key").replace(
        HMAC_SECRET, "another secret, long enough as well"
    )
    changed += "[channels.namespaces.fresh]\nallow_subscribe_for_client = true\n"
    assert (await api(team, "publish", channel="fresh:a", data=1))["error"]["code"] == 102

    await _reload(team, changed)
    for port in workers:
        assert await api(team, "publish", port=port, channel="fresh:a", data=1) == {"status": 401}
        answer = await api(team, "publish", port=port, key="another key", channel="fresh:a", data=1)
        assert "result" in answer
    await phone.subscribe("fresh:a")
    for _ in range(4):  # on either worker
        late = await crowd(team, tokens=[])
        await late.act("set_token", token=token("new", "another secret, long enough as well"))
        await late.connect()
    old = await crowd(team, "old")
    await old.act("connect")
    assert (await old.event("disconnected"))["code"] == 3500

    # What is wrong is not taken: nobody notices, but for a line in the log.
    refused = len(team.lines("the new configuration is wrong and was not taken"))
    team.write(changed.replace("history_size = 100", "history_size = -1"))
    team.signal(signal.SIGHUP)
    await until(
        lambda: len(team.lines("the new configuration is wrong and was not taken")) > refused, "a line"
    )
    line = team.lines("the new configuration is wrong and was not taken")[-1]
    assert "history_size" in line["problem"]
    assert "result" in await api(team, "publish", key="another key", channel="fresh:a", data=2)

    await _reload(team, config)
    await phone.event("publication", channel="fresh:a", data=2)
    assert team.children() == before
    assert len(phone.seen("connecting")) == 1, "the socket stayed"


async def _reload(team: Team, config: str) -> None:
    done = len(team.lines("the configuration was read again"))
    team.write(config)
    team.signal(signal.SIGHUP)
    await until(lambda: len(team.lines("the configuration was read again")) == done + 3, "three reloads")


# ---------------------------------------------------------------------------- leaving
async def test_sigterm_drains_in_order(own_team: Team) -> None:
    async with sockets(own_team, 12) as opened:
        own_team.signal(signal.SIGTERM)
        ends = await asyncio.gather(*(each.closed_with(3001) for each in opened))
    assert all(end.push and end.push["reason"] == "shutdown" for end in ends)
    assert await asyncio.to_thread(own_team.wait, PATIENCE) == 0
    assert "Traceback" not in own_team.log()
    leaving = [line["timestamp"] for line in own_team.lines("leaving; another signal ends it at once")]
    left = [line["timestamp"] for line in own_team.lines("the gateway has left")]
    assert len(leaving) == len(left) == 3
    assert leaving[2] > left[1], "the HTTP process leaves last"


async def test_a_second_signal_ends_it_at_once(own_team: Team) -> None:
    children = list(own_team.children().values())
    async with sockets(own_team, 4):
        own_team.signal(signal.SIGTERM)
        await until(lambda: bool(own_team.lines("leaving; another signal ends it at once")), "the drain")
        began = time.monotonic()
        own_team.signal(signal.SIGTERM)
        assert await asyncio.to_thread(own_team.wait, PATIENCE) == 1
    assert time.monotonic() - began < 2_500 * MS, "the drain takes 3 s"
    assert own_team.lines("forced to leave")
    assert not any(map(_alive, children))


async def test_children_leave_when_the_supervisor_was_killed(own_team: Team) -> None:
    children = list(own_team.children().values())
    async with sockets(own_team, 4) as opened:
        own_team.signal(signal.SIGKILL)
        await asyncio.gather(*(each.closed_with(3001) for each in opened))
    await until(lambda: not any(map(_alive, children)), "the children's end")
    assert len(own_team.lines("the gateway has left")) == 3


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


# ---------------------------------------------------------------------------- starting
@pytest.mark.parametrize("listener", ["http", "internal", "websocket"])
def test_a_port_that_is_taken(redis: RedisServer, tmp_path: Path, listener: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        config = re.sub(
            rf"(?m)^{listener} = .*$", f'{listener} = "127.0.0.1:{port}"', gateway_toml(redis.url)
        )
        line = refusal(Team(tmp_path, config))
    assert f'listen.{listener} = "127.0.0.1:{port}": Address already in use' in line


def test_workers_without_redis(tmp_path: Path) -> None:
    assert "--workers 2 needs redis.url" in refusal(Team(tmp_path, gateway_toml("")))


@pytest.mark.parametrize("only", ["http", "websocket"])
async def test_one_side_only(redis: RedisServer, tmp_path: Path, crowd: People, only: str) -> None:
    """For machines that are scaled apart: one process each, joined by Redis."""
    team = Team(tmp_path, gateway_toml(redis.url, more=MORE), workers=1, only=only)
    try:
        await asyncio.to_thread(team.start, START)
        assert set(team.ports) == {only, "internal"}
        if only == "websocket":
            phone = await crowd.at(team, "alone", "chat:side")
            await result(team, "publish", channel="chat:side", data=1)
            await phone.event("publication", channel="chat:side", data=1)
        else:
            async with httpx.AsyncClient(trust_env=False) as http:
                answer = await http.post(
                    f"http://127.0.0.1:{team.ports['http'][0]}/sandbox/login", json={"user": "a"}
                )
            assert answer.status_code == 200
        team.signal(signal.SIGTERM)
        assert await asyncio.to_thread(team.wait, PATIENCE) == 0
    finally:
        team.close()


def test_systemd_is_told(redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(START)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        team = Team(tmp_path, gateway_toml(redis.url), workers=1)
        try:
            team.start(START)
            assert systemd.recv(100) == b"READY=1"
            assert readiness(team.ports["internal"][0]) == (200, "")
            team.signal(signal.SIGTERM)
            assert team.wait(PATIENCE) == 0
        finally:
            team.close()
