"""A stand-in for WeChat: signs in simulated phones, and fails the way WeChat fails.

For development and tests only: whoever reaches it can be any user. It speaks the exchange of codes as
the real server does, down to what is surprising there: HTTP 200 for every refusal, text/plain for JSON,
no errcode on success, an rid in each errmsg. Nothing real is asked, and no session key leaves it except
through that exchange and a reset.

This module signs in; `sandbox_open` has what needs an access token, `sandbox_safety` the content checks,
`sandbox_subscribe` takes subscribe messages, `sandbox_push` sends callbacks.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.wechat.sandbox_common import (
    CheckedRoute,
    Id,
    MaybeId,
    Person,
    User,
    derived_id,
    new_session_key,
    refusal,
    text_answer,
)
from gateway.wechat.sandbox_open import OpenDesk, open_router, read_json
from gateway.wechat.sandbox_push import push_router
from gateway.wechat.sandbox_safety import Callback, SafetyDesk, safety_router
from gateway.wechat.sandbox_subscribe import SubscribeDesk, subscribe_router

CODE_LIFETIME = 300.0  # https://developers.weixin.qq.com/miniprogram/dev/api/open-api/login/wx.login.html
KEY_MIN_AGE = 600.0
"""Seconds during which a login keeps the session key. WeChat has such a period, and does not say how long."""

MAX_CODES = 10_000
MAX_USERS = 10_000
MAX_FAULTS = 100

OF_DEVELOPER_TOOLS = re.compile(r"0[0-9A-Za-z]{31}|the code is a mock one")
"""What wx.login gives in WeChat's developer tools, with an AppID and without one. WeChat alone knows who that
is; here it is always the same user, so that a project runs in the tools before it has anything of its own."""
DEVELOPER = "developer-tools"

FaultKind = Literal[
    "busy",
    "slow",
    "bad_gateway",
    "html",
    "quota",
    "silence",
    "blocked",
    "token_invalid",
    "token_expired",
    "daily_quota",
]
ApiName = Literal[
    "jscode2session",
    "stable_token",
    "getuserphonenumber",
    "checksession",
    "resetusersessionkey",
    "msg_sec_check",
    "media_check_async",
    "subscribe_send",
]

_FAULT_ERRCODE: dict[FaultKind, int] = {
    "busy": -1,
    "quota": 45011,
    "blocked": 40226,
    "token_invalid": 40001,
    "token_expired": 42001,
    "daily_quota": 45009,
}
_HTML = (
    "<html><head><title>502 Bad Gateway</title></head><body><center>502 Bad Gateway</center></body></html>"
)


class Login(BaseModel):
    """A simulated phone calls `wx.login`. A `unionid` of "" is an app outside any Open Platform account."""

    model_config = ConfigDict(extra="forbid")

    user: User
    appid: Id | None = None
    openid: Id | None = None
    unionid: MaybeId | None = None
    session_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{22}==$")] | None = None


class LoginCode(BaseModel):
    """What `wx.login` gives the phone."""

    code: str


class Rotate(BaseModel):
    """Which user's session key is to be replaced now."""

    model_config = ConfigDict(extra="forbid")

    user: User
    appid: Id | None = None


class Fault(BaseModel):
    """The next `times` calls of `api` go wrong. `seconds` is how long slow (1.5) and silence (60) last."""

    model_config = ConfigDict(extra="forbid")

    kind: FaultKind
    api: ApiName = "jscode2session"
    times: Annotated[int, Field(ge=1, le=10_000)] = 1
    seconds: Annotated[float, Field(ge=0, le=120)] | None = None


class Stats(BaseModel):
    """Exchanges so far. `outcomes` counts "ok", each errcode, and each fault as "fault:<kind>"; `apis` counts
    the calls of everything else."""

    calls: int
    outcomes: dict[str, int]
    apis: dict[str, int]
    codes: int
    users: int


@dataclass(slots=True)
class _Code:
    appid: str
    person: Person
    expires_at: float
    used: bool = False


class Sandbox:
    """The state behind the routes. Bounded: the oldest codes and users make room for new ones."""

    def __init__(
        self,
        apps: Mapping[str, str],
        *,
        now: Callable[[], float],
        key_min_age: float = KEY_MIN_AGE,
        callbacks: Mapping[str, Callback] | None = None,
    ) -> None:
        """`apps` maps each appid to its secret; the first one is the default of a login without appid.
        `callbacks`: where verdicts on files are pushed to, by appid."""
        if not apps:
            raise ValueError("the sandbox needs at least one app")
        self._apps = dict(apps)
        self._now = now
        self._key_min_age = key_min_age
        self._codes: OrderedDict[str, _Code] = OrderedDict()
        self._people: OrderedDict[tuple[str, str], Person] = OrderedDict()
        self._faults: deque[Fault] = deque()
        self._outcomes: Counter[str] = Counter()
        self._apis: Counter[str] = Counter()
        self.open = OpenDesk(apps, now=now, user=self.person, by_openid=self._by_openid)
        self.safety = SafetyDesk(
            app_of=self.open.app_of, by_openid=self._by_openid, callbacks=callbacks or {}, now=now
        )
        self.subscribe = SubscribeDesk(
            now=now, user=self.person, by_openid=self._by_openid, app_of=self.open.app_of
        )

    def login(self, request: Login) -> str:
        """A new code for a user; ValueError for an unknown appid."""
        now = self._now()
        appid = self._appid(request.appid)
        person = self._person(appid, request.user, now)
        person.openid = request.openid or person.openid
        person.unionid = person.unionid if request.unionid is None else request.unionid
        if request.session_key is not None:
            person.session_key, person.key_since = request.session_key, now
        elif now - person.key_since >= self._key_min_age:
            person.session_key, person.key_since = new_session_key(), now
        while self._codes and next(iter(self._codes.values())).expires_at <= now:
            self._codes.popitem(last=False)
        if len(self._codes) >= MAX_CODES:
            self._codes.popitem(last=False)
        code = "0-" + secrets.token_urlsafe(24)[:30]  # 32 characters, as the real ones, which have no dash
        self._codes[code] = _Code(appid, person, now + CODE_LIFETIME)
        return code

    def rotate(self, request: Rotate) -> None:
        """Replace a user's session key, whatever its age."""
        now = self._now()
        person = self._person(self._appid(request.appid), request.user, now)
        person.session_key, person.key_since = new_session_key(), now

    def order(self, fault: Fault) -> None:
        """Faults are served in the order they were ordered; ValueError if too many are waiting."""
        if len(self._faults) >= MAX_FAULTS:
            raise ValueError("too many faults are waiting")
        self._faults.append(fault.model_copy())

    def clear_faults(self) -> None:
        """The next exchange goes well again."""
        self._faults.clear()

    def next_fault(self, api: ApiName = "jscode2session") -> Fault | None:
        """Use up one fault that was ordered for `api`."""
        fault = next((fault for fault in self._faults if fault.api == api), None)
        if fault is None:
            return None
        fault.times -= 1
        if fault.times == 0:
            self._faults.remove(fault)
        if api == "jscode2session":
            self._outcomes[f"fault:{fault.kind}"] += 1
        return fault

    def count(self, api: ApiName) -> None:
        """One call of an API that is no exchange of a code."""
        self._apis[api] += 1

    def exchange(self, query: Mapping[str, str]) -> dict[str, Any]:
        """The answer of jscode2session; spends the code on success."""
        errcode, entry = self._check(query)
        if entry is None:
            self._outcomes[str(errcode)] += 1
            return refusal(errcode)
        entry.used = True
        self._outcomes["ok"] += 1
        person = entry.person
        answer = {"session_key": person.session_key, "openid": person.openid}
        return {**answer, "unionid": person.unionid} if person.unionid else answer

    def person(self, appid: str | None, user: str) -> tuple[str, Person]:
        """The user, and the appid where it was left out; ValueError for an unknown one."""
        appid = self._appid(appid)
        return appid, self._person(appid, user, self._now())

    def stats(self) -> Stats:
        """Every exchange has one outcome, except that slow and silent ones also spend the code."""
        outcomes = dict(self._outcomes)
        also_spent = sum(outcomes.get(f"fault:{kind}", 0) for kind in ("slow", "silence"))
        calls = sum(outcomes.values()) - also_spent
        return Stats(
            calls=calls,
            outcomes=outcomes,
            apis=dict(self._apis),
            codes=len(self._codes),
            users=len(self._people),
        )

    def _check(self, query: Mapping[str, str]) -> tuple[int, _Code | None]:
        for name, errcode in (("appid", 41002), ("secret", 41004), ("js_code", 41008)):
            if not query.get(name):
                return errcode, None
        appid = query["appid"]
        if query.get("grant_type") != "authorization_code":
            return 40002, None
        if appid not in self._apps:
            return 40013, None
        if not secrets.compare_digest(query["secret"].encode(), self._apps[appid].encode()):
            return 40125, None
        code = query["js_code"]
        if code not in self._codes and OF_DEVELOPER_TOOLS.fullmatch(code):
            person = self._person(appid, DEVELOPER, self._now())
            self._codes[code] = _Code(appid, person, self._now() + CODE_LIFETIME)
        entry = self._codes.get(code)
        if entry is None or entry.appid != appid or entry.expires_at <= self._now():
            return 40029, None
        return (40163, None) if entry.used else (0, entry)

    def _appid(self, appid: str | None) -> str:
        if appid is None:
            return next(iter(self._apps))
        if appid not in self._apps:
            raise ValueError("unknown appid")
        return appid

    def _by_openid(self, appid: str, openid: str) -> Person | None:
        people = self._people.items()
        return next((one for (app, _), one in people if app == appid and one.openid == openid), None)

    def _person(self, appid: str, user: str, now: float) -> Person:
        person = self._people.get((appid, user))
        if person is None:
            if len(self._people) >= MAX_USERS:
                self._people.popitem(last=False)
            # Derived, so that a user is the same one after a restart.
            openid, unionid = derived_id("openid", appid, user), derived_id("unionid", user)
            person = Person(openid, unionid, new_session_key(), now)
            self._people[appid, user] = person
        self._people.move_to_end((appid, user))
        return person


async def _keep_waiting(request: Request, seconds: float) -> None:
    """Until the time is over or the caller hangs up."""
    try:
        async with asyncio.timeout(seconds):
            while (await request.receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return


async def _answered(
    sandbox: Sandbox, request: Request, api: ApiName, answer: Callable[[], Mapping[str, Any]]
) -> Response:
    """What `answer` says, unless a fault was ordered."""
    fault = sandbox.next_fault(api)
    if fault is None:
        return text_answer(answer())
    if fault.kind in _FAULT_ERRCODE:
        return text_answer(refusal(_FAULT_ERRCODE[fault.kind]))
    if fault.kind in ("bad_gateway", "html"):
        return Response(_HTML, 502 if fault.kind == "bad_gateway" else 200, media_type="text/html")
    # Slow and silent: the code is spent before the caller gives up, which is what makes them hard.
    said = answer()
    default = 1.5 if fault.kind == "slow" else 60.0
    await _keep_waiting(request, default if fault.seconds is None else fault.seconds)
    return text_answer(said) if fault.kind == "slow" else Response(b"", media_type="text/plain")


def sandbox_router(sandbox: Sandbox) -> APIRouter:
    """The routes, relative: the listener mounts them under `/sandbox`, which is also the `api_base`."""
    router = APIRouter(tags=["sandbox"], route_class=CheckedRoute)

    @router.post("/login")
    async def login(request: Login) -> LoginCode:
        """What `wx.login` does on a phone: a code for this user, good for one sign-in within 5 minutes."""
        try:
            return LoginCode(code=sandbox.login(request))
        except ValueError as exc:
            raise HTTPException(400, str(exc)) from None

    @router.post("/rotate", status_code=204)
    async def rotate(request: Rotate) -> None:
        """Replace the user's session key, as WeChat does now and then."""
        try:
            sandbox.rotate(request)
        except ValueError as exc:
            raise HTTPException(400, str(exc)) from None

    @router.get("/stats")
    async def stats() -> Stats:
        """How many exchanges there were, and how they went."""
        return sandbox.stats()

    @router.get("/sns/jscode2session", response_class=Response)
    async def jscode2session(request: Request) -> Response:
        """WeChat's own API: appid, secret, js_code and grant_type in the query."""
        query = request.query_params
        return await _answered(sandbox, request, "jscode2session", lambda: sandbox.exchange(query))

    async def serve(request: Request, api: ApiName, answer: Callable[[], Mapping[str, Any]]) -> Response:
        sandbox.count(api)
        return await _answered(sandbox, request, api, answer)

    router.include_router(open_router(sandbox.open, serve))
    router.include_router(safety_router(sandbox.safety, serve, read_json))
    router.include_router(subscribe_router(sandbox.subscribe, serve, read_json))
    router.include_router(push_router())
    _add_faults(router, sandbox)
    return router


def _add_faults(router: APIRouter, sandbox: Sandbox) -> None:
    @router.post("/faults", status_code=204)
    async def order_fault(request: Fault) -> None:
        """Let the next exchanges go wrong."""
        try:
            sandbox.order(request)
        except ValueError as exc:
            raise HTTPException(429, str(exc)) from None

    @router.delete("/faults", status_code=204)
    async def clear_faults() -> None:
        """Call off all faults."""
        sandbox.clear_faults()
