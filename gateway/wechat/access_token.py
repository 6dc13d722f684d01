"""The access token of one mini-program, kept once for all nodes and renewed before it ends.

https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken.html

`stable_token` gives everybody who asks the same token, and a new one in the last five minutes, in which both
are good. So nodes need no lock to renew. To force a new one is rationed (20 a day, 30 s apart) and ends the
old one at once, for the team's other servers too: it is done only where WeChat refuses the very token that it
has just given, and by one node at a time.

The token is never logged and stands in no error and no repr.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from gateway.errors import UpstreamError
from gateway.wechat.calls import WeChatCalls

RENEW_EARLY: Final = 300.0
"""Seconds before its end in which `stable_token` gives a new token."""
RETRY_EARLY: Final = 10.0
"""Seconds between two attempts to renew a token that is still good."""
EXPIRY_MARGIN: Final = 10.0
"""Seconds before its end from which a token is no longer used: a call takes time to arrive."""
FORCE_INTERVAL: Final = 30.0
"""Seconds between two forced tokens; sooner WeChat does nothing."""
TOKEN_LIMIT: Final = 2048
"""Characters; WeChat asks for room for at least 512."""

_PATH: Final = "/cgi-bin/stable_token"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AccessToken:
    """`expires_at` in unix seconds."""

    value: str = field(repr=False)
    expires_at: float


class TokenStorage(Protocol):
    """Where all nodes find the token. An implementation outside of this process encrypts it at rest."""

    async def load(self, appid: str) -> AccessToken | None:
        """The token that was saved last, whatever its age; None where there is none."""
        ...

    async def save(self, appid: str, token: AccessToken) -> None:
        """Replace it, for all nodes."""
        ...

    async def claim_force(self, appid: str, seconds: float) -> bool:
        """True for one caller among all nodes within `seconds`: that one may force a new token."""
        ...


class MemoryTokenStorage:
    """Tokens of one process. `now` is unix seconds."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._tokens: dict[str, AccessToken] = {}
        self._forced: dict[str, float] = {}

    async def load(self, appid: str) -> AccessToken | None:
        """See `TokenStorage.load`."""
        return self._tokens.get(appid)

    async def save(self, appid: str, token: AccessToken) -> None:
        """See `TokenStorage.save`."""
        self._tokens[appid] = token

    async def claim_force(self, appid: str, seconds: float) -> bool:
        """See `TokenStorage.claim_force`."""
        now = self._now()
        if now < self._forced.get(appid, now):
            return False
        self._forced[appid] = now + seconds
        return True


class AccessTokenKeeper:
    """The token of `calls.app`. `now` is unix seconds."""

    def __init__(
        self, calls: WeChatCalls, storage: TokenStorage, now: Callable[[], float] = time.time
    ) -> None:
        self._calls = calls
        self._appid = calls.app.appid
        self._storage = storage
        self._now = now
        self._token: AccessToken | None = None
        self._task: asyncio.Task[AccessToken] | None = None
        self._next_early = 0.0

    def __repr__(self) -> str:
        return f"<AccessTokenKeeper {self._appid}>"

    async def get(self) -> str:
        """A token that is good now; raises `WeChatError` where none can be had.

        Near its end it is renewed in the background: nobody waits for WeChat while the old one is good.
        """
        token, now = self._token, self._now()
        if token is None or token.expires_at - EXPIRY_MARGIN <= now:
            return (await self._renewed("")).value
        if token.expires_at - now <= RENEW_EARLY and now >= self._next_early:
            self._next_early = now + RETRY_EARLY
            self._begin("")
        return token.value

    async def replace(self, refused: str) -> str:
        """Another token than `refused`, which WeChat has just called invalid or expired."""
        token = self._token
        if token is not None and token.value != refused:
            return token.value  # somebody else had the same trouble a moment ago
        token = await self._renewed(refused)
        if token.value == refused:
            # That was a renewal under way, which did not know of the refusal.
            token = await self._renewed(refused)
        return token.value

    async def close(self) -> None:
        """End a renewal under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _renewed(self, refused: str) -> AccessToken:
        return await asyncio.shield(self._task or self._begin(refused))

    def _begin(self, refused: str) -> asyncio.Task[AccessToken]:
        """Renewals share one flight: a failure is everybody's, so that nobody waits twice."""
        if self._task is None:
            self._task = asyncio.create_task(self._renew(refused), name="access-token")
            self._task.add_done_callback(self._finished)
        return self._task

    def _finished(self, task: asyncio.Task[AccessToken]) -> None:
        self._task = None
        if task.cancelled():
            return
        error, token = task.exception(), self._token
        # With no good token left somebody waits for it, and is told.
        if isinstance(error, UpstreamError) and token and token.expires_at > self._now():
            log.warning("no new access token", appid=self._appid, problem=error.detail)

    async def _renew(self, refused: str) -> AccessToken:
        stored = await self._storage.load(self._appid)
        if stored and stored.value != refused and stored.expires_at - self._now() > RENEW_EARLY:
            self._token = stored
            return stored
        token = await self._ask(force=False)
        if token.value == refused and await self._storage.claim_force(self._appid, FORCE_INTERVAL):
            log.warning("WeChat refuses its own access token: a new one is forced", appid=self._appid)
            token = await self._ask(force=True)
        await self._storage.save(self._appid, token)
        self._token = token
        return token

    async def _ask(self, *, force: bool) -> AccessToken:
        app = self._calls.app
        body = {
            "grant_type": "client_credential",
            "appid": app.appid,
            "secret": app.secret,
            "force_refresh": force,
        }
        asked = self._now()
        reply = await self._calls.ask(_PATH, body=body)
        if reply.errcode:
            raise self._calls.refusal(_PATH, reply)
        value, lifetime = reply.fields.get("access_token"), reply.fields.get("expires_in")
        if not isinstance(value, str) or not 0 < len(value) <= TOKEN_LIMIT or type(lifetime) is not int:
            raise self._calls.garbage(_PATH)
        # At most a day, whatever is said: it becomes a time in a store.
        return AccessToken(value, asked + max(0, min(lifetime, 86_400)))
