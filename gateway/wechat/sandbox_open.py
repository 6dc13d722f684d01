"""The stand-in WeChat, part two: access tokens, phone numbers, session keys and open data.

Each answer follows the page of its API: stable_token with its two modes, its overlap of five minutes and its
ration of forced tokens; codes of phone numbers that work once; calls that are signed with a session key.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.wechat.crypto import encrypt_open_data, session_signature, userinfo_signature
from gateway.wechat.sandbox_common import CheckedRoute, Id, Person, User, new_session_key, refusal

TOKEN_LIFETIME: Final = 7200.0
OVERLAP: Final = 300.0
"""Seconds before its end in which a stable token is renewed; both are good until then."""
FORCED_PER_DAY: Final = 20
FORCE_INTERVAL: Final = 30.0
PHONE_CODE_LIFETIME: Final = 300.0
MAX_PHONE_CODES: Final = 10_000
MAX_TOKENS: Final = 1000

TokenApi = Literal["stable_token", "getuserphonenumber", "checksession", "resetusersessionkey"]
Serve = Callable[[Request, TokenApi, Callable[[], Mapping[str, Any]]], Awaitable[Response]]
"""Answers a call, unless a fault was ordered for it."""


class PhoneTap(BaseModel):
    """A simulated user allows the getPhoneNumber button."""

    model_config = ConfigDict(extra="forbid")

    user: User
    phone: Annotated[str, Field(pattern=r"^\+?[0-9]{5,20}$")]
    appid: Id | None = None


class PhoneCode(BaseModel):
    """What the button gives the phone."""

    code: str


class Profile(BaseModel):
    """A simulated user allows `wx.getUserInfo`; `info` adds to what is known of the user."""

    model_config = ConfigDict(extra="forbid")

    user: User
    appid: Id | None = None
    info: Annotated[dict[str, str | int | bool], Field(max_length=32)] = {}


class OpenDataOfUser(BaseModel):
    """What `wx.getUserInfo` gives the phone, made with the user's present session key."""

    rawData: str
    signature: str
    encryptedData: str
    iv: str


@dataclass(slots=True)
class _Stable:
    """The stable token of one app and when it was forced."""

    token: str = field(repr=False)
    expires_at: float
    forced: deque[float] = field(default_factory=deque)


@dataclass(slots=True)
class _PhoneCode:
    appid: str
    number: str
    expires_at: float
    used: bool = False


class OpenDesk:
    """The state behind these routes.

    Arguments:
        now: seconds.
        user: finds or makes a user by appid (None: the first app) and name; ValueError for an unknown appid.
        by_openid: finds a user.
    """

    def __init__(
        self,
        apps: Mapping[str, str],
        *,
        now: Callable[[], float],
        user: Callable[[str | None, str], tuple[str, Person]],
        by_openid: Callable[[str, str], Person | None],
    ) -> None:
        self._apps = dict(apps)
        self._now = now
        self._user = user
        self._by_openid = by_openid
        self._stable: dict[str, _Stable] = {}
        self._plain: dict[str, str] = {}
        self._tokens: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._phone_codes: OrderedDict[str, _PhoneCode] = OrderedDict()

    # ------------------------------------------------------------------ access tokens
    def stable_token(self, body: object) -> dict[str, Any]:
        """https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken.html"""
        if not isinstance(body, dict):
            return refusal(47001)
        errcode = self._check_app(body)
        if errcode:
            return refusal(errcode)
        appid, now = str(body["appid"]), self._now()
        stable = self._stable.get(appid)
        if stable is None or now >= stable.expires_at - OVERLAP:
            forced = stable.forced if stable else deque()
            stable = self._stable[appid] = _Stable(self._issue(appid), now + TOKEN_LIFETIME, forced)
        elif body.get("force_refresh") is True:
            while stable.forced and stable.forced[0] <= now - 86_400:
                stable.forced.popleft()
            if not stable.forced or now - stable.forced[-1] >= FORCE_INTERVAL:
                if len(stable.forced) >= FORCED_PER_DAY:
                    return refusal(45009)
                self._tokens.pop(stable.token, None)
                stable.token, stable.expires_at = self._issue(appid), now + TOKEN_LIFETIME
                stable.forced.append(now)
        return {"access_token": stable.token, "expires_in": int(stable.expires_at - now)}

    def plain_token(self, query: Mapping[str, str]) -> dict[str, Any]:
        """The older kind: each call gives a new one and leaves the one before it five minutes. Isolated."""
        errcode = self._check_app(query)
        if errcode:
            return refusal(errcode)
        appid, before = query["appid"], self._plain.get(query["appid"], "")
        if before in self._tokens:
            self._tokens[before] = (appid, min(self._tokens[before][1], self._now() + OVERLAP))
        token = self._plain[appid] = self._issue(appid)
        return {"access_token": token, "expires_in": int(TOKEN_LIFETIME)}

    def void_tokens(self) -> None:
        """All access tokens are invalid, as after a force by somebody else; the stable one is made anew."""
        self._tokens.clear()
        self._stable.clear()

    def _check_app(self, given: Mapping[str, Any]) -> int:
        appid, secret = given.get("appid"), given.get("secret")
        if given.get("grant_type") != "client_credential":
            return 40002
        if not isinstance(appid, str) or not appid:
            return 41002
        if not isinstance(secret, str) or not secret:
            return 41004
        if appid not in self._apps:
            return 40013
        right = secrets.compare_digest(secret.encode("utf-8", "replace"), self._apps[appid].encode())
        return 0 if right else 40125

    def _issue(self, appid: str) -> str:
        while len(self._tokens) >= MAX_TOKENS:
            self._tokens.popitem(last=False)
        token = secrets.token_urlsafe(102)  # 136 characters, as the real ones
        self._tokens[token] = (appid, self._now() + TOKEN_LIFETIME)
        return token

    def app_of(self, token: str) -> tuple[int, str]:
        """The appid of an access token, behind an errcode that is 0 where it is good."""
        if not token:
            return 41001, ""
        appid, expires_at = self._tokens.get(token, ("", 0.0))
        if not appid:
            return 40001, ""
        return (0, appid) if self._now() < expires_at else (42001, "")

    # ------------------------------------------------------------------ phone numbers
    def tap(self, request: PhoneTap) -> str:
        """A code for a phone number; ValueError for an unknown appid."""
        appid, _ = self._user(request.appid, request.user)
        if len(self._phone_codes) >= MAX_PHONE_CODES:
            self._phone_codes.popitem(last=False)
        code = secrets.token_hex(32)
        self._phone_codes[code] = _PhoneCode(appid, request.phone, self._now() + PHONE_CODE_LIFETIME)
        return code

    def phone_number(self, query: Mapping[str, str], body: object) -> dict[str, Any]:
        """https://developers.weixin.qq.com/miniprogram/dev/server/API/user-info/phone-number/api_getphonenumber"""
        errcode, appid = self.app_of(query.get("access_token", ""))
        if errcode:
            return refusal(errcode)
        if not isinstance(body, dict):
            return refusal(47001)
        entry = self._phone_codes.get(str(body.get("code")))
        if entry is None or entry.used or entry.appid != appid or entry.expires_at <= self._now():
            return refusal(40029)
        entry.used = True
        pure = entry.number.removeprefix("+").removeprefix("86") if entry.number[0] == "+" else entry.number
        info = {
            "phoneNumber": entry.number,
            "purePhoneNumber": pure,
            "countryCode": 86,  # a number here and a text in the table of the same page
            "watermark": {"timestamp": int(self._now()), "appid": appid},
        }
        return {"errcode": 0, "errmsg": "ok", "phone_info": info}

    # ------------------------------------------------------------------ session keys
    def check_session(self, query: Mapping[str, str]) -> dict[str, Any]:
        """0 where the signature is made with the user's present session key."""
        errcode, _ = self._signed(query)
        return refusal(errcode) if errcode else {"errcode": 0, "errmsg": "ok"}

    def reset_session_key(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Makes a new key; the old one is void."""
        errcode, person = self._signed(query)
        if person is None:
            return refusal(errcode)
        person.session_key, person.key_since = new_session_key(), self._now()
        return {"errcode": 0, "errmsg": "ok", "openid": person.openid, "session_key": person.session_key}

    def _signed(self, query: Mapping[str, str]) -> tuple[int, Person | None]:
        errcode, appid = self.app_of(query.get("access_token", ""))
        if errcode:
            return errcode, None
        if query.get("sig_method") != "hmac_sha256":
            return 87008, None
        person = self._by_openid(appid, query.get("openid", ""))
        if person is None:
            return 40003, None
        given, right = query.get("signature", ""), session_signature(person.session_key)
        return (0, person) if hmac.compare_digest(given.encode(), right.encode()) else (87009, None)

    # ------------------------------------------------------------------ open data
    def profile(self, request: Profile) -> OpenDataOfUser:
        """What a phone gets of a user who allows it; ValueError for an unknown appid."""
        appid, person = self._user(request.appid, request.user)
        info = {"nickName": request.user, "gender": 0, "language": "zh_CN", "avatarUrl": "", **request.info}
        raw = json.dumps(info, ensure_ascii=False, separators=(",", ":"))
        hidden: dict[str, Any] = {**info, "openId": person.openid}
        if person.unionid:
            hidden["unionId"] = person.unionid
        hidden["watermark"] = {"timestamp": int(self._now()), "appid": appid}
        sealed, vector = encrypt_open_data(hidden, person.session_key)
        return OpenDataOfUser(
            rawData=raw,
            signature=userinfo_signature(raw, person.session_key),
            encryptedData=sealed,
            iv=vector,
        )


async def read_json(request: Request) -> object:
    """The body; None where it is no JSON."""
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError):
        return None


def open_router(desk: OpenDesk, serve: Serve) -> APIRouter:
    """The routes of `desk`; WeChat's own are answered through `serve`."""
    router = APIRouter(route_class=CheckedRoute)
    _add_phone_side(router, desk)

    @router.post("/cgi-bin/stable_token", response_class=Response)
    async def stable_token(request: Request) -> Response:
        """WeChat's own API: grant_type, appid, secret and force_refresh in a JSON body."""
        body = await read_json(request)
        return await serve(request, "stable_token", lambda: desk.stable_token(body))

    @router.get("/cgi-bin/token", response_class=Response)
    async def plain_token(request: Request) -> Response:
        """WeChat's own API: the older token, isolated from the stable one."""
        return await serve(request, "stable_token", lambda: desk.plain_token(request.query_params))

    @router.post("/wxa/business/getuserphonenumber", response_class=Response)
    async def phone_number(request: Request) -> Response:
        """WeChat's own API: access_token in the query, code in a JSON body."""
        body, query = await read_json(request), request.query_params
        return await serve(request, "getuserphonenumber", lambda: desk.phone_number(query, body))

    @router.get("/wxa/checksession", response_class=Response)
    async def check_session(request: Request) -> Response:
        """WeChat's own API: access_token, openid, signature and sig_method in the query."""
        return await serve(request, "checksession", lambda: desk.check_session(request.query_params))

    @router.get("/wxa/resetusersessionkey", response_class=Response)
    async def reset_session_key(request: Request) -> Response:
        """WeChat's own API: access_token, openid, signature and sig_method in the query."""
        query = request.query_params
        return await serve(request, "resetusersessionkey", lambda: desk.reset_session_key(query))

    return router


def _add_phone_side(router: APIRouter, desk: OpenDesk) -> None:
    @router.post("/phone")
    async def phone(request: PhoneTap) -> PhoneCode:
        """What the getPhoneNumber button does on a phone: a code, good for one call within 5 minutes."""
        try:
            return PhoneCode(code=desk.tap(request))
        except ValueError as exc:
            raise HTTPException(400, str(exc)) from None

    @router.post("/userinfo")
    async def userinfo(request: Profile) -> OpenDataOfUser:
        """What `wx.getUserInfo` does on a phone, with the user's present session key."""
        try:
            return desk.profile(request)
        except ValueError as exc:
            raise HTTPException(400, str(exc)) from None

    @router.post("/void_tokens", status_code=204)
    async def void_tokens() -> None:
        """All access tokens become invalid at once."""
        desk.void_tokens()
