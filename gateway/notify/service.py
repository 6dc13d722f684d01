"""Notifications: a letter into the inbox, and where nobody acknowledges it in time, one subscribe message.

Of each notification exactly one of these becomes true: a device acknowledged it in time, the message was
sent, it was refused, or nobody knows whether it was sent, because the answer of WeChat was lost. The
user's inbox decides it in one step, so two nodes never send the same message, and an acknowledgement that
comes while one is being sent is late.

Every node looks each second for what is due. What a node has taken is leased to it: if it dies before it
began to send, another one takes over after the lease; if it dies while it sends, nobody sends it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from gateway.config.inbox import Notify as NotifySettings
from gateway.errors import (
    ERROR_BAD_REQUEST,
    ERROR_TOO_MANY_REQUESTS,
    ERROR_UNKNOWN_APPID,
    ClientError,
    UpstreamError,
)
from gateway.inbox.base import Grant
from gateway.inbox.records import Fallback, Record, make_id, split_id, word_of_key
from gateway.inbox.service import Inbox
from gateway.metrics import Metrics
from gateway.notify.base import Job, NotifyStore
from gateway.protocol import Publication
from gateway.wechat.open_api import OpenAPI
from gateway.wechat.subscribe_message import Sent, send

TICK: Final = 1.0
"""Seconds between two looks for what is due."""
FAREWELL: Final = 5.0
"""Seconds that a node which leaves waits for what it is sending."""
LEASE: Final = 30.0
"""Seconds after which another node looks at what this one has taken."""
PATIENCE: Final = 90.0
"""Seconds after which a node that was sending is given up: longer than any call of WeChat takes."""
BATCH: Final = 32
"""Notifications taken at a time."""
CALLS: Final = 8
"""Messages that one node sends at a time."""
ATTEMPTS: Final = 5
"""Attempts to send one message, where the ones before surely sent nothing."""
BACKOFF: Final = 5.0
"""Seconds before the second attempt, doubled before each other."""
BEIJING: Final = 8 * 3600
"""Seconds that WeChat's day begins before UTC's."""
DAY: Final = 86_400

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Notification:
    """What the team's backend asks for. `after`: seconds; `ttl`: of the letter, 0 is as configured.

    An empty `job.appid` is the only mini-program that is configured.
    """

    user: str
    publication: Publication
    job: Job
    after: float
    ttl: float = 0.0
    key: str = ""


class Notifier:
    """See the module.

    Arguments:
        apis: the mini-programs by appid, as they are configured now.
        wall: unix seconds.
    """

    def __init__(
        self,
        settings: NotifySettings,
        inbox: Inbox,
        store: NotifyStore,
        apis: Callable[[], Mapping[str, OpenAPI]],
        metrics: Metrics,
        *,
        channel_of: Callable[[str], str],
        wall: Callable[[], float] = time.time,
        lease: float = LEASE,
        backoff: float = BACKOFF,
    ) -> None:
        self._settings = settings
        self._inbox = inbox
        self.store = store
        self._apis = apis
        self._metrics = metrics
        self._channel_of = channel_of
        self._wall = wall
        self._lease = lease
        self._backoff = backoff
        self._counts: dict[tuple[int, str], int] = {}
        self._settled: list[str] = []
        self._calls = asyncio.Semaphore(CALLS)
        self._leaving = asyncio.Event()
        self._timer: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------ life
    def start(self) -> None:
        """Begin to look for what is due."""
        self._timer = asyncio.create_task(self._look_forever(), name="notify")

    async def close(self) -> None:
        """Stop looking. What is being sent has a moment to end; after that nobody knows if it was sent."""
        self._leaving.set()
        if self._timer is not None:
            await asyncio.wait({self._timer}, timeout=FAREWELL)
            self._timer.cancel()
            await asyncio.gather(self._timer, return_exceptions=True)
        try:
            await self._flush()
        except UpstreamError as error:
            log.info("the last counts of notifications were not kept", problem=error.detail)

    async def _look_forever(self) -> None:
        while not self._leaving.is_set():
            try:
                while await self.look() >= BATCH and not self._leaving.is_set():
                    pass
                await self._flush()
            except UpstreamError as error:
                log.warning("nobody looks after notifications just now", problem=error.detail)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self._leaving.wait()

    # ------------------------------------------------------------------ what the backend asks
    async def notify(self, wanted: Notification) -> str:
        """The id of the delivery.

        Raises:
            ClientError: 107 for what makes no sense, 403 for an unknown appid, 106 where the user's inbox is
                full, 111 where too much waits.
            UpstreamError: it is unknown whether it took effect; with a key it may be repeated.
        """
        channel = self._channel_of(wanted.user)
        self._inbox.owner(channel)
        job = msgspec.structs.replace(wanted.job, appid=self._appid(wanted.job.appid))
        if wanted.after > self._inbox.ttl(wanted.ttl):
            raise ClientError(ERROR_BAD_REQUEST, "fallback.after is longer than the letter is kept")
        word = word_of_key(channel, f"notify {wanted.key}") if wanted.key else secrets.token_urlsafe(12)
        delivery = make_id(word, wanted.user)
        due = round((self._wall() + wanted.after) * 1000)
        # First the look, then the letter: whoever dies between the two leaves a look that finds nothing.
        scheduled = await self.store.schedule(
            delivery, due, msgspec.json.encode(job), self._settings.max_scheduled
        )
        if scheduled == "full":
            raise ClientError(ERROR_TOO_MANY_REQUESTS, "too many notifications wait: notify.max_scheduled")
        try:
            fresh = await self._inbox.post(channel, wanted.publication, word, ttl=wanted.ttl, fallback="w")
        except ClientError:
            if scheduled == "scheduled":
                await self.store.drop([delivery])
            raise
        if fresh:
            self._count("notified")
        return delivery

    def _appid(self, appid: str) -> str:
        apis = self._apis()
        if not appid and len(apis) == 1:
            return next(iter(apis))
        if appid not in apis:
            raise ClientError(ERROR_UNKNOWN_APPID, "appid is no configured mini-program")
        return appid

    async def funnel(self, days: int) -> list[tuple[int, dict[str, int]]]:
        """The counts of the last `days` days of WeChat's calendar, the newest first, each with its number."""
        await self._flush()
        today = self._today()
        numbers = [today - back for back in range(days)]
        return list(zip(numbers, await self.store.counts(numbers), strict=True))

    # ------------------------------------------------------------------ what the inbox tells
    def delivered(self, letters: Mapping[str, Record]) -> None:
        """See `gateway.inbox.service.Observer`."""
        for _ in letters:
            self._count("delivered")

    def acknowledged(self, letters: Mapping[str, Record]) -> None:
        """See `gateway.inbox.service.Observer`."""
        for delivery, record in letters.items():
            if record.fallback == "w":
                self._count("acknowledged")
                self._settled.append(delivery)
            elif record.fallback != "s":  # else whoever sends it will see
                self._count("late")

    # ------------------------------------------------------------------ what is due
    async def look(self) -> int:
        """Take what is due and see to it; how many there were."""
        taken = await self.store.take(round(self._wall() * 1000), round(self._lease * 1000), BATCH)
        outcomes = await asyncio.gather(
            *(self._see_to(delivery, job) for delivery, job in taken), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, UpstreamError):
                log.info("a notification waits for its next look", problem=outcome.detail)
            elif isinstance(outcome, BaseException):
                raise outcome
        return len(taken)

    async def _see_to(self, delivery: str, encoded: bytes) -> None:
        job = msgspec.json.decode(encoded, type=Job)
        word, user = split_id(delivery)
        channel, sender = self._channel_of(user), secrets.token_hex(8)
        async with self._calls:
            what, record = await self._inbox.store.claim(
                channel,
                word,
                job.template_id,
                strict=self._settings.require_grant,
                patience=PATIENCE,
                sender=sender,
            )
            if what == "busy":
                return
            if what == "send" and record is not None:
                await self._send(delivery, channel, word, user, job, record)
                return
        if what == "decided" and record is not None:
            self._count("uncertain" if record.fallback == "u" else record.reason)
        elif what == "gone":
            self._count("lost")
        await self.store.drop([delivery])

    async def _send(
        self, delivery: str, channel: str, word: str, user: str, job: Job, record: Record
    ) -> None:
        sent = await self._ask(user, job)
        fallback: Fallback = "f"
        if sent.what == "again":
            fallback = "w" if record.attempts < ATTEMPTS else "r"
        elif sent.what != "sent":
            fallback = "u" if sent.what == "uncertain" else "r"
        grant: Grant = "spent" if fallback in ("f", "u") else "none" if sent.reason == "rejected" else "back"
        settled = await self._inbox.store.settle(channel, word, job.template_id, fallback, sent.reason, grant)
        if settled is None:
            await self.store.drop([delivery])
        elif settled.fallback == "w":
            self._count("again")
            pause = self._backoff * 2 ** (record.attempts - 1)
            await self.store.move(delivery, round((self._wall() + pause) * 1000))
        else:
            self._count_outcome(settled)
            await self.store.drop([delivery])

    def _count_outcome(self, record: Record) -> None:
        names: dict[str, str] = {"a": "acknowledged", "f": "sent", "u": "uncertain"}
        self._count(names.get(record.fallback, record.reason))
        if record.fallback != "a" and record.state == "a":
            self._count("late")

    async def _ask(self, user: str, job: Job) -> Sent:
        api = self._apis().get(job.appid)
        if api is None:
            return Sent("refused", "setup")
        if await self.store.stopped(job.appid):
            return Sent("refused", "quota")
        sent = await send(api, job.message(user))
        if sent.reason == "quota":
            await self.store.stop(job.appid, self._until_midnight())
        return sent

    # ------------------------------------------------------------------ counting
    def _today(self) -> int:
        """The day of WeChat's calendar."""
        return int((self._wall() + BEIJING) // DAY)

    def _until_midnight(self) -> float:
        return DAY - (self._wall() + BEIJING) % DAY

    def _count(self, name: str) -> None:
        self._metrics.notification(name)
        place = self._today(), name
        self._counts[place] = self._counts.get(place, 0) + 1

    async def _flush(self) -> None:
        """Tell the store what was counted and what was acknowledged in the last second."""
        settled, self._settled = self._settled, []
        if settled:
            await self.store.drop(settled)
        while self._counts:
            day = min(day for day, _ in self._counts)
            names = {name: number for (each, name), number in self._counts.items() if each == day}
            for name in names:
                del self._counts[day, name]
            await self.store.count(day, names)
