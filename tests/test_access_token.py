"""The access token: one for all, renewed before its end, replaced when WeChat refuses it, shown to nobody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

from gateway.upstream.breaker import Breaker
from gateway.wechat.access_token import (
    EXPIRY_MARGIN,
    FORCE_INTERVAL,
    RENEW_EARLY,
    AccessToken,
    AccessTokenKeeper,
    MemoryTokenStorage,
)
from gateway.wechat.api import App, WeChatError
from gateway.wechat.calls import WeChatCalls
from gateway.wechat.sandbox import Fault, Sandbox, sandbox_router
from tests.servers import http_answer, serve_app, serve_raw
from tests.timing import MS, until
from tests.wechat_calls import APPID, SECRET, Clock, answering


@dataclass
class World:
    """The stand-in WeChat, and nodes that share a storage."""

    base_url: str
    http: httpx.AsyncClient
    clock: Clock = field(default_factory=Clock)
    sandbox: Sandbox | None = None
    keepers: list[AccessTokenKeeper] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.storage = MemoryTokenStorage(self.clock)

    def node(self, timeout: float = 2000 * MS) -> AccessTokenKeeper:
        app = App(APPID, SECRET, self.base_url)
        calls = WeChatCalls(app, timeout, self.http, breaker=Breaker(50, 3), now=self.clock)
        keeper = AccessTokenKeeper(calls, self.storage, self.clock)
        self.keepers.append(keeper)
        return keeper

    @property
    def asked(self) -> int:
        assert self.sandbox is not None
        return self.sandbox.stats().apis.get("stable_token", 0)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = Clock()
    sandbox = Sandbox({APPID: SECRET}, now=clock)
    app = FastAPI()
    app.include_router(sandbox_router(sandbox), prefix="/sandbox")
    async with serve_app(app) as base_url, httpx.AsyncClient() as http:
        world = World(f"{base_url}/sandbox", http, clock, sandbox)
        yield world
        for keeper in world.keepers:
            await keeper.close()


@contextlib.asynccontextmanager
async def against(body: object) -> AsyncIterator[AccessTokenKeeper]:
    handler = http_answer(body) if isinstance(body, bytes) else answering(body)
    async with serve_raw(handler) as base_url, httpx.AsyncClient() as http:
        yield World(base_url, http).node()


async def test_one_flight_for_all_who_ask_at_once(world: World) -> None:
    keeper = world.node()
    tokens = await asyncio.gather(*(keeper.get() for _ in range(50)))
    assert len(set(tokens)) == 1
    assert world.asked == 1
    assert await keeper.get() == tokens[0]
    assert world.asked == 1


async def test_nodes_share_it(world: World) -> None:
    first, second = world.node(), world.node()
    assert await first.get() == await second.get()
    assert world.asked == 1


async def test_it_is_renewed_early_while_nobody_waits(world: World) -> None:
    keeper = world.node()
    old = await keeper.get()
    world.clock.now += 7200 - RENEW_EARLY - 1
    assert await keeper.get() == old
    assert world.asked == 1
    world.clock.now += 2
    assert world.sandbox is not None
    world.sandbox.order(Fault(kind="slow", api="stable_token", seconds=50 * MS))
    assert await asyncio.wait_for(keeper.get(), 40 * MS) == old, "the old one is good for five minutes more"
    await until(lambda: keeper._task is None)
    assert await keeper.get() != old
    assert world.asked == 2


async def test_a_failed_renewal_harms_nobody_and_is_not_repeated_at_once(world: World) -> None:
    keeper = world.node()
    old = await keeper.get()
    world.clock.now += 7200 - RENEW_EARLY + 1
    assert world.sandbox is not None
    world.sandbox.order(Fault(kind="busy", api="stable_token"))
    with capture_logs() as logs:
        for _ in range(20):
            assert await keeper.get() == old
            await asyncio.sleep(2 * MS)
        await until(lambda: keeper._task is None)
    assert world.asked == 2
    assert [line["event"] for line in logs] == ["no new access token"]
    world.clock.now += RENEW_EARLY - 1 - EXPIRY_MARGIN
    assert await keeper.get() != old


async def test_a_failure_is_everybodys_and_the_next_call_tries_again(world: World) -> None:
    keeper = world.node()
    assert world.sandbox is not None
    world.sandbox.order(Fault(kind="busy", api="stable_token"))
    results = await asyncio.gather(*(keeper.get() for _ in range(10)), return_exceptions=True)
    assert all(isinstance(result, WeChatError) for result in results)
    assert world.asked == 1
    await keeper.get()


async def test_one_caller_that_leaves_takes_nobody_along(world: World) -> None:
    keeper = world.node()
    assert world.sandbox is not None
    world.sandbox.order(Fault(kind="slow", api="stable_token", seconds=50 * MS))
    leaving, staying = asyncio.create_task(keeper.get()), asyncio.create_task(keeper.get())
    await asyncio.sleep(10 * MS)
    leaving.cancel()
    assert await staying


async def test_a_refused_token_is_replaced_once_for_all(world: World) -> None:
    keeper = world.node()
    old = await keeper.get()
    assert world.sandbox is not None
    world.sandbox.open.void_tokens()
    tokens = await asyncio.gather(*(keeper.replace(old) for _ in range(20)))
    assert len(set(tokens)) == 1
    assert old not in tokens
    assert world.asked == 2
    assert await keeper.replace(old) == tokens[0]
    assert world.asked == 2


async def test_another_node_takes_the_one_that_was_replaced(world: World) -> None:
    first, second = world.node(), world.node()
    old = await first.get()
    assert await second.get() == old
    assert world.sandbox is not None
    world.sandbox.open.void_tokens()
    fresh = await first.replace(old)
    assert await second.replace(old) == fresh
    assert world.asked == 2


async def test_a_token_that_wechat_insists_on_is_forced_by_one_node_in_thirty_seconds(world: World) -> None:
    first, second = world.node(), world.node()
    old = await first.get()
    with capture_logs() as logs:
        fresh = await first.replace(old)
        assert fresh != old, "WeChat gave the same again, so a new one was forced"
        assert world.asked == 3
        # Refused again at once: no second force, WeChat would do nothing anyway.
        await world.storage.save(APPID, AccessToken(fresh, 0.0))
        assert await second.replace(fresh) == fresh
        world.clock.now += FORCE_INTERVAL
        assert await second.replace(fresh) != fresh
    assert [line["log_level"] for line in logs] == ["warning", "warning"]
    assert not [token for token in (old, fresh, SECRET) if token in repr(logs)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        {"access_token": "x"},
        {"access_token": 7, "expires_in": 7200},
        {"access_token": "", "expires_in": 7200},
        {"access_token": "x" * 5000, "expires_in": 7200},
        {"access_token": "x", "expires_in": "7200"},
        {"access_token": "x", "expires_in": True},
        {"errcode": "40001"},
        {"errcode": 1.5},
    ],
)
async def test_garbage_is_an_error(body: object) -> None:
    async with against(body) as keeper:
        with pytest.raises(WeChatError) as caught:
            await keeper.get()
        assert caught.value.outcome == "garbage"


@pytest.mark.parametrize("errcode", [40001, 40013, 40125, 40164])
async def test_a_mistake_in_the_setup_is_told_to_the_operator_without_the_secret(errcode: int) -> None:
    async with against({"errcode": errcode, "errmsg": f"bad {SECRET}, rid: 1-2-3"}) as keeper:
        with capture_logs() as logs:
            for _ in range(3):
                with pytest.raises(WeChatError) as caught:
                    await keeper.get()
        assert caught.value.error.code == 402
        assert len(logs) == 1
        assert logs[0]["rid"] == "1-2-3"
        assert SECRET not in repr(logs) + repr(caught.value) + repr(vars(caught.value))


async def test_neither_keeper_nor_token_shows_itself(world: World) -> None:
    keeper = world.node()
    token = await keeper.get()
    stored = await world.storage.load(APPID)
    assert token not in repr(keeper) + repr(stored) + repr(vars(keeper))
