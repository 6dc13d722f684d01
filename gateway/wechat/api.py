"""Exchanges a `wx.login` code for the user's openid and session key.

https://developers.weixin.qq.com/miniprogram/dev/server/API/user-login/api_code2session.html

A call is never retried. A code is good for one exchange, and after a lost answer nobody knows whether
it was spent; the client fetches a new one with `wx.login`, which is cheap.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import msgspec

from gateway.wechat.app import App as App
from gateway.wechat.app import WeChatError as WeChatError
from gateway.wechat.calls import MAX_ERRCODES_LOGGED as MAX_ERRCODES_LOGGED
from gateway.wechat.calls import Reply, WeChatCalls
from gateway.wechat.errcodes import OnCall as OnCall
from gateway.wechat.errcodes import Outcome as Outcome

OPENID_LIMIT: Final = 128
_PATH: Final = "/sns/jscode2session"


@dataclass(frozen=True, slots=True)
class CodeSession:
    """Who the code belongs to. `unionid` exists only for apps bound to an Open Platform account."""

    openid: str
    session_key: str = field(repr=False)
    unionid: str | None = None


class _Answer(msgspec.Struct, frozen=True):
    """WeChat's answer. On success errcode is absent (older answers had 0), unionid often."""

    openid: str
    session_key: str = ""
    unionid: str | None = None


class WeChatAPI(WeChatCalls):
    """One mini-program's sign-ins. Their breaker is their own: nothing else that fails keeps users out."""

    async def code_to_session(self, code: str) -> CodeSession:
        """Exchange a code, exactly one request; raises `WeChatError`."""
        params = {
            "appid": self.app.appid,
            "secret": self.app.secret,
            "js_code": code,
            "grant_type": "authorization_code",
        }
        reply = await self.ask(_PATH, params, check=lambda reply: _answer(reply) is not None)
        answer = None if reply.errcode else _answer(reply)
        if answer is None:
            raise self.refusal(_PATH, reply)
        return CodeSession(answer.openid, answer.session_key, answer.unionid or None)


def _answer(reply: Reply) -> _Answer | None:
    """None for anything that is no success."""
    try:
        answer = msgspec.convert(reply.fields, _Answer)
    except msgspec.ValidationError:
        return None
    # The openid becomes part of a channel name, and of keys in stores.
    return answer if 0 < len(answer.openid) <= OPENID_LIMIT and answer.openid.isascii() else None
