"""Calls of WeChat's server API: one breaker, one log, one way to fail.

`gateway.wechat.api` exchanges codes with it; everything else puts an access token into its calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx
import msgspec
import structlog

from gateway.errors import ERROR_PHONE_CODE, ERROR_WECHAT_BUSY
from gateway.upstream.breaker import Breaker
from gateway.upstream.fetch import FetchError, fetch
from gateway.wechat.app import App, WeChatError
from gateway.wechat.errcodes import MEANINGS, UNKNOWN, Meaning, OnCall, Outcome, find_rid

TOKEN_ERRCODES: Final = frozenset({40001, 40014, 42001})
"""The access token is wrong, malformed or expired: worth one more try with a new one.
https://developers.weixin.qq.com/doc/store/API/basics/commErrCode.html"""

INVALID_SIGNATURE: Final = 87009
"""The session key with which the call was signed is not the user's present one."""

_ANSWERS: Final = TOKEN_ERRCODES | {INVALID_SIGNATURE}
_MESSAGE_ANSWERS: Final = frozenset({40003, 40037, 41030, 43101, 47003})
"""What a subscribe message may be refused for: the message's fault, or the user's wish."""
_PHONE_CODE: Final = Meaning("bad_code", ERROR_PHONE_CODE)
_OF_PHONE: Final = {40029: _PHONE_CODE, 40163: _PHONE_CODE, 41008: _PHONE_CODE}

BODY_LIMIT: Final = 64 * 1024
"""Bytes; a real answer has a few hundred."""
SETUP_LOG_INTERVAL: Final = 60.0
"""Seconds between two log lines about the same mistake in the setup, however many calls fail on it."""
MAX_ERRCODES_LOGGED: Final = 256
"""Distinct errcodes remembered for `SETUP_LOG_INTERVAL`."""

log = structlog.stdlib.get_logger(__name__)


class Reply:
    """What WeChat said: `errcode` 0 is a success. `fields` may hold a secret, so repr shows none."""

    __slots__ = ("errcode", "errmsg", "fields")

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields
        self.errcode: int = fields.get("errcode", 0)
        self.errmsg = str(fields.get("errmsg", ""))

    def __repr__(self) -> str:
        return f"<Reply errcode={self.errcode}>"


class WeChatCalls:
    """The calls of one mini-program. The httpx client is shared, and closed by its owner.

    Arguments:
        timeout: seconds for one call.
        now: monotonic seconds.
    """

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
        return f"<{type(self).__name__} {self.app.appid} at {self.app.api_base}>"

    async def ask(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        *,
        check: Callable[[Reply], bool] = lambda reply: True,
    ) -> Reply:
        """One request: GET, or POST where there is a body. Never repeated.

        A refusal is a Reply with its errcode; `WeChatError` is raised where there is no answer at all, or a
        success that fails its `check`.
        """
        started = self._now()
        self._on_call("started", 0.0)
        outcome: Outcome = "cancelled"
        try:
            reply = await self._exchange(path, params, body)
            if not reply.errcode and not check(reply):
                raise self.garbage(path)
            outcome = self._meaning(path, reply.errcode).outcome if reply.errcode else "ok"
            if (reply.errcode in _ANSWERS and "access_token" in (params or ())) or (
                reply.errcode in _MESSAGE_ANSWERS and path.endswith("/subscribe/send")
            ):
                outcome = "refused"
        except WeChatError as error:
            outcome = error.outcome
            raise
        finally:
            self._on_call(outcome, self._now() - started)
        return reply

    def refusal(self, path: str, reply: Reply) -> WeChatError:
        """What the caller raises for an errcode; the operator hears of what only they can mend.

        Not in WeChat's own words, which may quote the request: its staff need the rid alone.
        """
        meaning, rid = self._meaning(path, reply.errcode), find_rid(reply.errmsg)
        if meaning.outcome in ("setup", "unknown") and self._may_log(reply.errcode):
            self._tell_operator(path, reply.errcode, rid, meaning)
        return WeChatError(meaning.error, meaning.outcome, errcode=reply.errcode, rid=rid, call=_name(path))

    def _tell_operator(self, path: str, errcode: int, rid: str | None, meaning: Meaning) -> None:
        facts = {"call": path, "appid": self.app.appid, "errcode": errcode, "rid": rid}
        if meaning.outcome == "setup":
            fix = meaning.setting.format(appid=self.app.appid)
            log.error("WeChat refuses this gateway's setup", fix=fix, **facts)
        else:
            log.warning("WeChat answered with an errcode this gateway does not know", **facts)

    def garbage(self, path: str) -> WeChatError:
        """For an answer that lacks what it must have."""
        return WeChatError(ERROR_WECHAT_BUSY, "garbage", call=_name(path))

    def _meaning(self, path: str, errcode: int) -> Meaning:
        known = _OF_PHONE.get(errcode) if path.endswith("/getuserphonenumber") else None
        return known or MEANINGS.get(errcode, UNKNOWN)

    async def _exchange(
        self, path: str, params: Mapping[str, str] | None, body: Mapping[str, Any] | None
    ) -> Reply:
        if not self._breaker.allow(self._now()):
            raise WeChatError(ERROR_WECHAT_BUSY, "breaker_open", code_spent=False, call=_name(path))
        url = self.app.api_base.rstrip("/") + path
        content = None if body is None else msgspec.json.encode(body)
        try:
            answer = await fetch(
                self._client, url, params, timeout=self._timeout, limit=BODY_LIMIT, json=content
            )
        except FetchError as error:
            kind, sent = error.kind, error.sent
        else:
            return self._read(path, answer.status, answer.body)
        if kind != "too_large":
            self._breaker.failure(self._now())
        outcome: Outcome = kind  # type: ignore[assignment]  # the kinds of FetchError are outcomes
        raise WeChatError(ERROR_WECHAT_BUSY, outcome, code_spent=sent, call=_name(path))

    def _read(self, path: str, status: int, body: bytes) -> Reply:
        if status != 200:
            if status >= 500:
                self._breaker.failure(self._now())
            raise WeChatError(ERROR_WECHAT_BUSY, "http_status", call=_name(path))
        try:
            fields = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            fields = None
        if not isinstance(fields, dict) or type(fields.get("errcode", 0)) is not int:
            raise self.garbage(path)
        reply = Reply(fields)
        # -1 is WeChat's own way to say 503; every other errcode is an answer.
        if reply.errcode == -1:
            self._breaker.failure(self._now())
        else:
            self._breaker.success()
        return reply

    def _may_log(self, errcode: int) -> bool:
        now = self._now()
        if now < self._logged.get(errcode, now):
            return False
        if len(self._logged) >= MAX_ERRCODES_LOGGED:
            self._logged.clear()
        self._logged[errcode] = now + SETUP_LOG_INTERVAL
        return True


def _name(path: str) -> str:
    return path.rpartition("/")[2]
