"""The stand-in WeChat, part four: content checks. A text is judged at once, a file later, by a signed push.

Words decide: what contains a risky one is risky, what contains one of the others wants a look. Files are
really fetched, as WeChat fetches them, but only from this machine, and looked through for the same words.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import httpx
import structlog
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask

from gateway.wechat.sandbox_common import CheckedRoute, Person, refusal
from gateway.wechat.sandbox_push import Push, compose, need_loopback, send_push

TEXT_LIMIT: Final = 2500
MEDIA_LIMIT: Final = 10 * 1024 * 1024
OFFICIAL_SAMPLE: Final = "特3456书yuuo莞6543李zxcz蒜7782法fgnv级"
"""WeChat's own text for trying the check."""
PUSH_TRIES: Final = 3
"""WeChat comes three times."""
CALLS_REMEMBERED: Final = 1000

Word = Annotated[str, Field(min_length=1, max_length=64)]
log = structlog.get_logger()


class Rules(BaseModel):
    """How contents are judged from now on. `label`: of what is not harmless (20002: pornography).

    `calls_per_minute` refuses texts beyond it with 45011, `delay` is the seconds until the push about a file,
    `silent` never pushes, `away`: openids that have not been in the mini-program for two hours.
    """

    model_config = ConfigDict(extra="forbid")

    risky: Annotated[list[Word], Field(max_length=100)] = ["sandbox-risky", OFFICIAL_SAMPLE]
    review: Annotated[list[Word], Field(max_length=100)] = ["sandbox-review"]
    label: Annotated[int, Field(ge=100, le=99_999)] = 20002
    calls_per_minute: Annotated[int, Field(ge=0, le=10**6)] = 4000
    delay: Annotated[float, Field(ge=0, le=60)] = 0.3
    silent: bool = False
    away: Annotated[list[str], Field(max_length=100)] = []


class Checked(BaseModel):
    """What was checked so far, the newest last: texts, and the addresses of files."""

    texts: list[str]
    files: list[str]


@dataclass(frozen=True, slots=True)
class Callback:
    """Where the pushes of an app go. An empty token: nowhere."""

    url: str
    token: str = field(repr=False)
    encoding_aes_key: str = field(repr=False)


class SafetyDesk:
    """The state behind the routes.

    Arguments:
        app_of: the errcode, or 0 and the appid, for an access token.
        by_openid: finds a user.
        callbacks: by appid.
        now: seconds.
    """

    def __init__(
        self,
        *,
        app_of: Callable[[str], tuple[int, str]],
        by_openid: Callable[[str, str], Person | None],
        callbacks: Mapping[str, Callback],
        now: Callable[[], float],
    ) -> None:
        self._app_of = app_of
        self._by_openid = by_openid
        self._callbacks = callbacks
        self._now = now
        self._minutes: Counter[int] = Counter()
        self.rules = Rules()
        self.texts: deque[str] = deque(maxlen=CALLS_REMEMBERED)
        self.files: deque[str] = deque(maxlen=CALLS_REMEMBERED)

    # ------------------------------------------------------------------ texts
    def check_text(self, query: Mapping[str, str], body: object) -> dict[str, Any]:
        """https://developers.weixin.qq.com/miniprogram/dev/server/API/sec-center/sec-check/api_msgseccheck.html"""
        errcode, given, _ = self._read(query, body, "content")
        if errcode:
            return refusal(errcode)
        if self._over_quota():
            return refusal(45011)
        content = str(given["content"])
        if len(content) > TEXT_LIMIT:
            return refusal(47001)
        self.texts.append(content)
        result = self._result(content.encode())
        detail = {"strategy": "content_model", "errcode": 0, **result, "prob": 90}
        return {"errcode": 0, "errmsg": "ok", "trace_id": _trace(), "result": result, "detail": [detail]}

    def _over_quota(self) -> bool:
        minute = int(self._now() // 60)
        self._minutes = Counter({minute: self._minutes[minute] + 1})
        return self._minutes[minute] > self.rules.calls_per_minute

    def _read(
        self, query: Mapping[str, str], body: object, needed: str
    ) -> tuple[int, Mapping[str, Any], str]:
        """What both checks ask for: errcode, body, appid."""
        errcode, appid = self._app_of(query.get("access_token", ""))
        if errcode:
            return errcode, {}, ""
        if not isinstance(body, dict) or body.get("version") != 2:
            return 47001, {}, ""
        if not isinstance(body.get(needed), str) or not body[needed]:
            return 44002, {}, ""
        if body.get("scene") not in (1, 2, 3, 4):
            return 40129, {}, ""
        openid = str(body.get("openid", ""))
        if openid in self.rules.away:
            return 61010, {}, ""
        return (0, body, appid) if self._by_openid(appid, openid) else (40003, {}, "")

    def _result(self, content: bytes) -> dict[str, Any]:
        for suggest, words in (("risky", self.rules.risky), ("review", self.rules.review)):
            if any(word.encode() in content for word in words):
                return {"suggest": suggest, "label": self.rules.label}
        return {"suggest": "pass", "label": 100}

    # ------------------------------------------------------------------ files
    def check_media(
        self, query: Mapping[str, str], body: object, after: Callable[[Callable[[], Any]], None]
    ) -> dict[str, Any]:
        """The answer; `after` is given what is done once it is out."""
        errcode, given, appid = self._read(query, body, "media_url")
        if not errcode and given.get("media_type") not in (1, 2):
            errcode = 47001
        if errcode:
            return refusal(errcode)
        trace, url, openid = _trace(), str(given["media_url"]), str(given["openid"])
        self.files.append(url)

        async def later() -> None:
            await self._judge_later(appid, openid, trace, url)

        after(later)
        return {"errcode": 0, "errmsg": "ok", "trace_id": trace}

    async def _judge_later(self, appid: str, openid: str, trace: str, url: str) -> None:
        callback = self._callbacks.get(appid)
        await asyncio.sleep(self.rules.delay)
        if self.rules.silent or callback is None or not callback.token:
            return
        content = await _fetch(url)
        about: dict[str, Any] = {"errcode": 0, "errmsg": "ok", "result": self._result(content or b"")}
        if content is None:
            about = {"errcode": -1008, "errmsg": "download failed"}
        message = {
            "ToUserName": "gh_000000000000",
            "FromUserName": openid,
            "CreateTime": int(self._now()),
            "MsgType": "event",
            "Event": "wxa_media_check",
            "appid": appid,
            "trace_id": trace,
            "version": 2,
            "detail": [{"strategy": "content_model", "errcode": 0, **about.get("result", {}), "prob": 90}],
            **about,
        }
        push = Push(
            url=callback.url,
            mode="safe" if callback.encoding_aes_key else "plain",
            token=callback.token,
            encoding_aes_key=callback.encoding_aes_key,
            appid=appid,
            openid=openid,
            message=message,
        )
        for _ in range(PUSH_TRIES):
            if (await send_push(compose(push, self._now()))).status == 200:
                return
        log.warning("the sandbox's push about a file was not taken", trace_id=trace)


async def _fetch(url: str) -> bytes | None:
    """What is behind an address of this machine; None where it cannot be had."""
    try:
        need_loopback(url)
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            answer = await client.get(url, follow_redirects=False)
    except (ValueError, httpx.HTTPError):
        return None
    return answer.content if answer.status_code == 200 and len(answer.content) <= MEDIA_LIMIT else None


def _trace() -> str:
    return "-".join(secrets.token_hex(4) for _ in range(3))


Answer = Callable[[], Mapping[str, Any]]
Serve = Callable[[Request, Any, Answer], Any]


def safety_router(desk: SafetyDesk, serve: Serve, read: Callable[[Request], Any]) -> APIRouter:
    """The routes of `desk`; WeChat's own are answered through `serve`, with bodies from `read`."""
    router = APIRouter(route_class=CheckedRoute)

    @router.post("/wxa/msg_sec_check", response_class=Response)
    async def msg_sec_check(request: Request) -> Response:
        """WeChat's own API: access_token in the query; openid, scene, version and content in a JSON body."""
        body, query = await read(request), request.query_params
        answer: Response = await serve(request, "msg_sec_check", lambda: desk.check_text(query, body))
        return answer

    @router.post("/wxa/media_check_async", response_class=Response)
    async def media_check_async(request: Request) -> Response:
        """WeChat's own API: media_url and media_type in a JSON body. The verdict comes as a push."""
        body, query = await read(request), request.query_params
        work: list[Callable[[], Any]] = []
        answer: Response = await serve(
            request, "media_check_async", lambda: desk.check_media(query, body, work.append)
        )
        if work:
            answer.background = BackgroundTask(work[0])
        return answer

    @router.post("/safety", status_code=204)
    async def rules(request: Rules) -> None:
        """Judge otherwise from now on; what is left out is as at the start."""
        desk.rules = request

    @router.get("/safety")
    async def checked() -> Checked:
        """What was checked so far."""
        return Checked(texts=list(desk.texts), files=list(desk.files))

    return router
