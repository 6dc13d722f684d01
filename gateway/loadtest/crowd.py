"""All phones of one process: opens them on schedule, lets them drop and come back, and keeps the count."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import time
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final

from gateway.loadtest import scenario as scenarios
from gateway.loadtest import wire
from gateway.loadtest.credentials import Credentials, NoCredentials
from gateway.loadtest.histogram import note
from gateway.loadtest.http_line import tls_context
from gateway.loadtest.phone import AWAY, IN, Message, Phone
from gateway.loadtest.plan import Order, Plan
from gateway.loadtest.tally import Tally

KNOWN_LIMIT: Final = 4096
ENTER_PATIENCE: Final = 30.0
"""Seconds for a handshake, a sign-in and the subscriptions; then the attempt has failed."""
SILENCE: Final = 45.0
"""Seconds without anything, ping included, after which a socket is dead: the ping's 25 s and 20 more."""
RETRY_FIRST, RETRY_LONGEST = 0.5, 20.0
"""Seconds of backoff, full jitter, as the SDKs have it."""
TICK: Final = 0.005
OPENING_LIMIT: Final = 2000
IP_BIND_ADDRESS_NO_PORT: Final = 24
"""Of Linux; the module `socket` of Python 3.11 has no name for it."""


def bound_to(source: str) -> socket.socket:
    """A socket that will connect from `source`; the port is chosen then, not now.

    A port chosen by `bind` is taken for every destination, and with thousands taken the kernel searches for
    a free one so long that this process stands still.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    sock.bind((source, 0))
    return sock


class Crowd:
    """The phones of one process.

    Attributes:
        known: what whole reads mean: [] is a ping, else the messages in them.
        tick: monotonic seconds, as of the last tick: good enough to notice silence.
        baseline: the number before the first that a new subscriber has to get; -1: it starts where it starts.
        until: µs at which calls, files and comings and goings stop; 0: they have yet to begin.
        tally: since it was last taken away.
        connected: phones that are in.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.run = plan.run
        self.scenario = scenarios.check(plan.scenario)
        self.upgrade = wire.upgrade(plan.authority, plan.path)
        self.known: dict[bytes, list[Message]] = {wire.SERVER_PING: []}
        self.tick = time.monotonic()
        self.baseline = 0
        self.until = 0
        self.tally = Tally()
        self.connected = 0
        self.ending = False
        every = round(1 / self.scenario.clients.slow) if self.scenario.clients.slow else 0
        self.phones = [
            Phone(self, plan.first + number, slow=bool(every) and not number % every)
            for number in range(plan.count)
        ]
        self.context = tls_context(plan.ca, plan.verify)
        self._credentials = Credentials(plan, self.context)
        self._by_code: set[int] = set()
        self._codes: dict[int, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._entered: set[int] = set()
        self._all_in = asyncio.Event()
        self._coming_back = 0
        self._back = asyncio.Event()
        self._opening = asyncio.Semaphore(OPENING_LIMIT)
        self._sources = deque(plan.sources)
        self.loop = asyncio.get_running_loop()

    # ------------------------------------------------------------------ for phones
    @staticmethod
    def now() -> int:
        """µs of the monotonic clock, which all processes of a machine share."""
        return time.monotonic_ns() // 1000

    def channels_of(self, number: int) -> list[str]:
        """What the client subscribes to."""
        return self.scenario.channels_of(number)

    def hello(self, phone: Phone) -> dict[str, Any]:
        """What the phone signs in with."""
        code = self._codes.pop(phone.number, None)
        if code is not None:
            return {"data": {"code": code}}
        return {"token": phone.token} if phone.token else dict(self._credentials.direct(phone.number) or {})

    def remember(self, data: bytes, messages: list[Message]) -> None:
        """What this read means, for the other subscribers. Nobody else gets what one user gets."""
        if messages and "#" in messages[0][0]:
            return
        if len(self.known) >= KNOWN_LIMIT:
            self.known = {wire.SERVER_PING: []}
        self.known[data] = messages

    def odd(self, verdict: str) -> None:
        """A number that was not the next one."""
        if verdict == "reordered":
            self.tally.reordered += 1
        elif verdict == "duplicated":
            self.tally.duplicated += 1

    def answered(self, due: int) -> None:
        """An RPC that was due then has its answer."""
        self.tally.answers += 1
        note(self.tally.rpc, self.now() - due)

    def put_off(self, phone: Phone, at: int) -> None:
        """The server cannot subscribe it just now: again in a moment, as SDKs do."""
        self.tally.retries += 1
        self.loop.call_later(RETRY_FIRST * (1 + random.random()), phone.subscribe_again, at, phone.due)  # noqa: S311

    def entered(self, phone: Phone) -> None:
        """The phone is signed in and subscribed."""
        self._release_code(phone)
        self.connected += 1
        self.tally.connects += 1
        note(self.tally.connect, self.now() - phone.due)
        if len(self._entered) < len(self.phones):
            self._entered.add(phone.number)
            if len(self._entered) == len(self.phones):
                self._all_in.set()
        if phone.began_back:
            phone.began_back = False
            self._one_back()

    def left(self, phone: Phone, before: int) -> None:
        """The socket is closed: by plan, by the server, or because an attempt failed."""
        self._release_code(phone)
        if before == IN:
            self.connected -= 1
        if self.ending or phone.planned:
            return
        if phone.slow and before == IN:
            self.tally.slow_closed += 1
            return
        why, phone.why = phone.why, ""
        if why != "again":
            self.tally.fail(why or ("closed" if before == IN else "closed while connecting"))
        self._retry(phone)

    def _retry(self, phone: Phone) -> None:
        delay = min(RETRY_LONGEST, RETRY_FIRST * 2 ** min(phone.tries, 6))
        phone.tries += 1
        self._open_in(phone, delay * (0.5 + random.random() / 2))  # noqa: S311

    def _one_back(self) -> None:
        self._coming_back -= 1
        if self._coming_back <= 0:
            self._back.set()

    def _release_code(self, phone: Phone) -> None:
        if phone.number in self._by_code:
            self._by_code.remove(phone.number)
            self._credentials.codes.release()

    # ------------------------------------------------------------------ opening
    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run beside; what is left is cancelled at the end."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _open_in(self, phone: Phone, delay: float) -> None:
        phone.due = self.now() + int(delay * 1e6)
        self.loop.call_later(delay, self._begin_open, phone)

    def _begin_open(self, phone: Phone) -> None:
        if not self.ending:
            self.spawn(self._open(phone))

    async def _open(self, phone: Phone) -> None:
        phone.planned = False
        async with self._opening:
            try:
                if not phone.token and self.plan.way == "sandbox":
                    await self._fetch_code(phone)
                self.tally.attempts += 1
                await self._socket(phone)
            except (NoCredentials, OSError, TimeoutError) as error:
                self._release_code(phone)
                self.tally.fail(_words(error))
                self._retry(phone)
                return
        self.loop.call_later(ENTER_PATIENCE, self._give_up, phone, phone.due)

    async def _fetch_code(self, phone: Phone) -> None:
        await self._credentials.codes.acquire()
        self._by_code.add(phone.number)
        self._codes[phone.number] = await self._credentials.code(phone.number)
        # Waiting for one's turn to sign in is this program's doing, not the server's.
        phone.due = self.now()

    async def _socket(self, phone: Phone) -> None:
        plan = self.plan
        tls: dict[str, Any] = {}
        if plan.tls:
            tls = {"ssl": self.context, "server_hostname": plan.authority.rpartition(":")[0].strip("[]")}
        async with asyncio.timeout(ENTER_PATIENCE):
            if not self._sources:
                await self.loop.create_connection(lambda: phone, plan.host, plan.port, **tls)
                return
            self._sources.rotate(1)
            sock = bound_to(self._sources[0])
            try:
                await self.loop.sock_connect(sock, (plan.host, plan.port))
            except BaseException:
                sock.close()
                raise
            await self.loop.create_connection(lambda: phone, sock=sock, **tls)

    def _give_up(self, phone: Phone, due: int) -> None:
        if phone.due == due and phone.state not in (IN, AWAY):
            phone.why = "no answer to connect"
            phone.transport.abort()

    async def connect_all(self) -> None:
        """Open every phone at its time; returns when all have been in once."""
        began = self.now()
        for number, phone in enumerate(self.phones):
            phone.due = began + int(number / self.plan.per_second * 1e6)
            ahead = (phone.due - self.now()) / 1e6
            if ahead > 0:
                await asyncio.sleep(ahead)
            self.spawn(self._open(phone))
        await self._all_in.wait()

    def personal(self) -> list[str]:
        """The channels that the server gave its users, one for each client."""
        return [name for phone in self.phones for name in phone.granted if "#" in name]

    # ------------------------------------------------------------------ what happens to them
    async def drop(self) -> int:
        """The storm: all at once. Returns when everybody is back, with µs of the clock."""
        storm = self.scenario.storm or scenarios.Storm()
        chosen = [phone for phone in self.phones if phone.state == IN and not phone.slow]
        chosen = chosen[: round(len(chosen) * storm.share)]
        self._back.clear()
        self._coming_back = len(chosen)
        for phone in chosen:
            phone.planned = phone.began_back = True
            phone.drop()
            self._open_in(phone, storm.within * random.random())  # noqa: S311
        if chosen:
            await self._back.wait()
        return self.now()

    async def churn(self) -> None:
        """Phones go to the background, one after the other, and come back."""
        churn = self.scenario.churn
        if churn is None or not churn.per_minute:
            return
        pause = 60 / (churn.per_minute * len(self.phones))
        early = int((pause + churn.away + 1) * 1e6)  # all are back before the end
        while self.now() + early < self.until:
            await asyncio.sleep(pause)
            phone = random.choice(self.phones)  # noqa: S311
            if phone.state == IN and not phone.slow and not phone.began_back:
                phone.planned = True
                phone.drop()
                self._open_in(phone, churn.away)

    async def call(self, calling: scenarios.Calling) -> None:
        """RPC calls on schedule, whether the answers come or not."""
        data = b'"%b"' % (b"x" * max(1, calling.size - 2))
        every = 1e6 / (calling.per_second * self.plan.share)
        began, sent = self.now(), 0
        while (now := self.now()) < self.until:
            while (due := began + int(sent * every)) <= now:
                phone = self.phones[sent % len(self.phones)]
                sent += 1
                if phone.state == IN:
                    self.tally.rpcs += 1
                    phone.call(calling.method, data, due)
            await asyncio.sleep(TICK)

    async def watch(self) -> None:
        """Ticks: how late this loop is, and which sockets have gone silent."""
        pause, sweep = 0.05, 0.0
        while True:
            began = time.monotonic()
            await asyncio.sleep(pause)
            self.tick = time.monotonic()
            note(self.tally.lag, int((self.tick - began - pause) * 1e6))
            if self.tick > sweep:
                sweep = self.tick + 5
                for phone in self.phones:
                    if phone.state == IN and not phone.slow and self.tick - phone.heard > SILENCE:
                        phone.why = f"silent for {SILENCE:.0f} s"
                        phone.transport.abort()

    # ------------------------------------------------------------------ the end
    async def finish(self, order: Order) -> None:
        """Wait for what is still on its way, as long as the scenario says; then count, and hang up."""
        deadline = time.monotonic() + self.scenario.settle
        for phone in self.phones:
            # A phone says nothing when it has all: that would be one more look at each message.
            while time.monotonic() < deadline and not self._complete(phone, order):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await self._let_slow_ones_read()
        self.ending = True
        for phone in self.phones:
            if not phone.slow:
                self.tally.lost += sum(
                    track.lost(order.published.get(name, 0), order.unsure.get(name, ()))
                    for name, track in phone.tracks.items()
                )
            unanswered = len(phone.calls or ())
            if unanswered:
                self.tally.fail("rpc: no answer", unanswered)
            if phone.state != AWAY:
                phone.transport.abort()
        for task in self._tasks:
            task.cancel()
        self._credentials.close()
        await asyncio.sleep(0)

    async def _let_slow_ones_read(self) -> None:
        """Who was closed finds out only by reading."""
        slow = [phone for phone in self.phones if phone.slow and phone.state == IN]
        for phone in slow:
            phone.transport.resume_reading()
        if slow:
            await asyncio.sleep(1)

    @staticmethod
    def _complete(phone: Phone, order: Order) -> bool:
        if phone.slow:
            return True
        return not phone.calls and all(
            track.complete(order.published.get(name, 0)) for name, track in phone.tracks.items()
        )


def _words(error: Exception) -> str:
    if isinstance(error, NoCredentials):
        return str(error)
    if isinstance(error, TimeoutError):
        return "connect: no answer"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or 'failed'}"
    return f"connect: {type(error).__name__}"
