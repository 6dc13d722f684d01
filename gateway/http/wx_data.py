"""Open data over HTTP: `/wx/userinfo`, `/wx/phone`, `/wx/check`, `/wx/reset`. The session key stays here."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from gateway.auth.sessions import Session, SessionStore
from gateway.errors import (
    ERROR_BAD_REQUEST,
    ERROR_SESSION_KEY_STALE,
    ERROR_TOO_MANY_REQUESTS,
    ERROR_UNKNOWN_APPID,
    ClientError,
)
from gateway.http.problems import Problem
from gateway.wechat.crypto import (
    ForeignData,
    MalformedData,
    OpenData,
    StaleSessionKey,
    check_userinfo,
    decrypt_open_data,
)
from gateway.wechat.open_api import OpenAPI, Phone

CALLS_PER_USER: Final = 2
"""Calls to WeChat in flight for one user: WeChat's quota is the app's, for all users together."""

_STALE: Final[dict[int | str, dict[str, Any]]] = {
    409: {"model": Problem, "description": "session_key_stale (405): sign in again, then ask again"}
}


class UserInfoRequest(BaseModel):
    """What `wx.getUserInfo` and its kind give the phone, unchanged; other keys of it are ignored."""

    rawData: Annotated[str, Field(max_length=16_384, description="the very text, not made anew")]
    signature: Annotated[str, Field(min_length=1, max_length=64)]
    encryptedData: Annotated[str, Field(min_length=1, max_length=65_536)] | None = None
    iv: Annotated[str, Field(min_length=1, max_length=64)] | None = None


class UserInfoAnswer(BaseModel):
    """`raw` is what rawData says; `data` what was encrypted, `watermark_age` seconds after WeChat made it."""

    openid: str
    raw: dict[str, Any] | None = None
    data: dict[str, Any] | None = None
    watermark_age: float | None = None


class PhoneRequest(BaseModel):
    """The code of the getPhoneNumber button."""

    code: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[\x21-\x7e]+$")]


class PhoneAnswer(BaseModel):
    """A number, with WeChat's own names."""

    phoneNumber: str
    purePhoneNumber: str
    countryCode: str


class CheckAnswer(BaseModel):
    """Whether the session key that is kept here is the user's present one."""

    valid: bool


class ResetAnswer(BaseModel):
    """The session key is a new one."""

    reset: bool


class OpenDataDesk:
    """What a user who is signed in may have done with their session key.

    Arguments:
        apis: by appid.
        max_calls: to WeChat, in flight at a time.
        wall: unix seconds.
    """

    def __init__(
        self,
        apis: Mapping[str, OpenAPI],
        sessions: SessionStore,
        *,
        max_calls: int,
        wall: Callable[[], float],
    ) -> None:
        self._apis = dict(apis)
        self._sessions = sessions
        self._max_calls = max_calls
        self._wall = wall
        self._in_flight: Counter[tuple[str, str]] = Counter()
        self._phones: dict[tuple[str, str, str], asyncio.Task[Phone]] = {}

    @property
    def apis(self) -> Mapping[str, OpenAPI]:
        """By appid."""
        return self._apis

    def load(self, apis: Mapping[str, OpenAPI]) -> None:
        """Take over the mini-programs of another configuration."""
        self._apis = dict(apis)

    async def close(self) -> None:
        """End what is in flight."""
        tasks = list(self._phones.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for api in self._apis.values():
            await api.close()

    async def userinfo(self, session: Session, request: UserInfoRequest) -> UserInfoAnswer:
        """Verify, decrypt. Raises ClientError 405 where the session key does not fit."""
        if (request.encryptedData is None) != (request.iv is None):
            raise ClientError(ERROR_BAD_REQUEST, "encryptedData and iv belong together: send both or neither")
        key = await self._key(session)
        with _stale_is_an_error():
            check_userinfo(request.rawData, request.signature, key)
        answer = UserInfoAnswer(openid=session.user, raw=_object(request.rawData))
        if request.encryptedData is not None and request.iv is not None:
            opened = self._open(session, request.encryptedData, request.iv, key)
            answer.data, answer.watermark_age = opened.fields, opened.age
        return answer

    def _open(self, session: Session, encrypted: str, iv: str, key: str) -> OpenData:
        with _stale_is_an_error():
            opened = decrypt_open_data(encrypted, iv, key, session.appid, self._wall())
        if opened.fields.get("openId", session.user) != session.user:
            raise ClientError(ERROR_BAD_REQUEST, "encryptedData is of another user")
        return opened

    async def phone(self, session: Session, code: str) -> Phone:
        """The number behind a code; the same code twice at once is one call, because it works once."""
        api = self._api(session)
        key = (session.appid, session.user, code)
        task = self._phones.get(key)
        if task is None:
            task = self._phones[key] = asyncio.create_task(self._ask_phone(session, api, code), name="phone")
            task.add_done_callback(lambda task: self._phone_done(key, task))
        return await asyncio.shield(task)

    def _phone_done(self, key: tuple[str, str, str], task: asyncio.Task[Phone]) -> None:
        del self._phones[key]
        if not task.cancelled():
            task.exception()  # retrieved: every caller may have gone away

    async def _ask_phone(self, session: Session, api: OpenAPI, code: str) -> Phone:
        with self._slot(session):
            return await api.phone_number(code)

    async def check(self, session: Session) -> bool:
        """Whether the key kept here is still the user's."""
        api = self._api(session)
        key = await self._sessions.session_key(session.appid, session.user)
        if key is None:
            return False
        with self._slot(session):
            return await api.check_session(session.user, key)

    async def reset(self, session: Session) -> None:
        """Let WeChat make a new key, and keep that one."""
        api = self._api(session)
        key = await self._key(session)
        with self._slot(session), _stale_is_an_error():
            fresh = await api.reset_session_key(session.user, key)
        await self._sessions.replace_session_key(session.appid, session.user, fresh)

    def _api(self, session: Session) -> OpenAPI:
        api = self._apis.get(session.appid)
        if api is None:
            raise ClientError(ERROR_UNKNOWN_APPID, "the mini-program of this session is no longer configured")
        return api

    async def _key(self, session: Session) -> str:
        key = await self._sessions.session_key(session.appid, session.user)
        if key is None:
            raise ClientError(ERROR_SESSION_KEY_STALE)
        return key

    @contextlib.contextmanager
    def _slot(self, session: Session) -> Iterator[None]:
        owner = (session.appid, session.user)
        if self._in_flight[owner] >= CALLS_PER_USER or self._in_flight.total() >= self._max_calls:
            raise ClientError(ERROR_TOO_MANY_REQUESTS, "too many calls to WeChat in flight")
        self._in_flight[owner] += 1
        try:
            yield
        finally:
            self._in_flight[owner] -= 1
            if not self._in_flight[owner]:
                del self._in_flight[owner]


@contextlib.contextmanager
def _stale_is_an_error() -> Iterator[None]:
    """What the crypto says, as what the client is told."""
    try:
        yield
        return
    except StaleSessionKey:
        told = ClientError(ERROR_SESSION_KEY_STALE, ERROR_SESSION_KEY_STALE.message)
    except MalformedData:
        told = ClientError(ERROR_BAD_REQUEST, "encryptedData and iv are base64, as the phone got them")
    except ForeignData:
        told = ClientError(ERROR_BAD_REQUEST, "encryptedData is of another mini-program")
    raise told


def _object(raw_data: str) -> dict[str, Any] | None:
    """What rawData says, where it is a JSON object that can be sent back."""
    try:
        parsed = json.loads(raw_data)
        json.dumps(parsed, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def open_data_router(desk: OpenDataDesk, current: Callable[..., Awaitable[Session]]) -> APIRouter:
    """The routes, relative to /wx; `current` is the dependency that finds the session."""
    router = APIRouter(tags=["open data"])
    signed_in = Depends(current)

    @router.post("/userinfo", response_model_exclude_none=True, responses=_STALE)
    async def userinfo(request: UserInfoRequest, session: Session = signed_in) -> UserInfoAnswer:
        """Check and decrypt what `wx.getUserInfo` gave the phone.

        `session_key_stale` (405): the phone signs in with a new code, and calls `wx.getUserInfo` after that.
        """
        return await desk.userinfo(session, request)

    @router.post("/phone")
    async def phone(request: PhoneRequest, session: Session = signed_in) -> PhoneAnswer:
        """The phone number behind the code of a getPhoneNumber button. A code works once (406)."""
        found = await desk.phone(session, request.code)
        return PhoneAnswer(
            phoneNumber=found.number, purePhoneNumber=found.pure_number, countryCode=found.country_code
        )

    @router.post("/check")
    async def check(session: Session = signed_in) -> CheckAnswer:
        """Ask WeChat whether the session key that is kept here is still the user's."""
        return CheckAnswer(valid=await desk.check(session))

    @router.post("/reset", responses=_STALE)
    async def reset(session: Session = signed_in) -> ResetAnswer:
        """Let WeChat replace the user's session key. It is not sent to the phone."""
        await desk.reset(session)
        return ResetAnswer(reset=True)

    return router
