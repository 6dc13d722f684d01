"""What is done to Redis, to the network and to the processes; each leaves everything as it was."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chaos.proxy import Proxy
from chaos.team import Team, TeamError, readiness
from tests.redis_server import RedisServer

AWAY = 1.0
"""Seconds for which a killed Redis is away."""
PATIENCE = 60.0
"""Seconds for a process that was ended to be back."""
BUFFER_LIMIT = 256 * 1024


@dataclass
class World:
    """What the faults are done to. `pause`: seconds for which Redis stands still; `turn`: of how many."""

    redis: RedisServer
    proxy: Proxy
    team: Team
    config: Callable[[int], str]
    pause: float = 5.0
    turn: int = 0


async def kill_redis(world: World) -> None:
    """kill -9; back a second later with everything it had accepted."""
    await asyncio.to_thread(world.redis.kill)
    await asyncio.sleep(AWAY)
    await asyncio.to_thread(world.redis.start)


async def lose_redis(world: World) -> None:
    """kill -9; back a second later with nothing."""
    await asyncio.to_thread(world.redis.kill)
    for folder in world.redis.directory.glob("appendonlydir"):
        for path in folder.iterdir():
            path.unlink()
    await asyncio.sleep(AWAY)
    await asyncio.to_thread(world.redis.start)


async def pause_redis(world: World) -> None:
    """CLIENT PAUSE: it reads nothing, and answers all of it later."""
    await asyncio.to_thread(world.redis.command, "CLIENT", "PAUSE", round(world.pause * 1000))
    await asyncio.sleep(world.pause)


async def stop_redis(world: World) -> None:
    """SIGSTOP, and SIGCONT later."""
    process = world.redis.process
    if process is None:
        raise TeamError("Redis does not run")
    process.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(world.pause)
    finally:
        process.send_signal(signal.SIGCONT)


async def cut(world: World) -> None:
    """Every connection to Redis is reset, three times."""
    for _ in range(3):
        world.proxy.cut()
        await asyncio.sleep(0.3)


async def half_open(world: World) -> None:
    """Every connection to Redis stays open and swallows what is sent, both ways."""
    world.proxy.swallow()
    await asyncio.sleep(0)


async def overflow(world: World) -> None:
    """Redis drops the connections for messages, because they do not read and too much waits for them."""
    redis = world.redis
    await asyncio.to_thread(
        redis.command, "CONFIG", "SET", "client-output-buffer-limit", f"pubsub {BUFFER_LIMIT} 0 0"
    )
    before = await asyncio.to_thread(_messages_clients, redis)
    held = world.proxy.hold_messages()
    try:
        for _ in range(400):
            # What is no JSON reaches the nodes, and no client.
            await asyncio.to_thread(redis.command, "PUBLISH", "wxgw:broadcast:room-0", "x" * 64_000)
            if not before & await asyncio.to_thread(_messages_clients, redis):
                return
        raise TeamError("no connection for messages hit its limit")
    finally:
        world.proxy.release(held)
        await asyncio.to_thread(
            redis.command, "CONFIG", "SET", "client-output-buffer-limit", "pubsub 33554432 8388608 60"
        )


def _messages_clients(redis: RedisServer) -> set[str]:
    """Connections that listen to the channel that overflows."""
    listed = redis.client(decode_responses=True).client_list("pubsub")
    return {each["id"] for each in listed if int(each["sub"]) > 10}


async def kill_worker(world: World) -> None:
    """kill -9 of one of them, a different one each time."""
    children = world.team.children()
    workers = sorted(name for name in children if name.startswith("worker"))
    name = workers[world.turn % len(workers)]
    os.kill(children[name], signal.SIGKILL)
    await _back(world.team, name, children[name])


async def rolling_restart(world: World) -> None:
    """SIGTERM to one worker after the other, each when the one before is back."""
    children = world.team.children()
    for name in sorted(each for each in children if each.startswith("worker")):
        os.kill(children[name], signal.SIGTERM)
        await _back(world.team, name, children[name])


async def _back(team: Team, name: str, old: int) -> None:
    """Until a successor is ready."""
    index = int(name.rpartition(" ")[2])
    port = team.ports["internal"][index]
    async with asyncio.timeout(PATIENCE):
        while True:
            await asyncio.sleep(0.05)
            pid = (await asyncio.to_thread(team.children)).get(name)
            if pid not in (None, old) and (await asyncio.to_thread(readiness, port))[0] == 200:
                return


async def reload(world: World) -> None:
    """SIGHUP with a changed configuration, and once with a wrong one."""
    event = "the configuration was read again"
    before = len(world.team.lines(event))
    world.team.write(world.config(world.turn + 1))
    world.team.signal(signal.SIGHUP)
    async with asyncio.timeout(PATIENCE):
        while len(await asyncio.to_thread(world.team.lines, event)) < before + world.team.workers + 1:  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # a file cannot be awaited
    world.team.write("[channels]\nhistory_size = -1\n")
    world.team.signal(signal.SIGHUP)
    await asyncio.sleep(0.3)
    world.team.write(world.config(world.turn + 1))


FAULTS: dict[str, Callable[[World], Awaitable[None]]] = {
    "Redis: kill -9, data kept": kill_redis,
    "Redis: kill -9, data lost": lose_redis,
    "Redis: CLIENT PAUSE": pause_redis,
    "Redis: SIGSTOP": stop_redis,
    "Redis: output buffer limit": overflow,
    "network: connections cut": cut,
    "network: half-open": half_open,
    "worker: kill -9": kill_worker,
    "workers: rolling restart": rolling_restart,
    "SIGHUP": reload,
}
LOSES: frozenset[str] = frozenset({"Redis: kill -9, data lost"})
"""Faults after which clients have to be told that their position is of a lost stream."""
