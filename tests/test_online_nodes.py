"""Random schedules over real nodes on one Redis: whatever breaks, the backend knows who is there.

People come, hide, lose their network, return on another node; nodes are killed, Redis restarts, the backend
refuses, hangs and lies. In the end the events that the backend saw, replayed, are who is online.
`GATEWAY_ONLINE_SEEDS` runs other seeds, and more of them.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from chaos.team import API_KEY, HMAC_SECRET, Team, gateway_toml
from tests.online_world import HANDLERS, Backend, Device, backend
from tests.redis_server import RedisServer
from tests.timing import MS

pytestmark = pytest.mark.timeout(120)

GRACE, GOODBYE, NODE_TIMEOUT = 800 * MS, 300 * MS, 1_000 * MS
START = 30_000 * MS
PATIENCE = 20_000 * MS
USERS = [f"user{number}" for number in range(12)]
SEEDS = [int(seed) for seed in os.environ.get("GATEWAY_ONLINE_SEEDS", "11").split()]
MORE = f"""
[online]
grace = "{GRACE:.2f}s"
goodbye_grace = "{GOODBYE:.2f}s"
node_timeout = "{NODE_TIMEOUT:.2f}s"
user_event_limit = 4
"""


class Nodes:
    """The gateways of one test."""

    def __init__(self, redis: RedisServer, folder: Path, backend_port: int) -> None:
        self._redis = redis
        self._folder = folder
        self._port = backend_port
        self.all: list[Team] = []
        self._ready: list[Team] = []
        self._count = 0

    def start(self) -> None:
        """One more, ready when this returns."""
        self._count += 1
        folder = self._folder / f"node{self._count}"
        config = gateway_toml(self._redis.url, sandbox=False, client="personal_channel = false", more=MORE)
        node = Team(folder, config, workers=1, handlers="handlers:gw")
        (folder / "handlers.py").write_text(HANDLERS.replace("PORT", str(self._port)))
        self.all.append(node)
        node.start(START)
        self._ready.append(node)

    @property
    def alive(self) -> list[Team]:
        return [each for each in self._ready if each.process is not None]

    def kill(self, node: Team) -> None:
        """SIGKILL."""
        node.close()

    def close(self) -> None:
        for node in self.all:
            node.close()


class Schedule:
    """One random life of all users, and what breaks meanwhile."""

    def __init__(
        self, seed: int, nodes: Nodes, redis: RedisServer, backend: Backend, *, forget: bool
    ) -> None:
        self.random = random.Random(seed)
        self.nodes = nodes
        self.redis = redis
        self.backend = backend
        self.forget = forget
        self.devices: dict[str, list[Device]] = {user: [] for user in USERS}
        self._under_way: set[asyncio.Task[None]] = set()
        self._redis_is_there = asyncio.Lock()
        self._one_is_left = asyncio.Lock()

    async def run(self, steps: int) -> None:
        faults = {steps // 4: self.kill_node, steps // 2: self.kill_node, 3 * steps // 4: self.restart_redis}
        for step in range(steps):
            if step in faults:
                self._under_way.add(asyncio.create_task(faults[step]()))
            action = self.random.choices(
                [self.enter, self.lose, self.leave, self.hide, self.send_away, self.trouble],
                [40, 16, 8, 20, 3, 8],
            )[0]
            await action()
            await asyncio.sleep(self.random.uniform(0, 40) * MS)
        await asyncio.gather(*self._under_way)
        self.backend.trouble = ""

    # ------------------------------------------------------------------ people
    async def enter(self) -> None:
        user, node = self.random.choice(USERS), self.random.choice(self.nodes.alive)
        if len(self._alive(user)) < 2:
            device = await Device.enter(node.ports["websocket"][0], HMAC_SECRET, user)
            if device is not None:
                self.devices[user].append(device)

    async def lose(self) -> None:
        for device in self._some():
            await device.abort()

    async def leave(self) -> None:
        for device in self._some():
            await device.close()

    async def hide(self) -> None:
        for device in self._some():
            await device.hide(not device.hidden)

    async def send_away(self) -> None:
        with suppress(httpx.TransportError):  # the node is killed at this moment
            await api(self.random.choice(self.nodes.alive), "disconnect", user=self.random.choice(USERS))

    def _some(self) -> list[Device]:
        there = [device for user in USERS for device in self._alive(user)]
        return [self.random.choice(there)] if there else []

    def _alive(self, user: str) -> list[Device]:
        return [device for device in self.devices[user] if device.alive]

    # ------------------------------------------------------------------ things
    async def trouble(self) -> None:
        self.backend.trouble = self.random.choice(["", "", "refuse", "hang", "lie"])

    async def kill_node(self) -> None:
        async with self._one_is_left:
            self.nodes.kill(self.random.choice(self.nodes.alive))
            async with self._redis_is_there:  # a node does not start without it
                await asyncio.to_thread(self.nodes.start)

    async def restart_redis(self) -> None:
        async with self._redis_is_there:
            self.redis.kill()
            await asyncio.sleep(self.random.uniform(0.5, 3.0) * NODE_TIMEOUT)
            if self.forget:
                shutil.rmtree(self.redis.directory / "appendonlydir")
            self.redis.start()  # not in a thread: the server ends with the thread that started it

    # ------------------------------------------------------------------ the end
    def truth(self) -> dict[str, str]:
        """Who is there now, as the phones know it."""
        here = {user: self._alive(user) for user in USERS}
        return {
            user: "background" if all(each.hidden for each in devices) else "online"
            for user, devices in here.items()
            if devices
        }


async def api(node: Team, method: str, /, **params: Any) -> dict[str, Any]:
    url = f"http://127.0.0.1:{node.ports['internal'][0]}/api/{method}"
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        answer = await http.post(url, json=params, headers={"X-API-Key": API_KEY})
    return dict(answer.json())


async def snapshot(node: Team) -> tuple[int, list[dict[str, Any]]]:
    """The position and the users, of all pages."""
    users: list[dict[str, Any]] = []
    cursor, position = "", 0
    while True:
        page = (await api(node, "online_snapshot", cursor=cursor, limit=5))["result"]
        users += page["users"]
        position = page["position"]
        if not (cursor := page.get("cursor", "")):
            return position, users


async def until_equal(one: Callable[[], object], other: Callable[[], object], what: str) -> None:
    """They are equal within the patience, and stay so for two graces."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    since = 0.0
    while not since or asyncio.get_running_loop().time() < since + 2 * GRACE:
        now = asyncio.get_running_loop().time()
        if one() == other():
            since = since or now
        else:
            since = 0.0
            assert now < deadline, f"{what}: {one()} and {other()}"
        await asyncio.sleep(20 * MS)


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """It keeps what it was told when it is killed."""
    with RedisServer("--save", "", "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@pytest.fixture
async def team_backend() -> AsyncIterator[Backend]:
    async with backend() as server:
        yield server


@pytest.fixture
async def nodes(redis: RedisServer, team_backend: Backend, tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(redis, tmp_path, team_backend.port)
    await asyncio.gather(*(asyncio.to_thread(nodes.start) for _ in range(2)))
    yield nodes
    nodes.close()


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_events_replayed_are_who_is_there(
    seed: int, nodes: Nodes, redis: RedisServer, team_backend: Backend
) -> None:
    schedule = Schedule(seed, nodes, redis, team_backend, forget=False)
    await schedule.run(110)
    await until_equal(team_backend.replay.states, schedule.truth, "the backend believes otherwise")
    assert team_backend.failed is None, team_backend.failed
    for node in nodes.alive:
        _, users = await snapshot(node)
        assert {each["user"]: each["state"] for each in users} == schedule.truth()
        assert all(each["id"] == team_backend.replay.seen[each["user"]].id for each in users)
    await end(schedule)
    await until_equal(team_backend.replay.states, dict, "somebody is left")
    assert team_backend.failed is None, team_backend.failed


async def test_when_redis_comes_back_empty_a_snapshot_tells_the_rest(
    nodes: Nodes, redis: RedisServer, team_backend: Backend
) -> None:
    schedule = Schedule(SEEDS[0], nodes, redis, team_backend, forget=True)
    await schedule.run(80)
    replay = team_backend.replay

    def of_those_here() -> dict[str, str]:
        return {user: state for user, state in replay.states().items() if user in schedule.truth()}

    await until_equal(of_those_here, schedule.truth, "a user who is here is not known to be")
    assert team_backend.failed is None, team_backend.failed
    replay.reconcile(*(await snapshot(nodes.alive[0])))
    assert replay.states() == schedule.truth()
    await end(schedule)
    await until_equal(replay.states, dict, "somebody is left")


async def end(schedule: Schedule) -> None:
    for devices in schedule.devices.values():
        for device in devices:
            await device.abort()
