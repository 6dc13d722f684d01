"""The stand-in WeChat, part three: sends signed messages to a callback URL, as WeChat's servers do.

https://developers.weixin.qq.com/miniprogram/dev/framework/server-ability/message-push.html

Only to this machine: a URL with any other host is refused.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from html import escape
from ipaddress import ip_address
from typing import Annotated, Any, Final, Literal

import httpx
import msgspec
from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from gateway.wechat.crypto import PushCipher, push_signature
from gateway.wechat.sandbox_common import CheckedRoute, Id

PATIENCE: Final = 5.0
"""Seconds that WeChat waits for the answer."""
BODY_SHOWN: Final = 4096
"""Characters of the answer that are shown."""

Short = Annotated[str, Field(max_length=128)]


class Push(BaseModel):
    """One message to `url`, or with mode "verify" the question that the console asks when it is saved.

    `message` replaces the sample; `timestamp` and `nonce` may be given to send something twice, `signature`
    to send a wrong one.
    """

    model_config = ConfigDict(extra="forbid")

    url: Annotated[str, Field(max_length=2048)]
    mode: Literal["verify", "plain", "compatible", "safe"] = "plain"
    format: Literal["json", "xml"] = "json"
    token: Annotated[str, Field(min_length=1, max_length=128)]
    encoding_aes_key: Short = ""
    appid: Id = "wxsandbox00000000"
    openid: Id = "oSandboxUser0000000000000000"
    message: Annotated[dict[str, Any], Field(max_length=64)] | None = None
    timestamp: Annotated[int, Field(ge=0, le=10**11)] | None = None
    nonce: Annotated[str, Field(pattern=r"^[0-9A-Za-z]{1,64}$")] | None = None
    signature: Short | None = None


class Pushed(BaseModel):
    """What the other side answered; `seconds` it took. Status 0: no answer, and `body` says why."""

    status: int
    body: str
    seconds: float


def push_router() -> APIRouter:
    """One route, relative to `/sandbox`."""
    router = APIRouter(route_class=CheckedRoute)

    @router.post("/push")
    async def push(request: Push) -> Pushed:
        """Send one signed callback to a URL of this machine."""
        try:
            sent = compose(request, time.time())
        except ValueError as exc:
            raise HTTPException(400, str(exc)) from None
        return await send_push(sent)

    return router


def compose(push: Push, now: float) -> httpx.Request:
    """The request that WeChat would send; ValueError for a URL elsewhere, or a key that is none."""
    need_loopback(push.url)
    timestamp = str(int(now) if push.timestamp is None else push.timestamp)
    nonce = push.nonce or str(secrets.randbelow(10**9))
    query = {
        "signature": push.signature or push_signature(push.token, timestamp, nonce),
        "timestamp": timestamp,
        "nonce": nonce,
    }
    if push.mode == "verify":
        query["echostr"] = str(secrets.randbelow(10**18))
        return httpx.Request("GET", push.url, params=query)
    fields = _sample(push, int(timestamp)) if push.message is None else push.message
    query["openid"] = push.openid
    if push.mode != "plain":
        sealed = PushCipher(push.encoding_aes_key, push.appid).encrypt(_body(push.format, fields))
        query["encrypt_type"] = "aes"
        query["msg_signature"] = push.signature or push_signature(push.token, timestamp, nonce, sealed)
        to = {"ToUserName": fields.get("ToUserName", "")}
        fields = {**(fields if push.mode == "compatible" else to), "Encrypt": sealed}
    kind = "application/json" if push.format == "json" else "text/xml"
    body = _body(push.format, fields)
    return httpx.Request("POST", push.url, params=query, content=body, headers={"Content-Type": kind})


def _sample(push: Push, timestamp: int) -> dict[str, Any]:
    return {
        "ToUserName": "gh_000000000000",
        "FromUserName": push.openid,
        "CreateTime": timestamp,
        "MsgType": "event",
        "Event": "debug_demo",
        "debug_str": "hello world",
    }


def _body(form: str, fields: Mapping[str, Any]) -> bytes:
    if form == "json":
        return msgspec.json.encode(fields)
    return f"<xml>{''.join(_element(name, value) for name, value in fields.items())}</xml>".encode()


def _element(name: str, value: object) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name):
        raise ValueError("a name in message is no name of an XML element")
    if isinstance(value, Mapping):
        content = "".join(_element(key, item) for key, item in value.items())
    else:
        content = escape(str(value), quote=False)
    return f"<{name}>{content}</{name}>"


def need_loopback(url: str) -> None:
    """Raises ValueError for an address that is not this machine's."""
    try:
        target = httpx.URL(url)
        host = "127.0.0.1" if target.host == "localhost" else target.host
        home = target.scheme in ("http", "https") and ip_address(host).is_loopback
    except (httpx.InvalidURL, ValueError, UnicodeError):
        home = False
    if not home:
        raise ValueError("url: only http(s)://127.0.0.1, [::1] and localhost")


async def send_push(request: httpx.Request) -> Pushed:
    """Send what `compose` made."""
    started = time.monotonic()
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
            answer = await client.send(request, follow_redirects=False)
        status, body = answer.status_code, answer.text[:BODY_SHOWN]
    except httpx.HTTPError as error:
        status, body = 0, type(error).__name__
    return Pushed(status=status, body=body, seconds=time.monotonic() - started)
