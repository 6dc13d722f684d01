"""One run: the world is built, people come in, messages flow, and one fault after the other is done to it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from chaos.faults import FAULTS, World
from chaos.people import Person
from chaos.proxy import Proxy
from chaos.publisher import Publisher
from chaos.team import Team, gateway_toml
from tests.redis_server import RedisServer

CHANNELS = 50
START_PATIENCE = 60.0


@dataclass(frozen=True)
class Plan:
    """`pause`: the shortest and longest time in seconds for which Redis stands still; `calm`: the time before
    and after a fault; `settle`: seconds for everything accepted to arrive."""

    faults: tuple[str, ...] = tuple(FAULTS)
    times: int = 10
    people: int = 12
    rate: float = 100.0
    workers: int = 2
    pause: tuple[float, float] = (5.0, 20.0)
    calm: float = 1.0
    settle: float = 60.0


@dataclass
class Window:
    """The time of one fault, monotonic seconds. `settled`: all that was accepted so far has arrived."""

    fault: str
    began: float
    ended: float = 0.0
    settled: bool = False
    trouble: str = ""


@dataclass
class Run:
    """What happened."""

    people: list[Person]
    publisher: Publisher
    windows: list[Window] = field(default_factory=list)
    log: str = ""


async def run(plan: Plan, say: Callable[[str], None]) -> Run:
    """Everything, from an empty folder to the end of the last process."""
    async with _world(plan) as world:
        channels = [f"room-{number}" for number in range(CHANNELS)]
        port = world.team.ports["internal"][0]
        publisher = Publisher(channels, plan.rate, lambda: f"http://127.0.0.1:{port}/api")
        people = [Person(f"person-{number}", channels) for number in range(plan.people)]
        result = Run(people, publisher)
        for person in people:
            await person.enter(world.team.url)
        await _until(lambda: all(person.subscribed for person in people), START_PATIENCE)
        publisher.start()
        try:
            await asyncio.sleep(plan.calm)
            for world.turn in range(plan.times):
                for fault in plan.faults:
                    result.windows.append(await _one(world, plan, result, fault))
                    say(_line(result.windows[-1]))
        finally:
            await publisher.stop()
            await _settled(result, plan.settle)
            for person in people:
                await person.leave()
            result.log = world.team.log()
        return result


@asynccontextmanager
async def _world(plan: Plan) -> AsyncIterator[World]:
    options = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")
    with TemporaryDirectory(prefix="gateway-chaos-") as folder:
        redis = RedisServer(*options)
        proxy = Proxy(redis.port)
        await asyncio.to_thread(redis.start)
        await proxy.open()

        def config(version: int) -> str:
            more = f"[channels.namespaces.version{version}]\npresence = true"
            return gateway_toml(f"redis://127.0.0.1:{proxy.port}", more=more)

        team = Team(Path(folder), config(0), workers=plan.workers)
        try:
            await asyncio.to_thread(team.start, START_PATIENCE)
            yield World(redis, proxy, team, config)
        finally:
            team.close()
            await proxy.close()
            redis.close()


async def _one(world: World, plan: Plan, result: Run, fault: str) -> Window:
    """One fault, with calm before it and until everything has arrived after it."""
    window = Window(fault, time.monotonic())
    world.pause = random.uniform(*plan.pause)  # noqa: S311
    await asyncio.sleep(plan.calm)
    try:
        await FAULTS[fault](world)
    except Exception as error:
        window.trouble = f"{type(error).__name__}: {error}"
    await asyncio.sleep(plan.calm)
    window.settled = await _settled(result, plan.settle)
    window.ended = time.monotonic()
    return window


async def _settled(result: Run, patience: float) -> bool:
    """Wait until everybody has what was accepted up to now; messages go on meanwhile."""
    publisher = result.publisher
    tops: dict[str, tuple[str, int]] = {}

    def answered() -> bool:
        return publisher.waiting < 20

    def arrived() -> bool:
        if not tops:
            tops.update({name: (top.epoch, top.offset) for name, top in publisher.tops.items()})
        return all(
            person.has(name, *_newest(publisher, name, position))
            for person in result.people
            for name, position in tops.items()
        )

    return await _until(answered, patience) and await _until(arrived, patience)


def _newest(publisher: Publisher, channel: str, position: tuple[str, int]) -> tuple[str, int]:
    """`position`, or the present one where the channel has begun anew since."""
    top = publisher.tops[channel]
    return position if top.epoch == position[0] else (top.epoch, top.offset)


async def _until(condition: Callable[[], bool], patience: float) -> bool:
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


def _line(window: Window) -> str:
    state = window.trouble or ("" if window.settled else "not everything has arrived")
    return f"{window.fault:30} {window.ended - window.began:6.1f} s  {state}"
