"""Who is online, in the background and gone, on one node: what the team's handlers hear, and when."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import httpx
import pytest

from gateway import ClientError, Error, Gateway, UserEvent
from gateway.brokers.redis_server import Tuning
from gateway.config import load
from gateway.server import Server
from tests.broker_worlds import RedisWorld
from tests.online_world import Device
from tests.redis_server import RedisServer, shared_servers
from tests.timing import MS, until

SECRET = "a secret that only these tests know, long enough"
GRACE = 240 * MS
GOODBYE = 80 * MS
NODE_TIMEOUT = 200 * MS


@dataclass
class World:
    """One gateway in this process, with handlers of all four events."""

    server: Server
    events: list[UserEvent] = field(default_factory=list)
    refusals: int = 0

    async def enter(self, user: str) -> Device:
        device = await Device.enter(self.server.ports["websocket"], SECRET, user)
        assert device is not None
        return device

    async def api(self, method: str, /, **params: Any) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.server.ports['internal']}/api/{method}"
        async with httpx.AsyncClient(trust_env=False, headers={"X-API-Key": "key"}) as http:
            return dict((await http.post(url, json=params)).json())

    async def state(self, user: str) -> str:
        return str((await self.api("online", users=[user]))["result"]["users"][user]["state"])

    def said(self, user: str) -> list[str]:
        """What the handlers heard of a user."""
        return [" ".join(filter(None, (each.event, each.reason, each.channel))) for each in self.of(user)]

    def of(self, user: str) -> list[UserEvent]:
        return [each for each in self.events if each.user == user]

    async def hears(self, user: str, *said: str) -> None:
        try:
            await until(lambda: self.said(user) == list(said))
        except AssertionError:
            raise AssertionError(f"{self.said(user)} and not {list(said)}") from None


@asynccontextmanager
async def gateway(
    kinds: str = "online background disconnect unsubscribe",
    *,
    redis: RedisWorld | None = None,
    events: list[UserEvent] | None = None,
    backend: dict[str, Any] | None = None,
    **online: Any,
) -> AsyncIterator[World]:
    app = Gateway()
    settings = load(
        None,
        {},
        {
            "listen": dict.fromkeys(("websocket", "http", "internal"), "127.0.0.1:0"),
            "shutdown": {"drain": "0s", "timeout": "2s"},
            "client": {"token_hmac_secret": SECRET, "personal_channel": False},
            "redis": {"url": redis.urls[0], "prefix": redis.prefix} if redis else {},
            "backend": backend or {},
            "session": {"encryption_key": "00" * 32},
            "api": {"keys": ["key"]},
            "online": {
                "grace": f"{GRACE}s",
                "goodbye_grace": f"{GOODBYE}s",
                "node_timeout": f"{NODE_TIMEOUT}s",
                **online,
            },
            "channels": {
                "allow_subscribe_for_client": True,
                "namespaces": {"room": {"allow_subscribe_for_client": True, "unsubscribe_events": True}},
            },
        },
    )
    world = World(Server(settings, app), events if events is not None else [])

    async def heard(event: UserEvent) -> None:
        if world.refusals:
            world.refusals -= 1
            raise ClientError(Error(1000, "not now"))
        world.events.append(event)

    for kind in kinds.split():
        getattr(app, f"on_{kind}")(heard)
    await world.server.start()
    await asyncio.sleep(NODE_TIMEOUT)  # at first nobody is gone: other nodes may have something to say
    try:
        yield world
    finally:
        await world.server.stop()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with gateway() as world:
        yield world


async def test_a_lost_socket_is_background_and_then_gone(world: World) -> None:
    device = await world.enter("ann")
    await world.hears("ann", "online")
    assert await world.state("ann") == "online"
    await device.abort()
    await world.hears("ann", "online", "background lost")
    assert await world.state("ann") == "background"
    await world.hears("ann", "online", "background lost", "disconnect lost")
    came, _, gone = world.of("ann")
    assert gone.generation == came.generation == came.id < gone.id
    assert gone.at - came.at >= GRACE * 1000
    assert await world.state("ann") == "gone"


async def test_a_return_within_the_grace_is_no_coming_and_no_going(world: World) -> None:
    for _ in range(3):
        device = await world.enter("ann")
        await asyncio.sleep(20 * MS)
        await device.abort()
        await asyncio.sleep(GRACE / 3)
    device = await world.enter("ann")
    await asyncio.sleep(2 * GRACE)
    said = world.said("ann")
    assert said == ["online", *["background lost", "online"] * 3]
    assert len({each.generation for each in world.of("ann")}) == 1
    await device.close()


async def test_after_gone_there_is_a_higher_generation(world: World) -> None:
    for _ in range(2):
        await (await world.enter("ann")).close()
        await until(lambda: world.said("ann")[-1:] == ["disconnect left"])
        world_said = world.said("ann")
    assert world_said == ["online", "background left", "disconnect left"] * 2
    first, second = world.of("ann")[0], world.of("ann")[3]
    assert first.generation < second.generation


async def test_a_goodbye_shortens_the_grace(world: World) -> None:
    device = await world.enter("ann")
    await world.hears("ann", "online")
    await device.close()
    await world.hears("ann", "online", "background left", "disconnect left")
    left, gone = world.of("ann")[1:]
    assert GOODBYE * 1000 <= gone.at - left.at < GRACE * 1000


async def test_who_is_sent_away_for_good_is_gone_soon(world: World) -> None:
    device = await world.enter("ann")
    await world.hears("ann", "online")
    await world.api("disconnect", user="ann")
    await world.hears("ann", "online", "background ended", "disconnect ended")
    await device.close()


async def test_hidden_is_background_and_shown_is_online(world: World) -> None:
    device = await world.enter("ann")
    await device.hide()
    await world.hears("ann", "online", "background hidden")
    assert await world.state("ann") == "background"
    await asyncio.sleep(2 * GRACE)  # whoever is connected is not gone, however long it is hidden
    await device.hide(False)
    await world.hears("ann", "online", "background hidden", "online")
    await device.hide()
    await device.close()  # as clients do before the system does: no goodbye
    closed = time.time() * 1000
    await world.hears(
        "ann", "online", "background hidden", "online", "background hidden", "disconnect hidden"
    )
    assert world.of("ann")[-1].at > closed + (GRACE + GOODBYE) * 1000 / 2


async def test_of_several_devices_the_last_counts(world: World) -> None:
    one, other = await world.enter("ann"), await world.enter("ann")
    await one.hide()
    await one.abort()
    await asyncio.sleep(2 * GRACE)
    assert world.said("ann") == ["online"]
    await other.close()
    await world.hears("ann", "online", "background left", "disconnect left")


async def test_leaving_a_channel_is_told_at_once_and_losing_it_after_the_grace(world: World) -> None:
    one, other = await world.enter("ann"), await world.enter("ann")
    for device in (one, other):
        await device.call("subscribe", channel="room:1")
    await one.call("subscribe", channel="room:2")
    await other.call("subscribe", channel="plain")
    await one.call("unsubscribe", channel="room:1")
    await other.call("unsubscribe", channel="plain")
    await one.call("unsubscribe", channel="room:2")
    await world.hears("ann", "online", "unsubscribe left room:2")
    await other.abort()
    await asyncio.sleep(2 * GRACE)
    await world.hears("ann", "online", "unsubscribe left room:2", "unsubscribe lost room:1")
    assert await world.state("ann") == "online"
    await one.call("subscribe", channel="room:3")
    await one.abort()
    await until(lambda: world.said("ann")[-2:] == ["unsubscribe lost room:3", "disconnect lost"])


async def test_a_channel_that_is_joined_again_within_the_grace_was_never_left(world: World) -> None:
    one = await world.enter("ann")
    await one.call("subscribe", channel="room:1")
    await one.abort()
    await asyncio.sleep(GRACE / 3)
    two = await world.enter("ann")
    await two.call("subscribe", channel="room:1")
    await asyncio.sleep(2 * GRACE)
    assert world.said("ann") == ["online", "background lost", "online"]
    await two.close()


async def test_the_users_of_a_node_that_stops_are_gone_unless_they_return_elsewhere() -> None:
    redis, events = RedisWorld([shared_servers(1)[0].url]), list[UserEvent]()
    async with gateway(redis=redis, events=events) as stays:
        async with gateway(redis=redis, events=events) as stops:
            for user in ("ann", "bob"):
                await stops.enter(user)
            await until(lambda: stays.said("ann") == stays.said("bob") == ["online"])
        ann = await stays.enter("ann")
        # Not for "node": nobody waits for the lease of a node that said goodbye.
        await stays.hears("bob", "online", "background lost", "disconnect lost")
        await asyncio.sleep(GRACE)
        await stays.hears("ann", "online", "background lost", "online")
        await ann.abort()


async def test_what_redis_did_not_take_is_told_when_it_is_back() -> None:
    with RedisServer("--save", "", "--appendonly", "yes", "--appendfsync", "always") as server:
        async with gateway(redis=RedisWorld([server.url])) as world:
            ann, bob = await world.enter("ann"), await world.enter("bob")
            await world.hears("ann", "online")
            await world.hears("bob", "online")
            server.kill()
            await ann.abort()
            await asyncio.sleep(Tuning().timeout + 200 * MS)  # so long is a call tried; then it has failed
            await bob.hide()
            server.start()
            await world.hears("ann", "online", "background lost", "disconnect lost")
            await world.hears("bob", "online", "background hidden")
            await bob.abort()


async def test_an_event_that_is_refused_comes_again_before_all_later_ones(world: World) -> None:
    world.refusals = 2
    device = await world.enter("ann")
    await device.close()
    await world.hears("ann", "online", "background left", "disconnect left")


class Hooks(http.server.BaseHTTPRequestHandler):
    """A backend over HTTP that is out of order for its first two requests."""

    paths: ClassVar[list[str]] = []
    bodies: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.paths.append(self.path)
        ready = len(self.paths) > 2
        if ready:
            self.bodies.append(body)
        answer = b'{"result":{}}' if ready else b"<html>Bad Gateway</html>"
        self.send_response(200 if ready else 502)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


async def test_an_http_backend_gets_the_same_events_when_it_is_back() -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hooks)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}/hooks/{{event}}"
    team = {"user_event": "team", "proxies": [{"name": "team", "endpoint": endpoint}]}
    try:
        async with gateway("", backend=team) as world:
            device = await world.enter("ann")
            await device.close()
            await until(lambda: len(Hooks.bodies) == 3)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert set(Hooks.paths) == {"/hooks/user_event"}
    came, left, gone = Hooks.bodies
    assert [each["event"] for each in Hooks.bodies] == ["online", "background", "disconnect"]
    assert (
        came["generation"] == left["generation"] == gone["generation"] == came["id"] < left["id"] < gone["id"]
    )
    assert gone.keys() == {"event", "user", "generation", "id", "at", "reason"}


async def test_only_what_is_handled_is_told() -> None:
    async with gateway("online disconnect") as world:
        device = await world.enter("ann")
        await device.hide()
        await device.hide(False)
        await device.close()
        await world.hears("ann", "online", "disconnect left")


async def test_a_snapshot_has_everybody_page_by_page_and_says_what_is_in_it() -> None:
    async with gateway(grace="5s", goodbye_grace="5s") as world:
        devices = [await world.enter(f"user{number}") for number in range(7)]
        await devices[0].hide()
        await devices[1].close()
        await until(lambda: len(world.events) == 9)
        before = max(each.id for each in world.events)
        found: list[dict[str, Any]] = []
        cursor, positions = "", set[int]()
        while True:
            page = (await world.api("online_snapshot", limit=3, cursor=cursor))["result"]
            found += page["users"]
            positions.add(page["position"])
            if not (cursor := page.get("cursor", "")):
                break
        late = await world.enter("late")
        await until(lambda: world.said("late") == ["online"])
        (position,) = positions
        assert before < position < world.of("late")[0].id
        latest = {each.user: each for each in world.events if each.user != "late"}
        assert {each["user"]: (each["state"], each["id"], each["generation"]) for each in found} == {
            user: (each.event, each.id, each.generation) for user, each in latest.items()
        }
        for device in (*devices, late):
            await device.abort()


async def test_what_makes_no_sense_is_said(world: World) -> None:
    for users in ([], ["u"] * 1001, ["u" * 300]):
        assert (await world.api("online", users=users))["error"]["code"] == 107
    for cursor in ("nonsense", "9.1.x", "1" * 600, "-1.0.0"):
        assert (await world.api("online_snapshot", cursor=cursor))["error"]["code"] == 107
    assert (await world.api("online_snapshot", limit=0))["code"] == 107


async def test_a_snapshot_can_be_had_with_get(world: World) -> None:
    url = f"http://127.0.0.1:{world.server.ports['internal']}/api/online_snapshot"
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(url, params={"limit": 5}, headers={"X-API-Key": "key"})
        assert answer.json()["result"]["users"] == []
        assert (await http.get(url)).status_code == 401
        other = url.replace("online_snapshot", "publish")
        assert (await http.get(other, headers={"X-API-Key": "key"})).status_code == 405


async def test_what_nobody_wants_to_know_is_not_kept_track_of() -> None:
    async with gateway("") as world:
        device = await world.enter("ann")
        await device.hide()
        assert (await world.api("online", users=["ann"]))["error"]["code"] == 108
        assert (await world.api("online_snapshot"))["error"]["code"] == 108
        await device.close()
    async with gateway("", enabled=True) as world:
        device = await world.enter("ann")
        await asyncio.sleep(20 * MS)
        assert await world.state("ann") == "online"
        assert await world.state("bob") == "gone"
        await device.close()
