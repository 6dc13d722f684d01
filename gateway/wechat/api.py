"""WeChat's server API: exchanges a `wx.login` code for the user's openid and session key.

https://developers.weixin.qq.com/miniprogram/dev/server/API/user-login/api_code2session.html

A call is never retried. A code is good for one exchange, and after a lost answer nobody knows whether
it was spent; the client fetches a new one with `wx.login`, which is cheap.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import msgspec
import structlog

from gateway.errors import (
    ERROR_WECHAT_BUSY,
    Error,
    UpstreamError,
)
from gateway.upstream.breaker import Breaker
from gateway.upstream.fetch import Answer, FetchError, fetch
from gateway.wechat.errcodes import MEANINGS as _MEANINGS
from gateway.wechat.errcodes import UNKNOWN, Meaning, find_rid, redact
from gateway.wechat.errcodes import OnCall as OnCall
from gateway.wechat.errcodes import Outcome as Outcome

BODY_LIMIT = 64 * 1024
"""Bytes; a real answer has about 200."""

SETUP_LOG_INTERVAL = 60.0
"""Seconds between two log lines about the same mistake in the setup, however many sign-ins fail on it."""

MAX_ERRCODES_LOGGED = 256
"""Distinct errcodes remembered for `SETUP_LOG_INTERVAL`."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class App:
    """One mini-program and where its API lives."""

    appid: str
    secret: str = field(repr=False)
    api_base: str = "https://api.weixin.qq.com"


@dataclass(frozen=True, slots=True)
class CodeSession:
    """Who the code belongs to. `unionid` exists only for apps bound to an Open Platform account."""

    openid: str
    session_key: str = field(repr=False)
    unionid: str | None = None


class WeChatError(UpstreamError):
    """A call that WeChat refused or could not answer; holds no secret, code or session key.

    `code_spent` is False only if the code surely did not reach WeChat and may be used again.
    """

    def __init__(
        self,
        error: Error,
        outcome: Outcome,
        *,
        errcode: int | None = None,
        rid: str | None = None,
        code_spent: bool = True,
        call: str = "jscode2session",
    ) -> None:
        detail = f"{outcome} errcode={errcode} rid={rid}" if errcode is not None else outcome
        super().__init__(error, f"{call}: {detail}")
        self.outcome: Outcome = outcome
        self.call = call
        self.errcode = errcode
        self.rid = rid
        self.code_spent = code_spent


class _Body(msgspec.Struct, frozen=True):
    """WeChat's answer. On success errcode is absent (older answers had 0), unionid often."""

    errcode: int = 0
    errmsg: str = ""
    openid: str = ""
    session_key: str = ""
    unionid: str | None = None


class WeChatAPI:
    """One mini-program's calls. The httpx client is shared, and closed by its owner."""

    def __init__(
        self,
        app: App,
        timeout: float,
        client: httpx.AsyncClient,
        *,
        breaker: Breaker | None = None,
        on_call: OnCall = lambda outcome, seconds: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app = app
        self._timeout = timeout
        self._client = client
        self._breaker = breaker or Breaker(threshold=5, cooldown=3.0)
        self._on_call = on_call
        self._now = now
        self._logged: dict[int, float] = {}

    def __repr__(self) -> str:
        return f"<WeChatAPI {self.app.appid} at {self.app.api_base}>"

    async def code_to_session(self, code: str) -> CodeSession:
        """Exchange a code, exactly one request; raises `WeChatError`."""
        started = self._now()
        self._on_call("started", 0.0)
        outcome: Outcome = "cancelled"
        try:
            session = await self._exchange(code)
            outcome = "ok"
        except WeChatError as exc:
            outcome = exc.outcome
            raise
        finally:
            self._on_call(outcome, self._now() - started)
        return session

    async def _exchange(self, code: str) -> CodeSession:
        if not self._breaker.allow(self._now()):
            raise WeChatError(ERROR_WECHAT_BUSY, "breaker_open", code_spent=False)
        answer = await self._get(code)
        if answer.status != 200:
            self._note_status(answer.status)
            raise WeChatError(ERROR_WECHAT_BUSY, "http_status")
        body = _parse(answer.body)
        if body is None:
            raise WeChatError(ERROR_WECHAT_BUSY, "garbage")
        self._note_errcode(body.errcode)
        if body.errcode:
            raise self._refusal(body, code)
        return CodeSession(body.openid, body.session_key, body.unionid or None)

    async def _get(self, code: str) -> Answer:
        params = {
            "appid": self.app.appid,
            "secret": self.app.secret,
            "js_code": code,
            "grant_type": "authorization_code",
        }
        url = self.app.api_base.rstrip("/") + "/sns/jscode2session"
        try:
            return await fetch(self._client, url, params, timeout=self._timeout, limit=BODY_LIMIT)
        except FetchError as exc:
            kind, sent = exc.kind, exc.sent
        if kind != "too_large":
            self._breaker.failure(self._now())
        outcome: Outcome = kind  # type: ignore[assignment]  # the kinds of FetchError are outcomes
        raise WeChatError(ERROR_WECHAT_BUSY, outcome, code_spent=sent)

    def _note_status(self, status: int) -> None:
        """A 5xx counts against WeChat. Any other status is a proxy in the way, and says nothing."""
        if status >= 500:
            self._breaker.failure(self._now())

    def _note_errcode(self, errcode: int) -> None:
        """-1 is WeChat's own way to say 503; every other errcode is an answer."""
        if errcode == -1:
            self._breaker.failure(self._now())
        else:
            self._breaker.success()

    def _refusal(self, body: _Body, code: str) -> WeChatError:
        meaning = _MEANINGS.get(body.errcode, UNKNOWN)
        rid = find_rid(body.errmsg)
        if meaning.outcome in ("setup", "unknown") and self._may_log(body.errcode):
            self._tell_operator(meaning, body, rid, code)
        return WeChatError(meaning.error, meaning.outcome, errcode=body.errcode, rid=rid)

    def _tell_operator(self, meaning: Meaning, body: _Body, rid: str | None, code: str) -> None:
        facts = {
            "appid": self.app.appid,
            "errcode": body.errcode,
            "errmsg": redact(body.errmsg, self.app.secret, code),
            "rid": rid,
        }
        if meaning.outcome == "setup":
            fix = meaning.setting.format(appid=self.app.appid)
            log.error("nobody can sign in: WeChat refuses this gateway's setup", fix=fix, **facts)
        else:
            log.warning("WeChat answered with an errcode this gateway does not know", **facts)

    def _may_log(self, errcode: int) -> bool:
        now = self._now()
        if now < self._logged.get(errcode, now):
            return False
        if len(self._logged) >= MAX_ERRCODES_LOGGED:
            self._logged.clear()
        self._logged[errcode] = now + SETUP_LOG_INTERVAL
        return True


def _parse(data: bytes) -> _Body | None:
    """The answer, or None for anything that is neither a success nor a refusal.

    The content type is text/plain in practice, so it is not looked at.
    """
    try:
        body = msgspec.json.decode(data, type=_Body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    # The openid becomes part of a channel name, and of keys in stores.
    if body.errcode == 0 and not (0 < len(body.openid) <= 128 and body.openid.isascii()):
        return None
    return body
