"""Sign-in: a `wx.login` code, or the token of an earlier sign-in, becomes a session.

A code reaches WeChat exactly once, however many sockets send it. WeChat takes a code once and answers a
second exchange with 40163, and phones do send twice: double taps, a reconnect during a slow sign-in.
So calls with a code that is on its way share one exchange and get the same session; a call with a code
that was exchanged before is told to fetch a new one.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gateway.auth.addresses import network_of
from gateway.auth.gate import OPEN, Gate
from gateway.auth.sessions import Session, SessionStore, is_session_token
from gateway.auth.windows import Windows
from gateway.errors import (
    ERROR_BAD_REQUEST,
    ERROR_TOO_MANY_REQUESTS,
    ERROR_UNKNOWN_APPID,
    ClientError,
)
from gateway.wechat.api import WeChatAPI, WeChatError
from gateway.wechat.errcodes import CODE_REFUSED

CODE_LIFETIME = 300.0
"""Seconds a code is good for: https://developers.weixin.qq.com/miniprogram/dev/api/open-api/login/wx.login.html"""

MAX_CLAIMS = 100_000
"""Codes remembered by one process: 330 sign-ins a second, each for five minutes."""

_CODE = re.compile(r"[\x20-\x7e]{1,256}")


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session and the only copy of its token."""

    session: Session
    token: str = field(repr=False)


class CodeClaims(Protocol):
    """Who may exchange a code: the first one that claims it, for as long as a code can live."""

    async def claim(self, key: str) -> bool:
        """True for the first caller with this key, False for all others until the claim expires."""
        ...

    async def release(self, key: str) -> None:
        """Give the claim back: the code did not reach WeChat, and may be sent again."""
        ...


class MemoryCodeClaims:
    """Claims of one process. Beyond `limit` the oldest is forgotten: WeChat itself then says 40163."""

    def __init__(
        self, *, now: Callable[[], float], ttl: float = CODE_LIFETIME, limit: int = MAX_CLAIMS
    ) -> None:
        self._now = now
        self._ttl = ttl
        self._limit = limit
        self._claims: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._claims)

    async def claim(self, key: str) -> bool:
        """See `CodeClaims.claim`."""
        now = self._now()
        while self._claims and next(iter(self._claims.values())) <= now:
            self._claims.popitem(last=False)
        if key in self._claims:
            return False
        if len(self._claims) >= self._limit:
            self._claims.popitem(last=False)
        self._claims[key] = now + self._ttl
        return True

    async def release(self, key: str) -> None:
        """See `CodeClaims.release`."""
        self._claims.pop(key, None)


class SignIn:
    """Joins WeChat, the sessions and the claims."""

    def __init__(
        self,
        apps: Mapping[str, WeChatAPI],
        sessions: SessionStore,
        claims: CodeClaims,
        *,
        max_sign_ins: int,
        max_sign_ins_per_ip: int,
        gate: Gate = OPEN,
        windows: Windows | None = None,
        max_per_minute: int = 0,
    ) -> None:
        self._windows = windows
        self._max_per_minute = max_per_minute
        self._apps = dict(apps)
        self._sessions = sessions
        self._claims = claims
        self._gate = gate
        self._max_sign_ins = max_sign_ins
        self._max_per_ip = max_sign_ins_per_ip
        self._in_flight: dict[str, asyncio.Task[SignedIn]] = {}
        self._per_ip: Counter[str] = Counter()

    def load_apps(self, apps: Mapping[str, WeChatAPI]) -> None:
        """Sign in for these mini-programs from now on; exchanges on their way end as they began."""
        self._apps = dict(apps)

    @property
    def in_flight(self) -> int:
        """Exchanges with WeChat that have not ended."""
        return len(self._in_flight)

    async def by_token(self, token: str) -> Session | None:
        """The session of a token of ours; None if it is not one, has expired or was revoked.

        Raises ClientError 407 for a user who is blocked.
        """
        session = await self._sessions.lookup(token) if is_session_token(token) else None
        if session is not None:
            self._gate.admit(session.user)
        return session

    async def by_code(self, code: object, appid: str | None, ip: str) -> SignedIn:
        """Exchange a code from the wire; raises `ClientError` or `WeChatError`, both with their outcome.

        Cancelling one caller leaves the exchange to the others, and to its end: the code is spent.
        """
        api = self._app(appid)
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            raise ClientError(ERROR_BAD_REQUEST, "code is no string of 1 to 256 printable ASCII characters")
        key = _claim_key(api.app.appid, code)
        network = network_of(ip)
        if key not in self._in_flight:
            await self._check_rate(network)
        task = self._in_flight.get(key) or self._start(key, api, code, network)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End what is in flight; callers that wait for it are cancelled."""
        tasks = list(self._in_flight.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _check_rate(self, network: str) -> None:
        """Raises ClientError 111 where an address signs in too often, counted by all nodes together."""
        if self._windows is None or not self._max_per_minute:
            return
        if await self._windows.hit(f"sign_in:{network}", 60) > self._max_per_minute:
            raise ClientError(ERROR_TOO_MANY_REQUESTS, "too many sign-ins from this address in a minute")

    def _app(self, appid: str | None) -> WeChatAPI:
        if appid:
            api = self._apps.get(appid)
            if api is None:
                raise ClientError(ERROR_UNKNOWN_APPID, "no app with this appid is configured")
            return api
        if len(self._apps) != 1:
            raise ClientError(ERROR_BAD_REQUEST, f"appid is missing: {len(self._apps)} apps are configured")
        return next(iter(self._apps.values()))

    def _start(self, key: str, api: WeChatAPI, code: str, ip: str) -> asyncio.Task[SignedIn]:
        """Only an exchange counts against the limits; to wait for another caller's costs nothing."""
        if len(self._in_flight) >= self._max_sign_ins:
            raise ClientError(ERROR_TOO_MANY_REQUESTS, "too many sign-ins in flight")
        if self._per_ip[ip] >= self._max_per_ip:
            raise ClientError(ERROR_TOO_MANY_REQUESTS, "too many sign-ins in flight from this address")
        self._per_ip[ip] += 1
        task = asyncio.create_task(self._exchange(key, api, code), name="sign-in")
        self._in_flight[key] = task

        def done(task: asyncio.Task[SignedIn]) -> None:
            del self._in_flight[key]
            self._per_ip[ip] -= 1
            if not self._per_ip[ip]:
                del self._per_ip[ip]
            if not task.cancelled():
                task.exception()  # retrieved: every caller may have gone away

        task.add_done_callback(done)
        return task

    async def _exchange(self, key: str, api: WeChatAPI, code: str) -> SignedIn:
        if not await self._claims.claim(key):
            raise ClientError(CODE_REFUSED, "it was used before")
        try:
            who = await api.code_to_session(code)
        except WeChatError as exc:
            if not exc.code_spent:
                await self._claims.release(key)
            raise
        self._gate.admit(who.openid)
        token, session = await self._sessions.create(api.app.appid, who.openid, who.unionid, who.session_key)
        return SignedIn(session, token)


def _claim_key(appid: str, code: str) -> str:
    """What is remembered of a code; the code itself is not kept."""
    return hashlib.sha256(f"{appid}\0{code}".encode()).hexdigest()
