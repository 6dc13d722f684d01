"""The stand-in WeChat, part four: subscribe messages, with the grants of users and a daily quota.

https://developers.weixin.qq.com/miniprogram/dev/OpenApiDoc/mp-message-management/subscribe-message/sendMessage.html

A template is known from the first time that somebody was asked about it. Each accept allows one message.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.wechat.sandbox_common import CheckedRoute, Id, Person, User, refusal

MAX_GRANTS: Final = 100_000
MAX_TEMPLATES: Final = 1000
MAX_MESSAGES: Final = 1000
"""Messages that are kept to be looked at."""
DAILY_QUOTA: Final = 10_000_000
"""Messages of one app in a day, where it takes no payments."""
DAY: Final = 86_400

LENGTHS: Final = {
    "thing": 20,
    "number": 32,
    "letter": 32,
    "symbol": 5,
    "character_string": 32,
    "phone_number": 17,
    "car_number": 8,
    "name": 10,
    "phrase": 5,
}
"""Characters that a value may have, by the kind in its key: `thing1`."""

Serve = Callable[[Request, Literal["subscribe_send"], Callable[[], Mapping[str, Any]]], Awaitable[Response]]
Template = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class Asked(BaseModel):
    """A simulated user answers `wx.requestSubscribeMessage`."""

    model_config = ConfigDict(extra="forbid")

    user: User
    template_id: Template
    result: Literal["accept", "reject", "ban"] = "accept"
    appid: Id | None = None


class Allowed(BaseModel):
    """Messages of this template that the user may be sent now."""

    grants: int


class Quota(BaseModel):
    """Messages that each app may still send today."""

    model_config = ConfigDict(extra="forbid")

    left: Annotated[int, Field(ge=0, le=DAILY_QUOTA)]


class Message(BaseModel):
    """A message that reached a user."""

    user: str
    appid: str
    template_id: str
    page: str
    data: dict[str, Any]
    miniprogram_state: str
    lang: str
    time: float


class SubscribeDesk:
    """The state behind these routes.

    Arguments:
        now: seconds.
        user: finds or makes a user by appid (None: the first app) and name; ValueError for an unknown appid.
        by_openid: finds a user. app_of: the errcode, or the appid, of an access token.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float],
        user: Callable[[str | None, str], tuple[str, Person]],
        by_openid: Callable[[str, str], Person | None],
        app_of: Callable[[str], tuple[int, str]],
    ) -> None:
        self._now = now
        self._user = user
        self._by_openid = by_openid
        self._app_of = app_of
        self._grants: OrderedDict[tuple[str, str, str], int] = OrderedDict()
        self._templates: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._names: OrderedDict[str, str] = OrderedDict()
        self._messages: deque[Message] = deque(maxlen=MAX_MESSAGES)
        self._quota = DAILY_QUOTA
        self._day = 0
        self._spent = 0

    # ------------------------------------------------------------------ the user's side
    def answer(self, asked: Asked) -> int:
        """What the user chose; the messages that are allowed now. ValueError for an unknown appid."""
        appid, person = self._user(asked.appid, asked.user)
        self._keep(self._templates, (appid, asked.template_id), None, MAX_TEMPLATES)
        self._keep(self._names, person.openid, asked.user, MAX_GRANTS)
        place = (appid, person.openid, asked.template_id)
        left = max(0, self._grants.get(place, 0))
        if asked.result != "reject":
            left = left + 1 if asked.result == "accept" else -1
        self._keep(self._grants, place, left, MAX_GRANTS)
        return max(0, left)

    @staticmethod
    def _keep(store: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
        store[key] = value
        store.move_to_end(key)
        if len(store) > most:
            store.popitem(last=False)

    def messages(self, user: str) -> list[Message]:
        """What reached a user (empty: anybody), oldest first."""
        return [message for message in self._messages if not user or message.user == user]

    def limit(self, left: int) -> None:
        """From now on so many messages may be sent today."""
        self._today()
        self._quota = self._spent + left

    # ------------------------------------------------------------------ the server's side
    def send(self, query: Mapping[str, str], body: object) -> dict[str, Any]:
        """The answer of subscribe/send; spends a grant on success."""
        errcode, appid = self._app_of(query.get("access_token", ""))
        if errcode:
            return refusal(errcode)
        if not isinstance(body, dict):
            return refusal(47001)
        openid, template = body.get("touser"), body.get("template_id")
        person = self._by_openid(appid, openid) if isinstance(openid, str) else None
        if person is None:
            return refusal(40003)
        if not isinstance(template, str) or (appid, template) not in self._templates:
            return refusal(40037)
        problem = _problem(body.get("data"))
        if problem:
            return refusal(47003, problem)
        if not _page_fits(body.get("page")):
            return refusal(41030)
        return self._deliver(appid, person.openid, template, body)

    def _deliver(self, appid: str, openid: str, template: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self._today()
        if self._spent >= self._quota:
            return refusal(45009)
        self._spent += 1
        place = (appid, openid, template)
        if self._grants.get(place, 0) <= 0:
            return refusal(43101)
        self._grants[place] -= 1
        self._messages.append(
            Message(
                user=self._names.get(openid, ""),
                appid=appid,
                template_id=template,
                page=str(body.get("page") or ""),
                data=body["data"],
                miniprogram_state=str(body.get("miniprogram_state") or "formal"),
                lang=str(body.get("lang") or "zh_CN"),
                time=self._now(),
            )
        )
        return {"errcode": 0, "errmsg": "ok", "msgid": 2_000_000_000_000_000_000 + self._spent}

    def _today(self) -> None:
        day = int(self._now() // DAY)
        if day != self._day:
            self._day, self._spent, self._quota = day, 0, DAILY_QUOTA


def _problem(data: object) -> str:
    """What is wrong with the values, as WeChat words it; empty: nothing."""
    if not isinstance(data, dict) or not data:
        return "data is empty"
    for key, entry in data.items():
        value = entry.get("value") if isinstance(entry, dict) else None
        kind = re.fullmatch(r"([a-z_]+?)\d+", key)
        if not isinstance(value, str | int) or not str(value) or kind is None:
            return f"data.{key[:32]}.value is empty"
        if len(str(value)) > LENGTHS.get(kind[1], 64):
            return f"data.{key[:32]}.value invalid"
    return ""


def _page_fits(page: object) -> bool:
    return page is None or (isinstance(page, str) and len(page) <= 1024 and "://" not in page)


def subscribe_router(
    desk: SubscribeDesk, serve: Serve, read_json: Callable[[Request], Awaitable[object]]
) -> APIRouter:
    """The routes of `desk`, relative to `/sandbox`; WeChat's own is answered through `serve`."""
    router = APIRouter(route_class=CheckedRoute)

    @router.post("/cgi-bin/message/subscribe/send", response_class=Response)
    async def send(request: Request) -> Response:
        """WeChat's own API: access_token in the query, the message in a JSON body."""
        body = await read_json(request)
        return await serve(request, "subscribe_send", lambda: desk.send(request.query_params, body))

    @router.post("/subscribe")
    async def subscribe(asked: Asked) -> Allowed:
        """What `wx.requestSubscribeMessage` does on a phone, with the user's answer."""
        try:
            return Allowed(grants=desk.answer(asked))
        except ValueError as exc:
            raise HTTPException(400, str(exc)) from None

    @router.post("/subscribe/quota", status_code=204)
    async def quota(quota: Quota) -> None:
        """Let the daily quota end after so many messages more."""
        desk.limit(quota.left)

    @router.get("/messages")
    async def messages(user: Annotated[str, Query(max_length=64)] = "") -> list[Message]:
        """The subscribe messages that reached a user, oldest first."""
        return desk.messages(user)

    return router
