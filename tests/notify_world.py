"""Notifiers of several nodes around one store, with the stand-in WeChat over HTTP and one clock for all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import FastAPI

from gateway.channels import Channels
from gateway.config import load
from gateway.hub import Hub
from gateway.inbox.base import Bounds
from gateway.inbox.service import Inbox
from gateway.inbox.tally import Tally
from gateway.metrics import Metrics
from gateway.notify.base import Job, NotifyStore
from gateway.notify.ledger import Ledger
from gateway.notify.memory import MemoryNotifyStore
from gateway.notify.redis import RedisNotifyStore
from gateway.notify.service import Notification, Notifier
from gateway.protocol import Publication, raw
from gateway.wechat.access_token import AccessTokenKeeper, MemoryTokenStorage
from gateway.wechat.api import App
from gateway.wechat.calls import WeChatCalls
from gateway.wechat.open_api import OpenAPI
from gateway.wechat.sandbox import Login, Sandbox, sandbox_router
from gateway.wechat.sandbox_subscribe import Asked, Message
from tests.inbox_worlds import Clock, World, inbox_world
from tests.servers import serve_app
from tests.timing import MS

APP = "wx0000000000000001"
SECRET = "the-app-secret-of-the-tests"
TEMPLATE = "tmpl-order-paid"
BOUNDS = Bounds(messages=100, size=100_000, kept=86_400.0)


@dataclass
class Nodes:
    """Everything around the notifiers; `metrics` are of all of them together."""

    world: World
    sandbox: Sandbox
    http: httpx.AsyncClient
    base: str
    store: NotifyStore
    inboxes: list[Inbox] = field(default_factory=list)
    notifiers: list[Notifier] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    metrics: Metrics = field(default_factory=Metrics)

    @property
    def clock(self) -> Clock:
        return self.world.clock

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.world.store, "#{}".format)

    # ------------------------------------------------------------------ what phones do
    def openid(self, user: str = "alice") -> str:
        """A user who has been in the mini-program."""
        self.sandbox.login(Login(user=user))
        return self.sandbox.person(APP, user)[1].openid

    async def accept(self, user: str = "alice", times: int = 1, report: bool = True) -> None:
        """The user allows messages, and the phone reports it."""
        openid = self.openid(user)
        for _ in range(times):
            self.sandbox.subscribe.answer(Asked(user=user, template_id=TEMPLATE))
            if report:
                await self.ledger.report(openid, {TEMPLATE: "accept"})

    def messages(self, user: str = "") -> list[Message]:
        return self.sandbox.subscribe.messages(user)

    # ------------------------------------------------------------------ what the backend does
    async def notify(self, user: str = "alice", node: int = 0, after: float = 10.0, **more: Any) -> str:
        job = Job(appid="", template_id=TEMPLATE, **{"data": {"thing1": "tea"}, **more.pop("job", {})})
        publication = Publication(raw({"order": 17}))
        wanted = Notification(self.openid(user), publication, job, after, **more)
        return await self.notifiers[node].notify(wanted)

    async def status(self, delivery: str) -> tuple[str, str]:
        """What became of the subscribe message, and why."""
        found = await self.inboxes[0].delivery(delivery)
        return found.fallback, found.reason

    async def ack(self, delivery: str, node: int = 0) -> list[str]:
        return await self.inboxes[node].acknowledge(delivery.partition(".")[2], [delivery])

    async def after(self, seconds: float) -> None:
        """Time passes, and every node looks."""
        self.clock.now += seconds
        await asyncio.gather(*(each.look() for each in self.notifiers))

    async def funnel(self) -> dict[str, int]:
        for notifier in self.notifiers:
            await notifier._flush()
        found: dict[str, int] = {}
        for _, counts in await self.notifiers[0].funnel(3):
            for name, number in counts.items():
                found[name] = found.get(name, 0) + number
        return found

    # ------------------------------------------------------------------ nodes
    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def add_node(self, base: str = "", timeout: float = 1_000 * MS, **notify: Any) -> None:
        """One more node; `base`: where it thinks that WeChat is."""
        settings = load(None, {}, {"notify": notify})
        calls = WeChatCalls(App(APP, SECRET, base or self.base), timeout, self.http)
        apis = {APP: OpenAPI(calls, AccessTokenKeeper(calls, MemoryTokenStorage(self.clock), self.clock))}
        inbox = Inbox(
            settings.inbox,
            Channels(settings),
            Hub(),
            self.world.store,
            Tally(self.world.totals, 10**9, self.clock),
            self.metrics,
            spawn=self.spawn,
            wall=self.clock,
        )
        notifier = Notifier(
            settings.notify,
            inbox,
            self.store,
            lambda: apis,
            self.metrics,
            channel_of="#{}".format,
            wall=self.clock,
        )
        inbox.observer = notifier
        self.inboxes.append(inbox)
        self.notifiers.append(notifier)


@contextlib.asynccontextmanager
async def nodes_in(name: str, count: int = 2, **notify: Any) -> AsyncIterator[Nodes]:
    """Nodes around one of `inbox_worlds.STORES`."""
    async with inbox_world(name, BOUNDS) as world, httpx.AsyncClient(trust_env=False) as http:
        sandbox = Sandbox({APP: SECRET}, now=world.clock)
        app = FastAPI()
        app.include_router(sandbox_router(sandbox), prefix="/sandbox")
        store: NotifyStore = MemoryNotifyStore(world.clock)
        if name != "memory":
            store = RedisNotifyStore(world.broker.topology)  # type: ignore[union-attr]
        async with serve_app(app) as base:
            nodes = Nodes(world, sandbox, http, f"{base}/sandbox", store)
            for _ in range(count):
                nodes.add_node(**notify)
            yield nodes
            await asyncio.gather(*nodes.tasks)
