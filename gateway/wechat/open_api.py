"""What WeChat does for a user who is signed in: phone number, check and reset of the session key.

- https://developers.weixin.qq.com/miniprogram/dev/server/API/user-info/phone-number/api_getphonenumber
- https://developers.weixin.qq.com/miniprogram/dev/server/API/user-login/api_checksessionkey
- https://developers.weixin.qq.com/miniprogram/dev/server/API/user-login/api_resetusersessionkey
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.wechat.access_token import AccessTokenKeeper
from gateway.wechat.api import WeChatError
from gateway.wechat.calls import INVALID_SIGNATURE, TOKEN_ERRCODES, Reply, WeChatCalls
from gateway.wechat.crypto import StaleSessionKey, session_signature

_PHONE: Final = "/wxa/business/getuserphonenumber"
_CHECK: Final = "/wxa/checksession"
_RESET: Final = "/wxa/resetusersessionkey"


@dataclass(frozen=True, slots=True)
class Phone:
    """A number as WeChat gives it; `country_code` without the "+"."""

    number: str = field(repr=False)
    pure_number: str = field(repr=False)
    country_code: str


class OpenAPI:
    """The calls of one mini-program that need an access token. Each raises `WeChatError`."""

    def __init__(self, calls: WeChatCalls, tokens: AccessTokenKeeper) -> None:
        self.app = calls.app
        self._calls = calls
        self.tokens = tokens

    def __repr__(self) -> str:
        return f"<OpenAPI {self.app.appid}>"

    async def phone_number(self, code: str) -> Phone:
        """The number behind a code of the getPhoneNumber button: single use, good for 5 minutes."""
        reply = await self._ask(_PHONE, {}, {"code": code})
        if reply.errcode:
            raise self._calls.refusal(_PHONE, reply)
        info = reply.fields.get("phone_info")
        phone = _phone(info, self.app.appid) if isinstance(info, dict) else None
        if phone is None:
            raise self._calls.garbage(_PHONE)
        return phone

    async def check_session(self, openid: str, session_key: str) -> bool:
        """Whether this is the user's present session key."""
        reply = await self._ask(_CHECK, _about(openid, session_key))
        if reply.errcode == INVALID_SIGNATURE:
            return False
        if reply.errcode:
            raise self._calls.refusal(_CHECK, reply)
        return True

    async def reset_session_key(self, openid: str, session_key: str) -> str:
        """A new session key; the old one is void. Raises `StaleSessionKey` where it was so already."""
        reply = await self._ask(_RESET, _about(openid, session_key))
        if reply.errcode == INVALID_SIGNATURE:
            raise StaleSessionKey("the session key is not the present one")
        if reply.errcode:
            raise self._calls.refusal(_RESET, reply)
        fresh = reply.fields.get("session_key")
        if not isinstance(fresh, str) or not 0 < len(fresh) <= 128 or reply.fields.get("openid") != openid:
            raise self._calls.garbage(_RESET)
        return fresh

    async def post(self, path: str, body: Mapping[str, Any]) -> Reply:
        """Any other call with an access token; what the errcode means is the caller's to know."""
        return await self._ask(path, {}, body)

    def refusal(self, path: str, reply: Reply) -> WeChatError:
        """See `WeChatCalls.refusal`."""
        return self._calls.refusal(path, reply)

    async def close(self) -> None:
        """End what is in flight."""
        await self.tokens.close()

    async def _ask(
        self, path: str, params: Mapping[str, str], body: Mapping[str, Any] | None = None
    ) -> Reply:
        return await ask_with_token(self._calls, self.tokens, path, params, body)


async def ask_with_token(
    calls: WeChatCalls,
    tokens: AccessTokenKeeper,
    path: str,
    params: Mapping[str, str],
    body: Mapping[str, Any] | None = None,
) -> Reply:
    """With the access token; once more with another one where WeChat refuses it, which spends no code."""
    token = await tokens.get()
    reply = await calls.ask(path, {"access_token": token, **params}, body)
    if reply.errcode in TOKEN_ERRCODES:
        token = await tokens.replace(token)
        reply = await calls.ask(path, {"access_token": token, **params}, body)
    return reply


def _about(openid: str, session_key: str) -> dict[str, str]:
    return {"openid": openid, "signature": session_signature(session_key), "sig_method": "hmac_sha256"}


def _phone(info: Mapping[str, Any], appid: str) -> Phone | None:
    watermark = info.get("watermark")
    if not isinstance(watermark, dict) or watermark.get("appid") != appid:
        return None
    # The country code is a number in the sample of the documentation and a text in its table.
    parts = [info.get(name) for name in ("phoneNumber", "purePhoneNumber", "countryCode")]
    if not all(isinstance(part, str | int) and 0 < len(str(part)) <= 32 for part in parts):
        return None
    return Phone(str(parts[0]), str(parts[1]), str(parts[2]))
