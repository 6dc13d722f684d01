"""Every answer of WeChat's, and every failure on the way, has one outcome; and nothing secret gets out."""

from __future__ import annotations

import asyncio
import json
from typing import Any, get_args

import httpx
import pytest
from structlog.testing import capture_logs

from gateway.errors import (
    ERROR_WECHAT_BUSY,
    ERROR_WECHAT_SETUP,
    ERROR_WECHAT_USER_BLOCKED,
    Error,
    UpstreamError,
)
from gateway.upstream.breaker import Breaker
from gateway.wechat.api import CodeSession, Outcome
from gateway.wechat.errcodes import CODE_REFUSED, MEANINGS
from gateway.wechat.sandbox import Fault, Login
from tests.servers import http_answer, serve_raw
from tests.timing import MS
from tests.wechat_calls import (
    APPID,
    CODE,
    GOOD,
    OPENID,
    RID,
    SECRET,
    TIMEOUT,
    Caller,
    answering,
    calling,
    calling_sandbox,
)


async def test_a_code_becomes_a_session_with_one_call() -> None:
    async with calling_sandbox() as (caller, sandbox):
        session = await caller.api.code_to_session(sandbox.login(Login(user="alice")))
        assert session.openid.startswith("o")
        assert session.session_key
        assert session.unionid
        assert sandbox.stats().calls == 1
        assert caller.outcomes == ["started", "ok"]


async def test_a_used_code_is_refused_with_its_rid() -> None:
    async with calling_sandbox() as (caller, sandbox):
        code = sandbox.login(Login(user="alice"))
        await caller.api.code_to_session(code)
        error = await caller.fail(code)
        assert (error.errcode, error.error, error.outcome) == (40163, CODE_REFUSED, "bad_code")
        assert error.rid is not None


@pytest.mark.parametrize(
    "body", [GOOD, {**GOOD, "errcode": 0}, {**GOOD, "errcode": 0, "errmsg": "ok", "unknown": [1]}]
)
@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "text/html"])
async def test_success_is_no_errcode_or_zero_and_an_openid(body: Any, content_type: str) -> None:
    async with calling(answering(body, content_type=content_type)) as caller:
        session = await caller.api.code_to_session(CODE)
        assert session == CodeSession(OPENID, GOOD["session_key"], None)


async def test_the_request_is_the_one_of_the_documentation() -> None:
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        body = json.dumps(GOOD).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()

    async with calling(handler) as caller:
        await caller.api.code_to_session("a&b=c d")
    url = httpx.URL("http://x" + seen[0].split()[1].decode())
    assert url.path == "/sns/jscode2session"
    assert dict(url.params) == {
        "appid": APPID,
        "secret": SECRET,
        "js_code": "a&b=c d",
        "grant_type": "authorization_code",
    }


@pytest.mark.parametrize(
    ("errcode", "error", "outcome"),
    [
        (40029, CODE_REFUSED, "bad_code"),
        (40163, CODE_REFUSED, "bad_code"),
        (41008, CODE_REFUSED, "bad_code"),
        (45011, ERROR_WECHAT_BUSY, "quota"),
        (-1, ERROR_WECHAT_BUSY, "busy"),
        (40226, ERROR_WECHAT_USER_BLOCKED, "blocked"),
        (50002, ERROR_WECHAT_USER_BLOCKED, "blocked"),
        (40013, ERROR_WECHAT_SETUP, "setup"),
        (40125, ERROR_WECHAT_SETUP, "setup"),
        (41002, ERROR_WECHAT_SETUP, "setup"),
        (41004, ERROR_WECHAT_SETUP, "setup"),
        (40164, ERROR_WECHAT_SETUP, "setup"),
        (99999, ERROR_WECHAT_BUSY, "unknown"),
    ],
)
async def test_each_errcode_has_its_outcome(errcode: int, error: Error, outcome: str) -> None:
    # An openid beside an errcode is still a refusal.
    body = {**GOOD, "errcode": errcode, "errmsg": f"whatever, rid: {RID}"}
    async with calling(answering(body)) as caller:
        with capture_logs():
            caught = await caller.fail()
        assert isinstance(caught, UpstreamError)
        assert (caught.errcode, caught.error, caught.outcome) == (errcode, error, outcome)
        assert caught.rid == RID
        assert caught.code_spent
        assert caller.outcomes == ["started", outcome]


@pytest.mark.parametrize(
    ("errmsg", "rid"),
    [
        (f"invalid code, rid: {RID}", RID),
        ("invalid code, hints: [ req_id: AbC.d-12 ]", "AbC.d-12"),
        ("invalid code", None),
        ("", None),
    ],
)
async def test_the_rid_is_found_in_both_wordings(errmsg: str, rid: str | None) -> None:
    async with calling(answering({"errcode": 40029, "errmsg": errmsg})) as caller:
        assert (await caller.fail()).rid == rid


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>busy</html>",
        b"[]",
        b"null",
        b"{}",
        b'{"openid":""}',
        b'{"openid":7}',
        b'{"openid":null}',
        b'{"openid":"\xff"}',
        b'{"openid":"' + "密".encode() + b'"}',
        b'{"openid":"' + b"o" * 129 + b'"}',
        b'{"errcode":"busy"}',
        b'{"errcode":1e99}',
        b"[" * 20_000,
        b'{"openid":' + b"[" * 20_000,
        json.dumps(GOOD).encode()[:-1],
    ],
)
async def test_garbage_means_busy(body: bytes) -> None:
    async with calling(http_answer(body)) as caller:
        error = await caller.fail()
        assert (error.error, error.outcome) == (ERROR_WECHAT_BUSY, "garbage")


@pytest.mark.parametrize("status", ["502 Bad Gateway", "404 Not Found", "204 No Content"])
async def test_any_other_status_means_busy(status: str) -> None:
    async with calling(http_answer(b"", status=status)) as caller:
        error = await caller.fail()
        assert (error.error, error.outcome) == (ERROR_WECHAT_BUSY, "http_status")


async def test_a_redirect_is_not_followed() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
        assert await reader.read() == b"", "a second request"

    async with calling(handler) as caller:
        caller.api._client.follow_redirects = True
        assert (await caller.fail()).outcome == "http_status"
        await caller.api._client.aclose()


async def test_a_body_beyond_the_limit_is_not_read() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            writer.write(b" " * 65536)
            await writer.drain()

    async with calling(handler) as caller:
        assert (await caller.fail()).outcome == "too_large"


async def test_silence_ends_at_the_timeout() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with calling(handler, timeout=50 * MS) as caller:
        error = await caller.fail()
        assert (error.error, error.outcome) == (ERROR_WECHAT_BUSY, "timeout")
        assert error.code_spent


async def test_an_answer_that_drips_ends_at_the_timeout_too() -> None:
    """httpx's own timeouts start again with every byte."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(5 * MS)

    async with calling(handler, timeout=100 * MS) as caller:
        assert (await caller.fail()).outcome == "timeout"


async def test_a_connection_that_breaks_means_busy_and_is_not_tried_again() -> None:
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")

    async with calling(handler) as caller:
        error = await caller.fail()
        assert (error.error, error.outcome) == (ERROR_WECHAT_BUSY, "transport")
        assert error.code_spent
        assert connections == 1


async def test_where_nobody_listens_the_code_is_not_spent() -> None:
    async with serve_raw(http_answer(b"")) as base_url:
        pass
    async with httpx.AsyncClient() as http:
        error = await Caller(base_url, http, TIMEOUT, Breaker(5, 3)).fail()
    assert (error.error, error.outcome) == (ERROR_WECHAT_BUSY, "connect")
    assert not error.code_spent


@pytest.mark.parametrize("base_url", ["ftp://127.0.0.1", "http://", "http://[::1", "nonsense"])
async def test_a_base_that_is_no_url_means_busy(base_url: str) -> None:
    async with httpx.AsyncClient() as http:
        error = await Caller(base_url, http, TIMEOUT, Breaker(5, 3)).fail()
    assert error.outcome == "connect"


async def test_the_breaker_spares_an_upstream_that_is_down_and_probes_it() -> None:
    async with calling_sandbox() as (caller, sandbox):
        sandbox.order(Fault(kind="bad_gateway", times=5))
        for _ in range(5):
            assert (await caller.fail()).outcome == "http_status"
        error = await caller.fail()
        assert (error.error, error.outcome, error.code_spent) == (ERROR_WECHAT_BUSY, "breaker_open", False)
        assert sandbox.stats().calls == 5
        caller.clock.now += 3
        await caller.api.code_to_session(sandbox.login(Login(user="alice")))
        await caller.api.code_to_session(sandbox.login(Login(user="alice")))


@pytest.mark.parametrize("kind", ["busy", "bad_gateway"])
async def test_faults_that_open_the_breaker(kind: Any) -> None:
    async with calling_sandbox() as (caller, sandbox):
        sandbox.order(Fault(kind=kind, times=100))
        for _ in range(6):
            await caller.fail()
        assert caller.outcomes[-1] == "breaker_open"


@pytest.mark.parametrize("kind", ["quota", "blocked", "html"])
async def test_answers_that_do_not_open_the_breaker(kind: Any) -> None:
    async with calling_sandbox() as (caller, sandbox):
        sandbox.order(Fault(kind=kind, times=100))
        for _ in range(12):
            await caller.fail()
        assert "breaker_open" not in caller.outcomes


async def test_a_cancelled_call_says_so() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with calling(handler) as caller:
        task = asyncio.create_task(caller.api.code_to_session(CODE))
        await asyncio.sleep(50 * MS)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert caller.outcomes == ["started", "cancelled"]


async def test_durations_are_the_clock_between_start_and_end() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caller.clock.now += 1.25
        await answering(GOOD)(reader, writer)

    async with calling(handler) as caller:
        await caller.api.code_to_session(CODE)
    assert caller.seen == [("started", 0.0), ("ok", 1.25)]


def test_every_outcome_is_in_the_closed_set() -> None:
    meanings = {meaning.outcome for meaning in MEANINGS.values()}
    assert meanings < set(get_args(Outcome))
