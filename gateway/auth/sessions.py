"""Who is signed in: openid sessions and the WeChat session keys that belong to their users.

A token is 256 random bits and points to one user of one mini-program. Only its SHA-256 is stored, so a
copy of the store signs nobody in. The session key belongs to the user, not to the token: WeChat keeps
exactly one valid key per user, so a newer login replaces the older key for every session of that user.
It is encrypted at rest, never sent to a client, and gone with the user's last session.

Operations are coroutines so that stores beyond this process keep the same contract. The clock is an
argument: wall-clock seconds, because expiry is shared between machines.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAX_SESSIONS_PER_USER = 32
"""One user's sessions: a phone, a tablet, a PC, and what was left behind by reinstalls."""

SLIDE_INTERVAL = 60.0
"""Seconds between two writes of one session's expiry, however often it is looked up."""

COLLECT_BATCH = 64
"""Expired sessions removed by one operation, so that no operation pays for a whole day's leavers."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_NONCE_SIZE = 12  # NIST SP 800-38D: 96 bits, random per encryption


def new_token() -> str:
    """256 random bits as 43 characters without a dot, which tells them from a JWT."""
    return secrets.token_urlsafe(32)


def is_session_token(token: str) -> bool:
    """Whether `token` has the shape of a session token; anything else (a JWT) is someone else's business."""
    return _TOKEN.fullmatch(token) is not None


def token_hash(token: str) -> str:
    """What is stored instead of the token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in of one user. `session_id` is public: enough to name a session, useless to enter it."""

    user: str
    appid: str
    unionid: str | None
    session_id: str
    expires_at: float


class SessionKeyCipher:
    """AES-256-GCM for session keys; each ciphertext opens for its own (appid, openid) only."""

    __slots__ = ("_aead",)

    def __init__(self, secret: str) -> None:
        if not secret:
            raise ValueError("the encryption key for session keys is empty")
        derive = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"wx-gateway session_key v1")
        self._aead = AESGCM(derive.derive(secret.encode()))

    @classmethod
    def random(cls) -> SessionKeyCipher:
        """A key that dies with this process: right for a store that dies with it too."""
        return cls(secrets.token_urlsafe(32))

    def seal(self, appid: str, openid: str, session_key: str) -> bytes:
        """Encrypt, bound to the user."""
        nonce = secrets.token_bytes(_NONCE_SIZE)
        return nonce + self._aead.encrypt(nonce, session_key.encode(), _owner(appid, openid))

    def open(self, appid: str, openid: str, sealed: bytes) -> str | None:
        """Decrypt; None for another user's ciphertext, a damaged one, or one under another secret."""
        try:
            plain = self._aead.decrypt(sealed[:_NONCE_SIZE], sealed[_NONCE_SIZE:], _owner(appid, openid))
        except (InvalidTag, ValueError):
            return None
        return plain.decode()


def _owner(appid: str, openid: str) -> bytes:
    """Associated data: unambiguous, because an appid cannot contain a zero byte."""
    return f"{appid}\0{openid}".encode()


class SessionStore(Protocol):
    """What every store promises; the contract tests run over all of them.

    - A token is found until it expires, is revoked, or is pushed out by the cap on its user's sessions
      (the least recently used one goes first). Anything else is not found; no input raises.
    - Use slides the expiry. The write may be lazy: after its last use a session lives for its ttl,
      less at most `SLIDE_INTERVAL` (or a tenth of the ttl, if that is shorter).
    - Users of different mini-programs are different users, whatever their openids.
    - `session_key` is the newest login's, and None once the user's last session has ended.
    """

    async def create(
        self, appid: str, openid: str, unionid: str | None, session_key: str
    ) -> tuple[str, Session]:
        """A new session and the only copy of its token. An empty `session_key` leaves the old one."""
        ...

    async def lookup(self, token: str) -> Session | None:
        """The session of `token`, its expiry moved on; None where there is none."""
        ...

    async def revoke(self, token: str) -> Session | None:
        """End one session; returns the one that ended, so that its connections can be found."""
        ...

    async def revoke_hash(self, digest: str) -> Session | None:
        """The same, where only the token's hash is known."""
        ...

    async def revoke_user(self, appid: str, openid: str) -> int:
        """End all sessions of a user and forget the session key; returns how many there were."""
        ...

    async def session_key(self, appid: str, openid: str) -> str | None:
        """The user's session key, decrypted."""
        ...

    async def replace_session_key(self, appid: str, openid: str, session_key: str) -> bool:
        """Put another key in its place; False, and nothing kept, for a user without a session."""
        ...


@dataclass(slots=True)
class _User:
    """One user's sessions, least recently used first, and the encrypted key."""

    hashes: OrderedDict[str, None] = field(default_factory=OrderedDict)
    sealed_key: bytes = field(default=b"", repr=False)


class MemorySessionStore:
    """Sessions of one process: `gateway dev`, tests, and one-worker installations."""

    def __init__(
        self,
        cipher: SessionKeyCipher,
        *,
        ttl: float,
        now: Callable[[], float],
        max_per_user: int = MAX_SESSIONS_PER_USER,
    ) -> None:
        self._cipher = cipher
        self._ttl = ttl
        self._slide = min(SLIDE_INTERVAL, ttl / 10)
        self._now = now
        self._max_per_user = max_per_user
        # Ordered by expiry: every session has the same ttl, and one that slides moves to the end.
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._users: dict[tuple[str, str], _User] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} sessions={len(self._sessions)} users={len(self._users)}>"

    def __len__(self) -> int:
        return len(self._sessions)

    async def create(
        self, appid: str, openid: str, unionid: str | None, session_key: str
    ) -> tuple[str, Session]:
        """See `SessionStore.create`."""
        now = self._now()
        self._collect(now)
        token = new_token()
        digest = token_hash(token)
        session = Session(openid, appid, unionid, digest[:16], now + self._ttl)
        user = self._users.setdefault((appid, openid), _User())
        while len(user.hashes) >= self._max_per_user:
            oldest, _ = user.hashes.popitem(last=False)
            self._sessions.pop(oldest, None)
        user.hashes[digest] = None
        if session_key:
            user.sealed_key = self._cipher.seal(appid, openid, session_key)
        self._sessions[digest] = session
        return token, session

    async def lookup(self, token: str) -> Session | None:
        """See `SessionStore.lookup`."""
        now = self._now()
        self._collect(now)
        digest = token_hash(token)
        session = self._sessions.get(digest)
        if session is None:
            return None
        if session.expires_at <= now:
            self._remove(digest)
            return None
        if session.expires_at < now + self._ttl - self._slide:
            session = replace(session, expires_at=now + self._ttl)
            self._sessions[digest] = session
            self._sessions.move_to_end(digest)
        self._users[session.appid, session.user].hashes.move_to_end(digest)
        return session

    async def revoke(self, token: str) -> Session | None:
        """See `SessionStore.revoke`."""
        return await self.revoke_hash(token_hash(token))

    async def revoke_hash(self, digest: str) -> Session | None:
        """See `SessionStore.revoke_hash`."""
        session = self._remove(digest)
        return session if session is not None and session.expires_at > self._now() else None

    async def revoke_user(self, appid: str, openid: str) -> int:
        """See `SessionStore.revoke_user`."""
        user = self._users.pop((appid, openid), None)
        if user is None:
            return 0
        now = self._now()
        ended = [self._sessions.pop(digest) for digest in user.hashes]
        return sum(session.expires_at > now for session in ended)

    async def session_key(self, appid: str, openid: str) -> str | None:
        """See `SessionStore.session_key`."""
        now = self._now()
        user = self._users.get((appid, openid))
        if user is None or not user.sealed_key:
            return None
        if all(self._sessions[digest].expires_at <= now for digest in user.hashes):
            return None
        return self._cipher.open(appid, openid, user.sealed_key)

    async def replace_session_key(self, appid: str, openid: str, session_key: str) -> bool:
        """See `SessionStore.replace_session_key`."""
        now = self._now()
        user = self._users.get((appid, openid))
        if user is None or all(self._sessions[digest].expires_at <= now for digest in user.hashes):
            return False
        user.sealed_key = self._cipher.seal(appid, openid, session_key)
        return True

    def _remove(self, digest: str) -> Session | None:
        session = self._sessions.pop(digest, None)
        if session is None:
            return None
        owner = (session.appid, session.user)
        user = self._users[owner]
        del user.hashes[digest]
        if not user.hashes:
            del self._users[owner]
        return session

    def _collect(self, now: float) -> None:
        """Remove what has expired, oldest first, a bounded number at a time."""
        for _ in range(COLLECT_BATCH):
            digest = next(iter(self._sessions), None)
            if digest is None or self._sessions[digest].expires_at > now:
                return
            self._remove(digest)
