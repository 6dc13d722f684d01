"""The leader: connects everybody, lets the scenario happen, waits for the rest, and adds up."""

from __future__ import annotations

import asyncio
import os
import platform
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from gateway.errors import GatewayException
from gateway.loadtest import target as targets
from gateway.loadtest.fleet import Fleet
from gateway.loadtest.http_line import HttpFailed, HttpLine, tls_context
from gateway.loadtest.plan import Order, Plan
from gateway.loadtest.publishing import Publisher, Stream
from gateway.loadtest.result import Point, Result, StormRound, judge, summary
from gateway.loadtest.scenario import Scenario
from gateway.loadtest.tally import Tally, Told
from gateway.loadtest.target import Target
from gateway.loadtest.watch import MEMORY, Watch
from gateway.version import __version__

CONNECT_PATIENCE: Final = 60.0
"""Seconds beyond what connecting should take; then it goes on with those that are there."""
CODES_A_SECOND: Final = 100
"""Sign-ins by code that even a slow sandbox manages: how long connecting may take."""
KNOCK_PATIENCE: Final = 10.0
BACK_PATIENCE: Final = 120.0
END_PATIENCE: Final = 60.0
BETWEEN_STORMS: Final = 0.5
FOREVER: Final = 86_400.0
POINT: Final = 0.5
"""Seconds between two points of the charts."""
AFTER_STORM: Final = 1.0
"""Seconds that messages go on after everybody is back."""
KINDS: Final = ("connect", "latency", "publish", "rpc", "upload", "download", "lag")


class RunError(GatewayException):
    """The test cannot begin; the text says what is missing."""


@dataclass
class Progress:
    """What can be seen while it runs. `phase`: connecting, running, storm or ending."""

    phase: str = "connecting"
    began: float = field(default_factory=time.monotonic)
    connected: int = 0
    total: Tally = field(default_factory=Tally)
    points: list[Point] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


class Run:
    """One load test.

    Args:
        show: called at each point.
    """

    def __init__(
        self, scenario: Scenario, target: Target, processes: int, show: Callable[[Progress], None]
    ) -> None:
        self._scenario = scenario
        self._target = target
        self._plans: list[Plan] = targets.plans(target, scenario, processes)
        self._show = show
        self._context = tls_context(target.ca, target.verify)
        self._progress = Progress()
        self._second = Tally()
        self._connected: dict[int, int] = {}
        self._cpu: dict[int, float] = {}
        self._personal: list[str] = []
        self._back: list[float] = []
        self._storms: list[StormRound] = []
        self._until = float("inf")

    async def run(self) -> Result:
        """All of it. Raises RunError before anything is connected, FleetError if a process breaks."""
        await self._look()
        watch = Watch(self._target, self._context)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        async with Fleet(self._plans, self._hear) as fleet:
            ticking = asyncio.create_task(self._tick())
            try:
                result = await self._phases(fleet, watch, started)
            finally:
                ticking.cancel()
                watch.close()
        return result

    async def _phases(self, fleet: Fleet, watch: Watch, started: str) -> Result:
        scenario, progress = self._scenario, self._progress
        publisher = Publisher(self._api_line, self._plans[0].run, lambda: self._second)
        publishing: asyncio.Task[None] | None = None
        fleet.order(Order("connect"))
        if scenario.while_connecting:
            self._go(fleet, FOREVER)
            publishing = asyncio.create_task(publisher.publish(self._streams(), lambda: self._until))
        await fleet.all_told("connected", self._connecting_time())
        connecting = progress.seconds
        never = scenario.clients.count - sum(self._connected.values())
        calls_before = await watch.wechat_calls()
        memory = (await watch.gauges()).get(MEMORY)
        progress.phase = "running"
        self._go(fleet, scenario.duration)
        if publishing is None:
            publishing = asyncio.create_task(publisher.publish(self._streams(), lambda: self._until))
        await self._happen(fleet)
        await publishing
        server = await watch.gauges()
        calls_after = await watch.wechat_calls()
        progress.phase = "ending"
        running = progress.seconds - connecting
        fleet.order(Order("end", published=publisher.published, unsure=publisher.unsure))
        await fleet.all_told("done", END_PATIENCE)
        self._point()
        result = self._result(started, connecting, running, max(0, never))
        if calls_before is not None and calls_after is not None:
            result.wechat_calls = calls_after - calls_before
        if memory is not None and MEMORY in server:
            result.memory, result.memory_growth = memory, server[MEMORY] - memory
        result.server = server
        result.checks = judge(result, scenario.passing)
        return result

    def _go(self, fleet: Fleet, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        fleet.order(Order("go", until=int(self._until * 1e6)))

    async def _happen(self, fleet: Fleet) -> None:
        storm = self._scenario.storm
        if storm is not None:
            await asyncio.sleep(storm.after)
            for number in range(storm.rounds):
                await self._storm(fleet, number + 1)
                await asyncio.sleep(BETWEEN_STORMS)
        await asyncio.sleep(max(0.0, self._until - time.monotonic()))

    async def _storm(self, fleet: Fleet, round_number: int) -> None:
        progress = self._progress
        progress.phase = "storm"
        dropped, began = sum(self._connected.values()), time.monotonic()
        self._back.clear()
        planned, self._until = self._until, began + BACK_PATIENCE  # messages go on until everybody is back
        fleet.order(Order("drop"))
        back = await fleet.all_told("back", BACK_PATIENCE, round_number)
        self._storms.append(
            StormRound(began - progress.began, dropped, max(self._back) - began if back else None)
        )
        progress.phase = "running"
        self._until = max(planned, time.monotonic() + AFTER_STORM)

    # ------------------------------------------------------------------ what the processes tell
    def _hear(self, number: int, told: Told) -> None:
        if told.event != "done":  # by then they were told to leave
            self._connected[number] = told.connected
        self._progress.connected = sum(self._connected.values())
        if told.event == "sample":
            self._cpu[number] = max(self._cpu.get(number, 0), told.cpu)
        if told.tally is not None:
            self._second.add(told.tally)
        self._personal.extend(told.personal)
        if told.event == "back":
            self._back.append(told.seconds)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(POINT)
            self._point()
            self._show(self._progress)

    def _point(self) -> None:
        tally, self._second = self._second, Tally()
        progress = self._progress
        progress.points.append(Point(round(progress.seconds, 2), progress.connected, tally))
        progress.total.add(tally)

    # ------------------------------------------------------------------ before
    async def _look(self) -> None:
        """The mistakes that everybody makes, told before anything is connected."""
        scenario, target = self._scenario, self._target
        await self._knock()
        if scenario.publish:
            if not target.api:
                raise RunError(f"scenario {scenario.name} publishes: give --api and --api-key")
            await self._ask(self._api_line(), "POST", "/info", "the server API", "give its --api-key")
        if target.way == "sandbox":
            line = HttpLine(target.http, {}, self._context) if target.http else None
            advice = "sign in with --secret, --tokens or --anonymous"
            if line is None:
                raise RunError(f"without --http there is no sandbox to sign in with: {advice}")
            await self._ask(
                line, "GET", "/sandbox/stats", "the sandbox", f"has this gateway one? Else {advice}"
            )
        if scenario.files and not target.http:
            raise RunError(f"scenario {scenario.name} sends files: give --http")

    async def _knock(self) -> None:
        """A connection like those of the phones, TLS included."""
        plan = self._plans[0]
        try:
            async with asyncio.timeout(KNOCK_PATIENCE):
                _, writer = await asyncio.open_connection(
                    plan.host, plan.port, ssl=self._context if plan.tls else None
                )
        except ssl.SSLError as error:
            raise RunError(f"{self._target.url}: {error.reason or error}: give --ca, or --insecure") from None
        except (OSError, TimeoutError):
            raise RunError(
                f"nobody answers at {self._target.url}: is the gateway running? `gateway dev` starts one"
            ) from None
        writer.transport.abort()

    async def _ask(self, line: HttpLine, method: str, path: str, name: str, advice: str) -> None:
        try:
            status, _ = await line.request(method, path, b"{}" if method == "POST" else b"")
        except HttpFailed as error:
            raise RunError(f"{name} does not answer ({error}): {advice}") from None
        finally:
            line.close()
        if status != 200:
            raise RunError(f"{name} answers HTTP {status}: {advice}")

    def _api_line(self) -> HttpLine:
        return HttpLine(self._target.api, {"X-API-Key": self._target.key}, self._context)

    def _streams(self) -> list[Stream]:
        streams = []
        for each in self._scenario.publish:
            channels = self._scenario.targets(each, self._personal)
            if not channels:
                raise RunError("no user has a personal channel: is client.personal_channel on?")
            streams.append(Stream(channels, each.per_second, each.size))
        return streams

    def _connecting_time(self) -> float:
        clients = self._scenario.clients
        slowest = (
            min(clients.per_second, CODES_A_SECOND) if self._target.way == "sandbox" else clients.per_second
        )
        return CONNECT_PATIENCE + clients.count / slowest

    # ------------------------------------------------------------------ after
    def _result(self, started: str, connecting: float, running: float, never: int) -> Result:
        scenario, total = self._scenario, self._progress.total
        return Result(
            scenario=scenario.name,
            about=scenario.about,
            target=self._target.url,
            version=__version__,
            started=started,
            machine=f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            clients=scenario.clients.count,
            processes=len(self._plans),
            connecting=connecting,
            running=running,
            never_connected=never,
            total=total,
            points=self._progress.points,
            storms=self._storms,
            cpu=max(self._cpu.values(), default=0.0),
            times={kind: summary(total.times(kind)) for kind in KINDS if getattr(total, kind)},
        )
