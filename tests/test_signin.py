"""Sign-in: one code reaches WeChat once, whoever sends it, however often, and whoever gives up."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from gateway.auth.sessions import MemorySessionStore, SessionKeyCipher
from gateway.auth.signin import CODE_LIFETIME, MemoryCodeClaims, SignedIn, SignIn
from gateway.errors import (
    ERROR_BAD_REQUEST,
    ERROR_TOO_MANY_REQUESTS,
    ERROR_UNKNOWN_APPID,
    ERROR_WECHAT_BUSY,
    ERROR_WECHAT_USER_BLOCKED,
    ClientError,
)
from gateway.upstream.breaker import Breaker
from gateway.wechat.api import App, WeChatAPI, WeChatError
from gateway.wechat.errcodes import CODE_REFUSED
from gateway.wechat.sandbox import Fault, Login, Sandbox, sandbox_router
from tests.servers import serve_app
from tests.timing import MS

APPS = {"wx0000000000000001": "secret-one", "wx0000000000000002": "secret-two"}
APP, OTHER_APP = APPS
IP = "203.0.113.7"


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class World:
    """Sign-in on top of a sandbox that is reached over HTTP."""

    def __init__(
        self, http: httpx.AsyncClient, base_url: str, apps: list[str], limits: dict[str, int]
    ) -> None:
        self.clock = Clock()
        self.base_url = base_url
        self.store = MemorySessionStore(SessionKeyCipher.random(), ttl=3600, now=self.clock)
        self.claims = MemoryCodeClaims(now=self.clock)
        self.apis = {appid: self.api(appid, f"{base_url}/sandbox", http) for appid in apps}
        self.limits: dict[str, Any] = {"max_sign_ins": 100, "max_sign_ins_per_ip": 100, **limits}
        self.signin = SignIn(self.apis, self.store, self.claims, **self.limits)
        self.sandbox: Sandbox

    def api(self, appid: str, base: str, http: httpx.AsyncClient) -> WeChatAPI:
        app = App(appid, APPS[appid], base)
        return WeChatAPI(app, 5000 * MS, http, breaker=Breaker(2, 3), now=self.clock)

    def code(self, user: str = "alice", appid: str = APP) -> str:
        return self.sandbox.login(Login(user=user, appid=appid))

    def slow(self, times: int = 1, ms: int = 100) -> None:
        self.sandbox.order(Fault(kind="slow", times=times, seconds=ms * MS))

    def start(self, code: str, ip: str = IP) -> asyncio.Task[SignedIn]:
        return asyncio.create_task(self.signin.by_code(code, None, ip))

    async def refused(self, code: object, appid: str | None = None, ip: str = IP) -> ClientError:
        with pytest.raises(ClientError) as caught:
            await self.signin.by_code(code, appid, ip)
        return caught.value

    @property
    def calls(self) -> int:
        return self.sandbox.stats().calls


@contextlib.asynccontextmanager
async def signing_in(*apps: str, **limits: int) -> AsyncIterator[World]:
    clock = Clock()
    sandbox = Sandbox(APPS, now=clock)
    app = FastAPI()
    app.include_router(sandbox_router(sandbox), prefix="/sandbox")
    async with serve_app(app) as base_url, httpx.AsyncClient() as http:
        world = World(http, base_url, list(apps) or [APP], limits)
        world.sandbox = sandbox
        yield world
        await world.signin.close()
        assert world.signin.in_flight == 0


async def test_a_code_becomes_a_session_with_one_call() -> None:
    async with signing_in() as world:
        signed_in = await world.signin.by_code(world.code(), None, IP)
        session = signed_in.session
        assert session.user.startswith("o")
        assert (session.appid, world.calls) == (APP, 1)
        assert session.unionid is not None
        assert await world.signin.by_token(signed_in.token) == session
        assert await world.store.session_key(APP, session.user) is not None


async def test_a_token_resumes_without_a_call() -> None:
    async with signing_in() as world:
        signed_in = await world.signin.by_code(world.code(), None, IP)
        for _ in range(5):
            assert await world.signin.by_token(signed_in.token) is not None
        assert world.calls == 1


@pytest.mark.parametrize("token", ["", "x" * 43, "x" * 42, "a.b.c", "密" * 43, "\ud800" * 43, "x" * 100_000])
async def test_anything_else_is_no_session(token: str) -> None:
    async with signing_in() as world:
        assert await world.signin.by_token(token) is None


async def test_a_code_sent_by_many_sockets_at_once_is_exchanged_once_and_all_get_the_same_session() -> None:
    async with signing_in(max_sign_ins=1, max_sign_ins_per_ip=1) as world:
        world.slow()
        code = world.code()
        results = await asyncio.gather(*(world.start(code, f"ip{number}") for number in range(50)))
        assert world.calls == 1
        assert len({result.token for result in results}) == 1
        assert len({result.session for result in results}) == 1
        assert len(world.store) == 1


async def test_a_failure_is_shared_too() -> None:
    async with signing_in() as world:
        world.sandbox.order(Fault(kind="blocked"))
        code = world.code()
        results = await asyncio.gather(*(world.start(code) for _ in range(10)), return_exceptions=True)
        errors = {result.error for result in results if isinstance(result, WeChatError)}
        assert (errors, len(results), world.calls) == ({ERROR_WECHAT_USER_BLOCKED}, 10, 1)


async def test_a_late_duplicate_is_told_to_fetch_a_new_code_and_gets_no_second_session() -> None:
    async with signing_in() as world:
        code = world.code()
        await world.signin.by_code(code, None, IP)
        assert (await world.refused(code)).outcome == CODE_REFUSED
        assert (world.calls, len(world.store)) == (1, 1)


@pytest.mark.parametrize("kind", ["busy", "quota", "blocked", "html"])
async def test_after_a_failure_the_same_code_is_not_sent_again(kind: Any) -> None:
    async with signing_in() as world:
        world.sandbox.order(Fault(kind=kind))
        code = world.code()
        with pytest.raises(WeChatError):
            await world.signin.by_code(code, None, IP)
        assert (await world.refused(code)).outcome == CODE_REFUSED
        assert world.calls == 1


async def test_a_refused_code_is_error_109() -> None:
    async with signing_in() as world:
        with pytest.raises(WeChatError) as caught:
            await world.signin.by_code("garbage", None, IP)
        assert caught.value.error == CODE_REFUSED


async def test_a_code_that_did_not_reach_wechat_may_come_again() -> None:
    async with signing_in() as world:
        world.sandbox.order(Fault(kind="bad_gateway", times=2))
        for _ in range(2):
            with pytest.raises(WeChatError):
                await world.signin.by_code(world.code(), None, IP)
        code = world.code()
        with pytest.raises(WeChatError) as caught:
            await world.signin.by_code(code, None, IP)
        assert (caught.value.outcome, caught.value.error) == ("breaker_open", ERROR_WECHAT_BUSY)
        assert world.calls == 2
        world.clock.now += 3
        assert (await world.signin.by_code(code, None, IP)).session.appid == APP


async def test_a_caller_that_gives_up_leaves_the_exchange_to_the_others() -> None:
    async with signing_in() as world:
        world.slow()
        code = world.code()
        first, second = world.start(code), world.start(code)
        await asyncio.sleep(30 * MS)
        first.cancel()
        assert (await second).session.appid == APP
        assert first.cancelled()
        assert world.calls == 1


async def test_an_exchange_whose_callers_all_gave_up_still_ends_and_frees_its_place() -> None:
    async with signing_in(max_sign_ins=1) as world:
        world.slow()
        code = world.code()
        task = world.start(code)
        await asyncio.sleep(30 * MS)
        task.cancel()
        await asyncio.sleep(0)
        assert world.signin.in_flight == 1
        assert (await world.refused(world.code("bob"))).outcome == ERROR_TOO_MANY_REQUESTS
        while world.signin.in_flight:
            await asyncio.sleep(MS)
        assert (await world.refused(code)).outcome == CODE_REFUSED
        await world.signin.by_code(world.code("bob"), None, IP)


async def test_a_failed_exchange_whose_callers_all_gave_up_is_quiet() -> None:
    """An exception nobody fetched would be logged by the loop, and fail this test."""
    unraised: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unraised.append(context))
    async with signing_in() as world:
        world.sandbox.order(Fault(kind="silence", seconds=50 * MS))
        task = world.start(world.code())
        await asyncio.sleep(20 * MS)
        task.cancel()
        while world.signin.in_flight:
            await asyncio.sleep(MS)
    del task
    gc.collect()
    assert unraised == []


async def test_sign_ins_in_flight_are_limited() -> None:
    async with signing_in(max_sign_ins=2) as world:
        world.slow(times=2)
        running = [world.start(world.code(user), f"ip-{user}") for user in ("alice", "bob")]
        await asyncio.sleep(30 * MS)
        carol = world.code("carol")
        assert (await world.refused(carol)).outcome == ERROR_TOO_MANY_REQUESTS
        await asyncio.gather(*running)
        assert (await world.signin.by_code(carol, None, IP)).session.appid == APP, "the code was not spent"


async def test_sign_ins_in_flight_are_limited_per_address() -> None:
    async with signing_in(max_sign_ins_per_ip=1) as world:
        world.slow(times=2)
        running = [world.start(world.code(), "one"), world.start(world.code(), "two")]
        await asyncio.sleep(30 * MS)
        assert (await world.refused(world.code(), ip="one")).outcome == ERROR_TOO_MANY_REQUESTS
        await asyncio.gather(*running)
        await world.signin.by_code(world.code(), None, "one")
        assert not world.signin._per_ip, "addresses are forgotten"


async def test_the_appid_may_be_left_out_where_there_is_one_app() -> None:
    async with signing_in() as world:
        for appid in (None, "", APP):
            assert (await world.signin.by_code(world.code(), appid, IP)).session.appid == APP


async def test_the_appid_is_needed_where_there_are_two() -> None:
    async with signing_in(APP, OTHER_APP) as world:
        error = await world.refused(world.code())
        assert error.outcome == ERROR_BAD_REQUEST
        assert "appid" in error.detail
        code = world.code(appid=OTHER_APP)
        assert (await world.signin.by_code(code, OTHER_APP, IP)).session.appid == OTHER_APP


async def test_an_unknown_appid_is_refused_without_a_call() -> None:
    async with signing_in() as world:
        assert (await world.refused(world.code(), "wxUnknown")).outcome == ERROR_UNKNOWN_APPID
        assert world.calls == 0


@pytest.mark.parametrize(
    "code", ["", "x" * 257, "a\tb", "a\nb", "a\0", "密码", "\ud800", None, 7, b"code", ["code"], {"a": 1}]
)
async def test_what_cannot_be_a_code_is_refused_without_a_call(code: object) -> None:
    async with signing_in() as world:
        assert (await world.refused(code)).outcome == ERROR_BAD_REQUEST
        assert world.calls == 0


async def test_the_same_code_for_two_apps_is_two_codes() -> None:
    async with signing_in(APP, OTHER_APP) as world:
        code = world.code(appid=OTHER_APP)
        with pytest.raises(WeChatError):
            await world.signin.by_code(code, APP, IP)
        assert (await world.signin.by_code(code, OTHER_APP, IP)).session.appid == OTHER_APP


async def test_a_newer_login_replaces_the_session_key() -> None:
    async with signing_in() as world:
        first = await world.signin.by_code(world.code(), None, IP)
        old = await world.store.session_key(APP, first.session.user)
        given = Login(user="alice", session_key="HyVFkGl5F5OQWJZZaNzBBg==")
        second = await world.signin.by_code(world.sandbox.login(given), None, IP)
        assert second.session.user == first.session.user
        assert await world.store.session_key(APP, first.session.user) == given.session_key != old


async def test_workers_that_share_their_claims_exchange_a_code_once() -> None:
    async with signing_in() as world:
        other = SignIn(world.apis, world.store, world.claims, **world.limits)
        code = world.code()
        results = await asyncio.gather(
            world.signin.by_code(code, None, IP), other.by_code(code, None, IP), return_exceptions=True
        )
        refused = [result for result in results if isinstance(result, ClientError)]
        assert [error.outcome for error in refused] == [CODE_REFUSED]
        assert world.calls == 1


async def test_close_cancels_what_is_in_flight() -> None:
    async with signing_in() as world:
        world.slow(ms=1000)
        task = world.start(world.code())
        await asyncio.sleep(30 * MS)
        await world.signin.close()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_nothing_shown_holds_the_token() -> None:
    async with signing_in() as world:
        signed_in = await world.signin.by_code(world.code(), None, IP)
        assert signed_in.token not in repr(signed_in) + repr(world.store)


# The claims on codes


async def test_a_claim_is_the_first_callers_until_it_expires() -> None:
    clock = Clock()
    claims = MemoryCodeClaims(now=clock)
    assert await claims.claim("a")
    clock.now += CODE_LIFETIME - 1
    assert not await claims.claim("a")
    clock.now += 1
    assert await claims.claim("a")


async def test_a_released_claim_is_free_again() -> None:
    claims = MemoryCodeClaims(now=Clock())
    await claims.claim("a")
    await claims.release("a")
    await claims.release("never claimed")
    assert await claims.claim("a")


async def test_claims_are_bounded_and_expired_ones_leave() -> None:
    clock = Clock()
    claims = MemoryCodeClaims(now=clock, limit=3)
    for key in "abcd":
        await claims.claim(key)
    assert len(claims) == 3
    assert await claims.claim("a"), "the oldest was forgotten"
    clock.now += CODE_LIFETIME
    await claims.claim("e")
    assert len(claims) == 1
