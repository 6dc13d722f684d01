"""What is said about calls to WeChat: the operator hears of mistakes, and nobody ever sees a secret."""

from __future__ import annotations

import asyncio
import logging
import traceback

import httpx
import pytest
from structlog.testing import capture_logs

from gateway.wechat import api as module
from gateway.wechat.api import WeChatError
from tests.servers import RawHandler, http_answer
from tests.wechat_calls import APPID, CODE, GOOD, RID, SECRET, answering, calling


async def test_a_mistake_in_the_setup_is_said_once_a_minute_with_the_setting_to_fix() -> None:
    body = {"errcode": 40125, "errmsg": f"invalid appsecret {SECRET}, rid: {RID}"}
    async with calling(answering(body)) as caller:
        with capture_logs() as logs:
            for pause in (0, 1, 58, 1):
                caller.clock.now += pause
                await caller.fail()
    assert [entry["log_level"] for entry in logs] == ["error", "error"], "at 0 s and at 60 s"
    assert logs[0]["fix"] == f"wechat.apps[].secret of appid {APPID}"
    assert (logs[0]["errcode"], logs[0]["rid"]) == (40125, RID)


async def test_two_mistakes_in_the_setup_are_both_said() -> None:
    bodies = iter([40125, 40013])

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering({"errcode": next(bodies), "errmsg": ""})(reader, writer)

    async with calling(handler) as caller:
        with capture_logs() as logs:
            await caller.fail()
            await caller.fail()
    assert [entry["errcode"] for entry in logs] == [40125, 40013]


async def test_an_unknown_errcode_is_a_warning() -> None:
    async with calling(answering({"errcode": 99999, "errmsg": "new"})) as caller:
        with capture_logs() as logs:
            await caller.fail()
            await caller.fail()
    assert [entry["log_level"] for entry in logs] == ["warning"]


async def test_the_memory_of_logged_errcodes_is_bounded() -> None:
    counter = iter(range(100_000, 200_000))

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering({"errcode": next(counter)})(reader, writer)

    async with calling(handler) as caller:
        with capture_logs():
            for _ in range(module.MAX_ERRCODES_LOGGED + 10):
                await caller.fail()
    assert len(caller.api._logged) <= module.MAX_ERRCODES_LOGGED


async def test_a_refused_code_is_no_news_for_the_log() -> None:
    async with calling(answering({"errcode": 40029, "errmsg": "invalid code"})) as caller:
        with capture_logs() as logs:
            await caller.fail()
    assert logs == []


def everything_about(exc: BaseException | None) -> str:
    """An exception as a log with all its trimmings would show it, chain and arguments included."""
    text = ""
    while exc is not None:
        text += "".join(traceback.format_exception(exc)) + repr(exc) + repr(vars(exc))
        if isinstance(exc, httpx.HTTPError):
            text += str(exc.request.url)
        exc = exc.__cause__ or exc.__context__
    return text


async def close_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


@pytest.mark.parametrize(
    "handler",
    [
        answering(GOOD),
        answering({"errcode": 40029, "errmsg": f"invalid code {CODE}, rid: {RID}"}),
        answering({"errcode": 40125, "errmsg": f"bad {SECRET} the-app%2Fsecret%2B0123456789 {CODE}"}),
        answering({"errcode": 99999, "errmsg": f"?secret={SECRET}&js_code={CODE}"}),
        http_answer(b"<html>"),
        http_answer(b"", status="502 Bad Gateway"),
        close_at_once,
    ],
)
async def test_no_log_line_and_no_exception_holds_a_secret(
    handler: RawHandler, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    shown = ""
    async with calling(handler) as caller:
        with capture_logs() as logs:
            try:
                shown += repr(await caller.api.code_to_session(CODE))
            except WeChatError as exc:
                shown += everything_about(exc)
        shown += repr(logs) + caplog.text + repr(caller.api) + repr(caller.api.app)
    assert "httpx" in caplog.text or handler is close_at_once, "the test sees httpx's own line"
    for secret in (SECRET, "the-app%2Fsecret", CODE, GOOD["session_key"]):
        assert secret not in shown
