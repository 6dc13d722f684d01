"""Sessions that all nodes share, in Redis. The contract is in `gateway.auth.sessions`.

Everything about one user is one hash, changed by one script: so revoking a user is one step, whatever else
happens at the same time. A token's hash leads to its user by a key of its own, which Redis forgets by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gateway.auth.sessions import (
    MAX_SESSIONS_PER_USER,
    SLIDE_INTERVAL,
    Session,
    SessionKeyCipher,
    is_session_token,
    new_token,
    token_hash,
)
from gateway.brokers.redis_keys import Request, Script, Word, milliseconds
from gateway.brokers.redis_topology import Topology

SCRIPT: Final = Script("session.lua", "gateway.auth")


class RedisSessionStore:
    """See `gateway.auth.sessions.SessionStore`. Every operation raises UpstreamError where Redis is away.

    `topology` is the broker's, or one of `make_topology`; whoever made it starts and closes it. `ttl` is in
    seconds, `now` is wall-clock seconds. All nodes need the same secret in `cipher`.
    """

    def __init__(
        self,
        topology: Topology,
        cipher: SessionKeyCipher,
        *,
        ttl: float,
        now: Callable[[], float],
        max_per_user: int = MAX_SESSIONS_PER_USER,
    ) -> None:
        self._topology = topology
        self._cipher = cipher
        self._ttl = ttl
        self._ttl_ms = milliseconds(ttl)
        self._slide = min(SLIDE_INTERVAL, ttl / 10)
        self._now = now
        self._max_per_user = max_per_user

    async def check(self) -> None:
        """Every operation once, for nobody, so that a missing permission shows at start."""
        token, _ = await self.create("", "start", None, "start")
        await self.lookup(token)
        await self.session_key("", "start")
        await self.revoke(token)

    async def create(
        self, appid: str, openid: str, unionid: str | None, session_key: str
    ) -> tuple[str, Session]:
        """See `SessionStore.create`."""
        token = new_token()
        digest = token_hash(token)
        expires = self._now() + self._ttl
        sealed = self._cipher.seal(appid, openid, session_key) if session_key else b""
        words = (repr(expires), self._ttl_ms, self._max_per_user, unionid or "", sealed)
        await self._script("create", appid, openid, digest, *words)
        pointer = self._pointer(digest)
        request = Request(("SET", pointer, f"{appid}\0{openid}", "PX", self._ttl_ms), True)
        await self._topology.call(digest, request)
        return token, Session(openid, appid, unionid, digest[:16], expires)

    async def lookup(self, token: str) -> Session | None:
        """See `SessionStore.lookup`."""
        if not is_session_token(token):
            return None
        found = await self._owner(token_hash(token), "GETEX", "PX", self._ttl_ms)
        if found is None:
            return None
        appid, openid, digest = found
        expires = self._now() + self._ttl
        words = (repr(expires), self._ttl_ms, repr(expires - self._slide))
        return _session(found, await self._script("lookup", appid, openid, digest, *words))

    async def revoke(self, token: str) -> Session | None:
        """See `SessionStore.revoke`."""
        return await self.revoke_hash(token_hash(token)) if is_session_token(token) else None

    async def revoke_hash(self, digest: str) -> Session | None:
        """See `SessionStore.revoke_hash`."""
        found = await self._owner(digest, "GETDEL")
        return None if found is None else _session(found, await self._script("revoke", *found))

    async def revoke_user(self, appid: str, openid: str) -> int:
        """See `SessionStore.revoke_user`."""
        return int(await self._script("revoke_user", appid, openid))

    async def session_key(self, appid: str, openid: str) -> str | None:
        """See `SessionStore.session_key`."""
        sealed = await self._script("key", appid, openid)
        return self._cipher.open(appid, openid, sealed) if sealed else None

    async def replace_session_key(self, appid: str, openid: str, session_key: str) -> bool:
        """See `SessionStore.replace_session_key`."""
        sealed = self._cipher.seal(appid, openid, session_key)
        return bool(await self._script("replace_key", appid, openid, sealed))

    def _pointer(self, digest: str) -> str:
        return f"{self._topology.keys.prefix}:session:{{{digest}}}"

    async def _owner(self, digest: str, command: str, *words: Word) -> tuple[str, str, str] | None:
        """The appid and openid to which a token's hash leads, and the hash."""
        request = Request((command, self._pointer(digest), *words), command == "GETEX")
        owner = await self._topology.call(digest, request)
        if owner is None:
            return None
        appid, _, openid = owner.decode().partition("\0")
        return appid, openid, digest

    async def _script(self, action: str, appid: str, openid: str, *words: Word) -> Any:
        user = f"{appid}:{openid}"
        key = f"{self._topology.keys.prefix}:sessions:{{{user}}}"
        request = Request((1, key, action, repr(self._now()), *words), True, SCRIPT)
        return await self._topology.call(user, request)


def _session(owner: tuple[str, str, str], reply: list[bytes] | None) -> Session | None:
    if not reply:
        return None
    appid, openid, digest = owner
    expires, unionid = (part.decode() for part in reply)
    return Session(openid, appid, unionid or None, digest[:16], float(expires))
