"""The way through Redis: publications received, fanned out and accepted, and how long one takes.

A real redis-server shares core 1 with the driver, so that core 0 has the gateway alone. Publications come as
plain PUBLISH from the driver, or with history by the script, as `Publisher` sends them.
"""

from __future__ import annotations

import asyncio
import base64
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from bench import traffic
from bench.driver import PATIENCE, BenchError, Crowd, Peer
from bench.measures import MICRO, READY, Plan, caller_for, cost, running, settle
from bench.report import Row
from bench.servers import API_KEY as KEY
from bench.servers import DRIVER_CORE, GATEWAY_TOML, HMAC_SECRET, SERVER_CORE, Server, bench_token, free_port
from gateway.publisher import Message, Publisher

MILLI = 1e3
BATCH = 200
"""Publications on their way at a time: what an event loop under load finds when it looks."""
RATE = 1000
"""Publications a second of the latency measurement."""

MORE = """\
[redis]
url = "redis://127.0.0.1:{redis}"
[session]
encryption_key = "{encryption_key}"
[channels.namespaces.kept]
allow_subscribe_for_client = true
history_size = 100
history_ttl = "5m"
force_recovery = true
"""
KEPT = {"history_size": 100, "history_ttl": 300.0}


# ---------------------------------------------------------------------------- servers
def redis_server() -> Server:
    port = free_port()
    words = [
        "redis-server",
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--logfile",
        "/dev/null",
    ]
    return Server("redis-server", words, {"redis": port})


class Workers(Server):
    """`gateway serve --workers 2`: what its workers cost, without the supervisor and the HTTP process."""

    def worker_pids(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        words = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children}
        return [int(pid) for pid, command in words.items() if b'"worker ' in command]

    def cpu(self) -> float:
        return sum(time.clock_gettime(((~pid) << 3) | 2) for pid in self.worker_pids())


def gateway_on(redis: Server, folder: str, workers: int = 1) -> Server:
    ports = {"websocket": free_port(), "http": free_port(), "internal": free_port()}
    config = Path(folder) / "gateway.toml"
    text = GATEWAY_TOML.format(**ports, secret=HMAC_SECRET, key=KEY) + MORE.format(
        redis=redis.ports["redis"], encryption_key=base64.b64encode(os.urandom(32)).decode()
    )
    config.write_text(text)
    words = [sys.executable, "-m", "gateway", "serve", "--config", str(config)]
    if workers == 1:
        return Server("gateway", words, ports)
    return Workers("gateway", [*words, "--workers", str(workers)], ports)


@asynccontextmanager
async def on_redis(workers: int = 1) -> AsyncIterator[tuple[Server, Redis]]:
    """A gateway and its Redis."""
    with TemporaryDirectory() as folder:
        redis = redis_server()
        async with running(redis):
            os.sched_setaffinity(redis.pid, {DRIVER_CORE})
            gateway = gateway_on(redis, folder, workers)
            async with running(gateway):
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(Redis, "127.0.0.1", redis.ports["redis"])
                connection.port = redis.ports["redis"]
                yield gateway, connection
                connection.close()


class Redis(asyncio.Protocol):
    """Publishes by plain PUBLISH and counts the answers; parses nothing."""

    port = 0

    def __init__(self) -> None:
        self._missing = 0
        self._done = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if b"-" in data:
            raise BenchError(f"Redis refused: {data[:200]!r}")
        self._missing -= data.count(b":")
        if self._missing <= 0:
            self._done.set()

    def publish(self, *commands: bytes) -> None:
        self._missing += len(commands)
        self._done.clear()
        self._transport.write(b"".join(commands))

    async def answered(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._done.wait()

    def close(self) -> None:
        self._transport.abort()


def publish_command(channel: str, data: bytes) -> bytes:
    name = f"wxgw:broadcast:{channel}".encode()
    return b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(name), name, len(data), data)


async def crowd_in(server: Server, channels: list[str]) -> Crowd:
    """One subscriber per channel."""
    crowd = Crowd("127.0.0.1", server.ports["websocket"])
    hellos = [traffic.connect_frame(bench_token(f"user-{n}"), name) for n, name in enumerate(channels)]
    await crowd.join(hellos, READY)
    return crowd


# ---------------------------------------------------------------------------- received and delivered
async def received(plan: Plan) -> list[Row]:
    """200 channels with one subscriber each."""
    busy = Row("from Redis to one subscriber, 200 at a time", "µs/publication", most=25.0)
    alone = Row("from Redis to one subscriber, one at a time", "µs/publication")
    kept = Row("the same with history, 200 at a time", "µs/publication")
    speed = Row("through Redis to one subscriber each", "publications/s")
    turns = plan.of(100)
    channels = [f"one-{number}" for number in range(BATCH)]
    positioned = [f"kept:one-{number}" for number in range(BATCH)]
    async with on_redis() as (gateway, redis):
        commands = [publish_command(name, traffic.payload(plan.size)) for name in channels]
        crowd = await crowd_in(gateway, channels)

        async def flood() -> None:
            for _ in range(turns):
                crowd.expect(BATCH)
                redis.publish(*commands)
                await crowd.gathered()

        async def drip() -> None:
            for number in range(turns * 10):
                crowd.expect(1)
                redis.publish(commands[number % BATCH])
                await crowd.gathered()

        for number in range(plan.rounds + 1):
            began = time.perf_counter()
            many = await cost(gateway, flood()) / (turns * BATCH)
            took = time.perf_counter() - began
            crowd.check_even(turns)
            one = await cost(gateway, drip()) / (turns * 10)
            for peer in crowd.peers:
                peer.messages = 0
            if number:
                busy.ours.append(many)
                alone.ours.append(one)
                speed.ours.append(turns * BATCH / took)
        await crowd.leave()
        await settle(gateway)
        crowd = await crowd_in(gateway, positioned)
        async with Publisher(f"redis://127.0.0.1:{redis.port}") as publisher:
            kept.ours += await _with_history(gateway, crowd, publisher, positioned, plan, turns)
        await crowd.leave()
    return [busy, alone, kept, speed]


async def _with_history(
    gateway: Server, crowd: Crowd, publisher: Publisher, channels: list[str], plan: Plan, turns: int
) -> list[float]:
    data = traffic.payload(plan.size).decode().strip('"')
    messages = [Message(name, data, **KEPT) for name in channels]  # type: ignore[arg-type]

    async def flood() -> None:
        for _ in range(turns):
            crowd.expect(BATCH)
            await publisher.publish_many(messages)
            await crowd.gathered()

    values = []
    for _ in range(plan.rounds + 1):
        values.append(await cost(gateway, flood()) / (turns * BATCH))
        crowd.check_even(turns)
    return values[1:]


# ---------------------------------------------------------------------------- fan-out over workers
async def workers(plan: Plan) -> list[Row]:
    """One publication to 2,000 subscribers, who are spread over two workers on one core."""
    people, turns = 2000, plan.of(40)
    each = Row("1 → 2,000 over two workers", "µs/message")
    whole = Row("1 → 2,000 over two workers: until the last has it", "ms")
    async with on_redis(workers=2) as (gateway, redis):
        crowd = await crowd_in(gateway, ["all"] * people)
        command = publish_command("all", traffic.payload(plan.size))
        durations: list[float] = []

        async def publish() -> None:
            for _ in range(turns):
                crowd.expect(people)
                began = time.perf_counter()
                redis.publish(command)
                await crowd.gathered()
                durations.append((time.perf_counter() - began) * MILLI)

        for number in range(plan.rounds + 1):
            spent = await cost(gateway, publish()) / (turns * people)
            crowd.check_even(turns)
            if number:
                each.ours.append(spent)
                whole.ours.append(statistics.median(durations))
            durations.clear()
        await crowd.leave()
    return [each, whole]


async def scale(plan: Plan) -> list[Row]:
    """Two workers beside one, both on Redis, 1,000 subscribers each: CPU per message, and messages a second.

    For the CPU both workers share core 0, for the messages a second they have both cores, which they share
    with Redis and the driver: the first says what two cores of their own would do, the second what was seen.
    """
    spent = Row(
        "two workers: CPU per delivered message", "µs/message", times=2 / 1.8, note="reference: one worker"
    )
    speed = Row(
        "two workers on two cores: messages a second",
        "1/s",
        note="reference: one worker; the driver takes part",
    )
    for count, cpu, rate in ((1, spent.reference, speed.reference), (2, spent.ours, speed.ours)):
        people, turns = 1000 * count, plan.of(60)
        async with on_redis(workers=count) as (gateway, redis):
            crowd = await crowd_in(gateway, ["all"] * people)
            commands = [publish_command("all", traffic.payload(plan.size))] * 10

            async def publish(
                times: int, crowd: Crowd = crowd, redis: Redis = redis, commands: list[bytes] = commands
            ) -> float:
                began = time.perf_counter()
                for _ in range(times):
                    crowd.expect(len(crowd.peers) * len(commands))
                    redis.publish(*commands)
                    await crowd.gathered()
                crowd.check_even(len(commands) * times)
                return time.perf_counter() - began

            await publish(5)
            for _ in range(plan.rounds):
                cpu.append(await cost(gateway, publish(turns)) / (turns * people * len(commands)))
            for pid in _worker_pids(gateway):
                os.sched_setaffinity(pid, {SERVER_CORE, DRIVER_CORE})
            for _ in range(plan.rounds):
                rate.append(turns * people * len(commands) / await publish(turns))
            await crowd.leave()
    return [spent, speed]


def _worker_pids(gateway: Server) -> list[int]:
    return gateway.worker_pids() if isinstance(gateway, Workers) else []


# ---------------------------------------------------------------------------- latency
class Stamped(asyncio.Protocol):
    """Takes a peer's place and reads when what it hears was published."""

    def __init__(self, crowd: Crowd, delays: list[float]) -> None:
        self._crowd = crowd
        self._delays = delays

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter_ns()
        for part in data.split(traffic.MARK)[1:]:
            self._delays.append((now - int(part[:20])) / 1e6)
            self._crowd.arrived(1)


async def latency(plan: Plan) -> list[Row]:
    """1,000 publications a second, evenly, each to one of 1,000 subscribers, from the write of PUBLISH."""
    people, seconds = 1000, max(2, plan.of(10))
    p50 = Row("1,000 a second to 1,000 subscribers: p50", "ms")
    p99 = Row("1,000 a second to 1,000 subscribers: p99", "ms", most=10.0)
    used = Row("the same: gateway CPU", "µs/publication")
    async with on_redis() as (gateway, redis):
        channels = [f"one-{number}" for number in range(people)]
        crowd = await crowd_in(gateway, channels)
        delays: list[float] = []
        for peer in crowd.peers:
            _take_over(peer, Stamped(crowd, delays))
        for number in range(plan.rounds + 1):
            delays.clear()
            crowd.expect(RATE * seconds)
            spent = await cost(gateway, _pace(redis, channels, RATE * seconds, crowd))
            percentiles = statistics.quantiles(delays, n=100, method="inclusive")
            if number:
                p50.ours.append(percentiles[49])
                p99.ours.append(percentiles[98])
                used.ours.append(spent / (RATE * seconds))
        await crowd.leave()
    return [p50, p99, used]


def _take_over(peer: Peer, protocol: asyncio.Protocol) -> None:
    peer.transport.set_protocol(protocol)


async def _pace(redis: Redis, channels: list[str], count: int, crowd: Crowd) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    for number in range(count):
        stamp = b'"%b%020d"' % (traffic.MARK, time.perf_counter_ns())
        redis.publish(publish_command(channels[number % len(channels)], stamp))
        due += 1 / RATE
        await asyncio.sleep(max(0.0, due - loop.time()))
    await crowd.gathered()


# ---------------------------------------------------------------------------- accepted
async def accepted(plan: Plan) -> list[Row]:
    """100 channels per /api/broadcast; `publish_many` of 500 in this process; nobody listens."""
    broadcast = Row("/api/broadcast, 100 channels", "µs/publication", most=30.0)
    kept = Row("/api/broadcast, 100 channels with history", "µs/publication", most=30.0)
    many = Row("Publisher.publish_many, 500", "µs/publication", most=30.0, note="CPU of the publisher")
    many_kept = Row("Publisher.publish_many, 500 with history", "µs/publication", most=30.0)
    turns = plan.of(50)
    async with on_redis() as (gateway, redis):
        body = traffic.broadcast_body(100, plan.size)
        plain = await caller_for(gateway, "/api/broadcast", body)
        history = await caller_for(gateway, "/api/broadcast", body.replace(b'"bench-', b'"kept:'))
        async with Publisher(f"redis://127.0.0.1:{redis.port}") as publisher:
            for number in range(plan.rounds + 1):
                values = [
                    await cost(gateway, plain.call(turns)) / (turns * 100),
                    await cost(gateway, history.call(turns)) / (turns * 100),
                    await _publish_many(publisher, turns // 5, plan.size, {}),
                    await _publish_many(publisher, turns // 5, plan.size, KEPT),
                ]
                for row, value in zip((broadcast, kept, many, many_kept), values, strict=True):
                    row.ours += [value] if number else []
    return [broadcast, kept, many, many_kept]


async def _publish_many(publisher: Publisher, turns: int, size: int, options: dict[str, float]) -> float:
    data = traffic.payload(size).decode().strip('"')
    turns = max(1, turns)
    began = time.process_time()
    for _ in range(turns):
        messages = (Message(f"kept:{number}", data, **options) for number in range(500))  # type: ignore[arg-type]
        await publisher.publish_many(messages)
    return (time.process_time() - began) * MICRO / (turns * 500)
