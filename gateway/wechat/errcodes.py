"""What WeChat's errcodes mean for the one who waits, for the operator and for the metrics. Pure.

https://developers.weixin.qq.com/doc/store/API/basics/commErrCode.html
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from gateway.errors import (
    ERROR_TOKEN_EXPIRED,
    ERROR_WECHAT_BUSY,
    ERROR_WECHAT_SETUP,
    ERROR_WECHAT_USER_BLOCKED,
    Error,
)

CODE_REFUSED: Final = Error(
    ERROR_TOKEN_EXPIRED.code, "WeChat refused this code: call wx.login again for a new one"
)
"""The code of an expired token, since a client does the same about it: it signs in anew."""

Outcome = Literal[
    "started",
    "ok",
    "bad_code",
    "quota",
    "busy",
    "blocked",
    "setup",
    "unknown",
    "refused",
    "timeout",
    "connect",
    "transport",
    "too_large",
    "http_status",
    "garbage",
    "breaker_open",
    "cancelled",
]
"""How a call went, as a metric label. "started" comes first with 0 seconds, then exactly one other."""

OnCall = Callable[[Outcome, float], None]


@dataclass(frozen=True, slots=True)
class Meaning:
    """How a call counts, and what its caller is told."""

    outcome: Outcome
    error: Error
    setting: str = ""
    """What the operator has to fix, formatted with the appid."""


_BAD_CODE: Final = Meaning("bad_code", CODE_REFUSED)
_BLOCKED: Final = Meaning("blocked", ERROR_WECHAT_USER_BLOCKED)
UNKNOWN: Final = Meaning("unknown", ERROR_WECHAT_BUSY)
_APPID: Final = Meaning("setup", ERROR_WECHAT_SETUP, "wechat.apps[].appid ({appid})")
_SECRET: Final = Meaning("setup", ERROR_WECHAT_SETUP, "wechat.apps[].secret of appid {appid}")
_CONSOLE: Final = Meaning("setup", ERROR_WECHAT_SETUP, "{appid} in the console at mp.weixin.qq.com")
_IP_LIST: Final = Meaning("setup", ERROR_WECHAT_SETUP, "the IP whitelist of {appid} at mp.weixin.qq.com")

# The page of jscode2session lists -1, 40029, 45011 and 40226. 40163 is missing there and comes all the
# time; the others are on the common page: https://developers.weixin.qq.com/doc/store/API/basics/commErrCode.html
MEANINGS: Final[dict[int, Meaning]] = {
    -1: Meaning("busy", ERROR_WECHAT_BUSY),
    40029: _BAD_CODE,  # another app's, older than 5 minutes, or garbage
    40163: _BAD_CODE,  # used before
    41008: _BAD_CODE,  # js_code missing
    45009: Meaning("quota", ERROR_WECHAT_BUSY),  # of a day
    45011: Meaning("quota", ERROR_WECHAT_BUSY),
    40003: Meaning("refused", ERROR_WECHAT_BUSY),  # an openid that is none here
    43104: Meaning("refused", ERROR_WECHAT_BUSY),  # an openid of another app
    61010: Meaning("refused", ERROR_WECHAT_BUSY),  # a user who has not been here within two hours
    40226: _BLOCKED,  # a high-risk user
    50002: _BLOCKED,  # user limited
    40001: _SECRET,
    40125: _SECRET,
    41004: _SECRET,
    40013: _APPID,
    41002: _APPID,
    40002: _CONSOLE,
    40164: _IP_LIST,
    48001: _CONSOLE,  # this API is not granted to this app
    48004: _CONSOLE,  # this API is blocked for this app
}

# Seen as "... rid: 5f8d0e0a-1c2b3d4e-5f6a7b8c" and as "... hints: [ req_id: AbC.d-12 ]".
_RID: Final = re.compile(r"\b(?:rid|req_id): ?([\w.-]{1,64})")


def find_rid(errmsg: str) -> str | None:
    """The number of the request that WeChat's staff ask for."""
    found = _RID.search(errmsg)
    return found[1] if found else None
