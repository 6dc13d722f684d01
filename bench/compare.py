"""The gateway and its peers, measured in one run by one driver.

All servers run at the same time on core 0, where the idle ones cost nothing, and the driver on core 1. Each
measure goes round: one value of each server, then the next round, so that noise and warmth hit all alike.
Only with the large crowd they run one after the other, because of the memory and the sockets it takes.

CPU is the server process's own clock, user and system, all threads. Measures, by the names they have in a
result file:

    fanout/SUBSCRIBERS/BYTES/BURST   µs per delivered message; BURST publications are asked for in one turn
    rpc                              µs per request and its answer, 64 clients, closed loop
    connect                          µs per connect, sign-in by JWT and subscription, 32 at a time
    connect/session                  the same by the gateway's own session token
    memory                           KB (PSS) per idle subscribed connection, the large crowd
    latency/p50, latency/p99         ms from when a publication was due to each delivery, at half load
    latency/rate                     publications a second that were half load
    tls/fanout, tls/rpc              as above, server and nginx with TLS together; Nchan is its own nginx
"""

from __future__ import annotations

import asyncio
import gc
import resource
import ssl
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from bench.driver import BenchError, Crowd
from bench.measures import MICRO, closed_loop, cost, settle
from bench.nginx_front import Front, TlsCrowd, nginx_server
from bench.peers.adapters import ADAPTERS, Adapter
from bench.peers.dialects import Publisher
from bench.results_file import Contestant
from bench.servers import Server, bench_token
from bench.signing import session_tokens

MILLI = 1e3
BURSTS = (1, 10)
CALLERS = 64
SMALL = 128
LONG_TURN = 1.0
"""Seconds. A fan-out to the large crowd that takes longer is measured once, and not ten times in a turn; one
that would, by what a message costs with the small crowd, not at all."""
IN_FLIGHT = 500_000_000
"""Bytes that one turn may put into sockets; more is a measure of the machine's memory."""


@dataclass(frozen=True)
class Extent:
    """How much to measure.

    Attributes:
        least: seconds that one value takes at least.
        crowds: numbers of subscribers, the smaller first.
    """

    rounds: int = 5
    least: float = 0.25
    crowds: tuple[int, int] = (1000, 10_000)
    sizes: tuple[int, ...] = (128, 1024, 16_384)
    connects: int = 250
    tls_crowd: int = 500
    latency_rounds: int = 2
    latency_seconds: float = 3.0


SMOKE = Extent(1, 0.01, (20, 40), (128, 16_384), 10, 10, 1, 0.2)
QUICK = Extent(2, 0.08, (500, 2000), (128, 1024, 16_384), 100, 200, 1, 1.0)


@dataclass
class Contender:
    """A server that runs, and its clients."""

    adapter: Adapter
    contestant: Contestant
    server: Server
    folder: Path
    crowd: Crowd | None = None
    tokens: list[str] = field(default_factory=list)

    def new_crowd(self) -> Crowd:
        return Crowd("127.0.0.1", self.server.ports["websocket"], path=self.adapter.dialect.path)

    def hellos(self, count: int, tokens: Sequence[str] = ()) -> list[bytes]:
        hello = self.adapter.dialect.hello
        if hello is None:
            return [b""] * count
        words = [hello(token) for token in tokens or [bench_token(f"user-{n}") for n in range(50)]]
        return [words[number % len(words)] for number in range(count)]

    async def populate(self, crowd: Crowd, people: int) -> None:
        missing = people - len(crowd.peers)
        await crowd.join(self.hellos(missing), self.adapter.dialect.ready)

    def note(self, measure: str, value: float) -> None:
        self.contestant.values.setdefault(measure, []).append(value)


class Comparison:
    """One run over some of the servers."""

    def __init__(self, adapters: Sequence[Adapter], extent: Extent, console: Console) -> None:
        self.extent = extent
        self._console = console
        self._adapters = adapters
        self.contestants = [
            Contestant(each.name, each.title, each.language, each.version, each.note, each.missing)
            for each in adapters
        ]

    async def run(self) -> None:
        _allow_sockets()
        gc.disable()
        try:
            async with self._contenders() as contenders:
                for phase in (self._fan_outs, self._requests, self._connects, self._latencies):
                    await phase(contenders)
                    gc.collect()
                await self._through_tls(contenders)
            await self._large_crowds()
        finally:
            gc.enable()

    # ------------------------------------------------------------------------ who takes part
    @asynccontextmanager
    async def _contenders(self, only: str | None = None) -> AsyncIterator[list[Contender]]:
        async with AsyncExitStack() as stack:
            contenders: list[Contender] = []
            for adapter, contestant in zip(self._adapters, self.contestants, strict=True):
                if contestant.missing or contestant.problems or only not in (None, adapter.name):
                    continue
                folder = Path(stack.enter_context(TemporaryDirectory()))
                server = adapter.start(folder)
                stack.push_async_callback(server.stop)
                contenders.append(Contender(adapter, contestant, server, folder))
            starts = (
                self._guard(contenders, each, "start", each.server.start()) for each in tuple(contenders)
            )
            await asyncio.gather(*starts)
            yield contenders

    async def _guard(
        self, contenders: list[Contender], contender: Contender, measure: str, work: Awaitable[object]
    ) -> None:
        """A server that fails is out of the run, and its row says why; the others go on."""
        try:
            await work
        except (BenchError, TimeoutError, OSError) as error:
            problem = f"{type(error).__name__}: {error}"[:300]
            contender.contestant.problems[measure] = problem
            self._console.print(f"[red]{contender.adapter.title}, {measure}: {problem}[/red]")
            if contender in contenders:
                contenders.remove(contender)

    async def _rounds(
        self,
        contenders: list[Contender],
        measure: str,
        value: Callable[[Contender], Awaitable[float]],
        rounds: int | None = None,
    ) -> None:
        self._console.print(f"[dim]{measure} …[/dim]")

        async def once(contender: Contender) -> None:
            contender.note(measure, await value(contender))

        for _ in range(rounds or self.extent.rounds):
            for contender in tuple(contenders):
                await self._guard(contenders, contender, measure, once(contender))

    # ------------------------------------------------------------------------ the measures
    async def _fan_outs(self, contenders: list[Contender]) -> None:
        people = self.extent.crowds[0]
        for contender in tuple(contenders):
            contender.crowd = contender.new_crowd()
            await self._guard(contenders, contender, "join", contender.populate(contender.crowd, people))
        for size in self.extent.sizes:
            for burst in BURSTS:
                fan_outs = {each.adapter.name: FanOut(each, size, burst) for each in contenders}
                for contender in tuple(contenders):
                    await self._guard(contenders, contender, "warm", fan_outs[contender.adapter.name].warm())

                async def value(contender: Contender, which: dict[str, FanOut] = fan_outs) -> float:
                    return await which[contender.adapter.name].value(self.extent.least)

                await self._rounds(contenders, f"fanout/{people}/{size}/{burst}", value)
                for fan_out in fan_outs.values():
                    fan_out.close()

    async def _requests(self, contenders: list[Contender]) -> None:
        able = [each for each in contenders if each.adapter.dialect.request]
        crowds: dict[str, Crowd] = {}
        for contender in tuple(able):
            crowds[contender.adapter.name] = crowd = contender.new_crowd()
            await self._guard(able, contender, "rpc", contender.populate(crowd, CALLERS))
            await self._guard(able, contender, "rpc", _ask(contender, crowd, 0.1))

        async def value(contender: Contender) -> float:
            return await _ask(contender, crowds[contender.adapter.name], self.extent.least)

        await self._rounds(able, "rpc", value)
        for crowd in crowds.values():
            await crowd.leave()

    async def _connects(self, contenders: list[Contender]) -> None:
        async def value(contender: Contender) -> float:
            return await _join_and_leave(contender, contender.hellos(self.extent.connects))

        async def by_session(contender: Contender) -> float:
            return await _join_and_leave(contender, contender.hellos(self.extent.connects, contender.tokens))

        for contender in tuple(contenders):
            await self._guard(contenders, contender, "connect", value(contender))
        await self._rounds(contenders, "connect", value)
        ours = [each for each in contenders if each.adapter.name == "gateway"]
        for contender in ours:
            ports = contender.server.ports
            contender.tokens = await asyncio.to_thread(session_tokens, ports["http"], ports["websocket"], 50)
        await self._rounds(ours, "connect/session", by_session)

    async def _latencies(self, contenders: list[Contender]) -> None:
        people = self.extent.crowds[0]

        async def value(contender: Contender) -> float:
            alone = statistics.median(contender.contestant.values[f"fanout/{people}/{SMALL}/1"])
            rate = 0.5 * MICRO / (alone * people)
            delays = await _half_load(contender, rate, self.extent.latency_seconds)
            percentiles = statistics.quantiles(delays, n=100, method="inclusive")
            contender.note("latency/rate", rate)
            contender.note("latency/p50", percentiles[49] * MILLI)
            return percentiles[98] * MILLI

        await self._rounds(contenders, "latency/p99", value, self.extent.latency_rounds)
        for contender in contenders:
            if contender.crowd is not None:
                await contender.crowd.leave()

    async def _through_tls(self, contenders: list[Contender]) -> None:
        people = self.extent.tls_crowd
        async with AsyncExitStack() as stack:
            fronts: dict[str, Front] = {}
            fan_outs: dict[str, FanOut] = {}
            crowds: dict[str, Crowd] = {}
            for contender in tuple(contenders):
                name = contender.adapter.name
                fronts[name] = front = _front(contender)
                if front.server is not contender.server:
                    stack.push_async_callback(front.server.stop)
                    await self._guard(contenders, contender, "tls", front.server.start())
                crowds[name] = contender.crowd = TlsCrowd(front, contender.adapter.dialect.path)
                await self._guard(contenders, contender, "tls", contender.populate(crowds[name], people))
                fan_outs[name] = FanOut(contender, SMALL, 1, front.server)
                await self._guard(contenders, contender, "tls", fan_outs[name].warm())

            async def value(contender: Contender) -> float:
                return await fan_outs[contender.adapter.name].value(self.extent.least)

            await self._rounds(contenders, "tls/fanout", value)
            for fan_out in fan_outs.values():
                fan_out.close()

            async def asked(contender: Contender) -> float:
                name = contender.adapter.name
                few = Crowd.part(crowds[name], CALLERS)
                return await _ask(contender, few, self.extent.least, fronts[name].server)

            able = [each for each in contenders if each.adapter.dialect.request]
            await self._rounds(able, "tls/rpc", asked)
            for crowd in crowds.values():
                await crowd.leave()

    async def _large_crowds(self) -> None:
        for adapter in self._adapters:
            async with self._contenders(adapter.name) as contenders:
                for contender in tuple(contenders):
                    self._console.print(f"[dim]{adapter.title}: {self.extent.crowds[1]} subscribers …[/dim]")
                    await self._guard(contenders, contender, "large crowd", self._large_crowd(contender))
            gc.collect()

    async def _large_crowd(self, contender: Contender) -> None:
        people = self.extent.crowds[1]
        await _join_and_leave(contender, contender.hellos(50))  # what is loaded at first use
        contender.crowd = contender.new_crowd()
        before = contender.server.memory()
        await contender.populate(contender.crowd, people)
        await settle(contender.server)
        contender.note("memory", (contender.server.memory() - before) / people)
        small = contender.contestant.median(f"fanout/{self.extent.crowds[0]}/{SMALL}/1") or 0.0
        hopeless = small * people > LONG_TURN * MICRO
        for size in () if hopeless else self.extent.sizes:
            longest = 0.0
            for burst in BURSTS:
                if longest > LONG_TURN or people * size * burst > IN_FLIGHT:
                    continue
                fan_out = FanOut(contender, size, burst)
                measure = f"fanout/{people}/{size}/{burst}"
                longest = await fan_out.warm()
                if longest > LONG_TURN:
                    contender.note(measure, fan_out.first)
                else:
                    for _ in range(min(3, self.extent.rounds)):
                        contender.note(measure, await fan_out.value(self.extent.least))
                fan_out.close()
        await contender.crowd.leave()


class FanOut:
    """`burst` publications of `size` bytes to all of a crowd, again and again."""

    def __init__(self, contender: Contender, size: int, burst: int, front: Server | None = None) -> None:
        if contender.crowd is None:
            raise BenchError("nobody is there")
        self._contender = contender
        self._crowd = contender.crowd
        self._size = size
        self._burst = burst
        self._front = front if front is not contender.server else None
        self._publisher: Publisher | None = None
        self._turn = 1.0
        self.first = 0.0

    async def warm(self) -> float:
        """Seconds that one turn takes; µs per message of it are in `first`."""
        self.first = await self._measure(1)
        began = time.perf_counter()
        if self._turn < LONG_TURN:
            await self._measure(1)
            self._turn = time.perf_counter() - began
        return self._turn

    async def value(self, least: float) -> float:
        """µs per delivered message, over as many turns as fill `least` seconds."""
        return await self._measure(max(1, min(200, round(least / self._turn))))

    async def _measure(self, turns: int) -> float:
        contender = self._contender
        if self._publisher is None:
            self._publisher = await contender.adapter.publisher(contender.server.ports, self._size)
        people = len(self._crowd.peers)
        began = time.perf_counter()
        before = _cpu(contender.server, self._front)
        for _ in range(turns):
            self._crowd.expect(people * self._burst)
            await self._publisher.publish(self._burst)
            await self._crowd.gathered()
        spent = _cpu(contender.server, self._front) - before
        self._turn = (time.perf_counter() - began) / turns
        self._crowd.check_even(self._burst * turns)
        return spent * MICRO / (people * self._burst * turns)

    def close(self) -> None:
        if self._publisher is not None:
            self._publisher.close()


# ---------------------------------------------------------------------------- one value each
def _cpu(server: Server, front: Server | None) -> float:
    return server.cpu() + (front.cpu() if front is not None else 0.0)


async def _ask(contender: Contender, crowd: Crowd, least: float, front: Server | None = None) -> float:
    """µs per request: a few to see how long they take, then as many as fill `least` seconds."""
    request = contender.adapter.dialect.request or b""
    server = contender.server
    few = 20 * len(crowd.peers)
    began = time.perf_counter()
    await closed_loop(server, crowd, few, request)
    total = max(few, min(100_000, round(few * least / max(1e-3, time.perf_counter() - began - 0.05))))
    if front is None or front is server:
        return await closed_loop(server, crowd, total, request)
    before = front.cpu()
    alone = await closed_loop(server, crowd, total, request)
    return alone + (front.cpu() - before) * MICRO / total


async def _join_and_leave(contender: Contender, hellos: list[bytes]) -> float:
    crowd = contender.new_crowd()
    spent = await cost(contender.server, crowd.join(hellos, contender.adapter.dialect.ready))
    await crowd.leave()
    await settle(contender.server)
    return spent / len(hellos)


async def _half_load(contender: Contender, rate: float, seconds: float) -> list[float]:
    """Delays of all deliveries, in seconds, from when each publication was due: no late one is forgiven."""
    crowd, loop = contender.crowd, asyncio.get_running_loop()
    if crowd is None:
        raise BenchError("nobody is there")
    count = max(10, round(rate * seconds))
    publisher = await contender.adapter.publisher(contender.server.ports, SMALL)
    crowd.expect(len(crowd.peers))
    await publisher.publish(1)  # opens what has to be open
    await crowd.gathered()
    crowd.check_even(1)
    crowd.latencies = []
    start = loop.time() + 0.05
    crowd.scheduled = [start + number / rate for number in range(count)]
    crowd.expect(count * len(crowd.peers))
    posts = []
    for due in crowd.scheduled:
        await asyncio.sleep(max(0.0, due - loop.time()))
        posts.append(asyncio.ensure_future(publisher.publish(1)))
    try:
        await crowd.gathered()
        await asyncio.gather(*posts)
    finally:
        crowd.scheduled = []
        publisher.close()
    crowd.check_even(count)
    return crowd.latencies


def _front(contender: Contender) -> Front:
    """nginx with TLS before the server; Nchan is one already."""
    server, folder = contender.server, contender.folder
    if "https" in server.ports:
        return Front(server, ssl.create_default_context(cafile=folder / "root.pem"))
    port = server.ports["websocket"]
    behind = Server(server.name, [], {"websocket": port, "http": port})
    return nginx_server(folder / "nginx", behind, bare=True)


def _allow_sockets() -> None:
    """As many open files as the system lets this process and its children have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def chosen(names: Sequence[str] | None) -> list[Adapter]:
    """These servers, the gateway and the floor always among them; all without names."""
    return [each for each in ADAPTERS if not names or each.name in ("gateway", "floor", *names)]
