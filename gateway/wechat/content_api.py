"""WeChat's content checks: a text at once, an image or a recording later, by a push.

- https://developers.weixin.qq.com/miniprogram/dev/server/API/sec-center/sec-check/api_msgseccheck.html
- https://developers.weixin.qq.com/miniprogram/dev/server/API/sec-center/sec-check/api_mediacheckasync.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from gateway.wechat.access_token import AccessTokenKeeper
from gateway.wechat.api import WeChatError
from gateway.wechat.calls import WeChatCalls
from gateway.wechat.open_api import ask_with_token

Verdict = Literal["pass", "review", "risky"]
VERDICTS: Final[dict[object, Verdict]] = {"pass": "pass", "review": "review", "risky": "risky"}
MEDIA_SIZE: Final = 10 * 1024 * 1024
"""Bytes of a file that is checked."""
OPENID_ERRCODES: Final = frozenset({40003, 43104, 61010})
"""The openid is none, of another app, or has not been in the mini-program within two hours."""

_TEXT: Final = "/wxa/msg_sec_check"
_MEDIA: Final = "/wxa/media_check_async"
_TRACE_LIMIT: Final = 128


class OpenidRefused(WeChatError):
    """WeChat checks only what users write who are in the mini-program now."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What WeChat says of a text. `label`: 100 is nothing, others name the kind of risk."""

    verdict: Verdict
    label: int


class ContentAPI:
    """The checks of one mini-program. Each call raises `WeChatError` where there is no answer."""

    def __init__(self, calls: WeChatCalls, tokens: AccessTokenKeeper) -> None:
        self.app = calls.app
        self._calls = calls
        self._tokens = tokens

    async def check_text(self, openid: str, scene: int, content: str) -> Judgement:
        """At most 2500 characters. `scene`: 1 profile, 2 comment, 3 forum, 4 social log."""
        body = {"version": 2, "openid": openid, "scene": scene, "content": content}
        fields = await self._ask(_TEXT, body)
        result = fields.get("result")
        suggest = result.get("suggest") if isinstance(result, dict) else None
        if suggest not in VERDICTS:
            raise self._calls.garbage(_TEXT)
        label = result.get("label") if isinstance(result, dict) else 0
        return Judgement(VERDICTS[suggest], label if isinstance(label, int) else 0)

    async def check_media(self, openid: str, scene: int, url: str, kind: Literal[1, 2]) -> str:
        """Begin the check of what is behind `url`: 1 is audio, 2 an image. The id that the push will name."""
        body = {"version": 2, "openid": openid, "scene": scene, "media_url": url, "media_type": kind}
        trace = (await self._ask(_MEDIA, body)).get("trace_id")
        if not isinstance(trace, str) or not 0 < len(trace) <= _TRACE_LIMIT:
            raise self._calls.garbage(_MEDIA)
        return trace

    async def _ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        reply = await ask_with_token(self._calls, self._tokens, path, {}, body)
        if reply.errcode in OPENID_ERRCODES:
            error = self._calls.refusal(path, reply)
            raise OpenidRefused(error.error, "refused", errcode=reply.errcode, rid=error.rid, call=path)
        if reply.errcode:
            raise self._calls.refusal(path, reply)
        return reply.fields


def verdict_of(event: Mapping[str, Any]) -> tuple[str, Verdict | None]:
    """The trace id and the verdict of a `wxa_media_check` push; None: WeChat could not check it."""
    trace, result = event.get("trace_id"), event.get("result")
    if str(event.get("errcode", 0)) not in ("0", ""):
        result = None
    suggest = result.get("suggest") if isinstance(result, Mapping) else None
    return (trace if isinstance(trace, str) else ""), VERDICTS.get(suggest)
