"""The methods of the server API that look after users: find, block, revoke, read the audit log.

Names and parameters are those of Centrifugo PRO where it has such a method
(https://centrifugal.dev/docs/pro/access_revoke), so that programs written for it work.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from gateway.auth.sessions import SessionStore, is_session_token
from gateway.errors import (
    DISCONNECT_SIGNED_OUT,
    ERROR_BAD_REQUEST,
    ERROR_NOT_AVAILABLE,
    ClientError,
)
from gateway.http.api_methods import ID_SIZE, Method
from gateway.http.api_shapes import Expiry
from gateway.node.cluster import Target
from gateway.node.node import Node
from gateway.protection.audit import Audit, AuditPage
from gateway.protection.connections import Connections, Query, check
from gateway.protection.guard import BLOCKED, INVALIDATED, REVOKED, Entry, Guard
from gateway.protocol import EmptyResult

REASON_SIZE: Final = 200
"""Characters of why a user is blocked."""
TOKEN_SIZE: Final = 8 * 1024
PAGE_LIMIT: Final = 1000
"""Blocked users, or lines of the audit log, of one page."""

_EMPTY: Final = EmptyResult()
Limit = Annotated[int, Meta(ge=1, le=PAGE_LIMIT)]


class BlockUser(Struct, frozen=True):
    """`expire_at`: unix seconds, 0 is until the user is unblocked."""

    user: str = ""
    expire_at: Expiry = 0
    reason: str = ""


class User(Struct, frozen=True):
    user: str = ""


class BlockedUsers(Struct, frozen=True):
    """`search`: a part of the user."""

    search: str = ""
    limit: Limit = 100
    cursor: str = ""


class BlockedUser(Struct, frozen=True, omit_defaults=True):
    user: str
    since: int
    expire_at: int = 0
    reason: str = ""


class BlockedPage(Struct, frozen=True, omit_defaults=True):
    users: list[BlockedUser]
    total: int
    cursor: str = ""


class RevokeToken(Struct, frozen=True):
    """One of: the token itself, its SHA-256 in hex, or the `jti` of a JWT (`uid` in Centrifugo PRO)."""

    token: str = ""
    token_hash: str = ""
    jti: str = ""
    uid: str = ""
    expire_at: Expiry = 0


class InvalidateUserTokens(Struct, frozen=True):
    """`issued_before`: unix seconds, 0 is now."""

    user: str = ""
    issued_before: Expiry = 0
    expire_at: Expiry = 0
    channel: str = ""


class ReadAudit(Struct, frozen=True):
    """Newest first; `action` and `target` narrow it down."""

    limit: Limit = 100
    cursor: str = ""
    action: str = ""
    target: str = ""


class _Claims(Struct, frozen=True):
    exp: float = 0.0


class ProtectionMethods:
    """The methods; `table` is like that of `api_methods.Methods`.

    Arguments:
        appids: of the mini-programs as they are configured now, whose sessions are ended.
    """

    def __init__(
        self,
        node: Node,
        guard: Guard,
        connections: Connections,
        sessions: SessionStore,
        audit: Audit,
        appids: Callable[[], Iterable[str]],
    ) -> None:
        self._node = node
        self._guard = guard
        self._connections = connections
        self._sessions = sessions
        self._audit = audit
        self._appids = appids
        self.table: dict[str, Method] = {
            name: (msgspec.json.Decoder(kind), handler)
            for name, kind, handler in (
                ("connections", Query, self._list),
                ("block_user", BlockUser, self._block),
                ("unblock_user", User, self._unblock),
                ("blocked_users", BlockedUsers, self._blocked),
                ("revoke_token", RevokeToken, self._revoke),
                ("invalidate_user_tokens", InvalidateUserTokens, self._invalidate),
                ("audit", ReadAudit, self._read_audit),
            )
        }

    async def _list(self, request: Query) -> Struct:
        check(request, ID_SIZE)
        return await self._connections.page(request)

    # ------------------------------------------------------------------ users
    async def _block(self, request: BlockUser) -> Struct:
        _need("user", request.user)
        _short("reason", request.reason, REASON_SIZE)
        self._in_future(request.expire_at)
        entry = Entry(self._node.wall(), float(request.expire_at), request.reason)
        await self._guard.put(BLOCKED, request.user, entry)
        return _EMPTY

    async def _unblock(self, request: User) -> Struct:
        await self._guard.remove(BLOCKED, _need("user", request.user))
        return _EMPTY

    async def _blocked(self, request: BlockedUsers) -> Struct:
        _short("cursor", request.cursor, ID_SIZE)
        _short("search", request.search, ID_SIZE)
        found, total = await self._guard.page(BLOCKED, request.cursor, request.limit + 1, request.search)
        shown = found[: request.limit]
        users = [BlockedUser(user, int(each.since), int(each.until), each.reason) for user, each in shown]
        return BlockedPage(users, total, shown[-1][0] if len(found) > request.limit else "")

    # ------------------------------------------------------------------ tokens
    async def _revoke(self, request: RevokeToken) -> Struct:
        given = [each for each in (request.token, request.token_hash, request.jti or request.uid) if each]
        if len(given) != 1:
            raise _bad("give one of token, token_hash and jti")
        _short("token", request.token, TOKEN_SIZE)
        self._in_future(request.expire_at)
        until = float(request.expire_at)
        if request.token_hash:
            await self._revoke_hash(_digest(request.token_hash), until)
        elif not request.token:
            _short("jti", given[0], ID_SIZE)
            await self._guard.put(REVOKED, f"jti:{given[0]}", Entry(self._node.wall(), until))
        elif is_session_token(request.token):
            await self._end_session(hashlib.sha256(request.token.encode()).hexdigest())
        else:
            digest = hashlib.sha256(request.token.encode("utf-8", "replace")).hexdigest()
            await self._revoke_hash(digest, until or _end_of(request.token), session=False)
        return _EMPTY

    async def _revoke_hash(self, digest: str, until: float, *, session: bool = True) -> None:
        """A hash does not say of what: of a session, or else of a JWT."""
        if not (session and await self._end_session(digest)):
            await self._guard.put(REVOKED, f"sha256:{digest}", Entry(self._node.wall(), until))

    async def _end_session(self, digest: str) -> bool:
        ended = await self._sessions.revoke_hash(digest)
        if ended is not None:
            target = Target(user=ended.user, session=ended.session_id)
            await self._node.disconnect(target, DISCONNECT_SIGNED_OUT, [])
        return ended is not None

    async def _invalidate(self, request: InvalidateUserTokens) -> Struct:
        user = _need("user", request.user)
        if request.channel:
            raise ClientError(
                ERROR_NOT_AVAILABLE, "tokens are not invalidated by channel: unsubscribe the user"
            )
        self._in_future(request.expire_at)
        now = self._node.wall()
        # Sessions first: who is told to go must not come back with one.
        for appid in self._appids():
            await self._sessions.revoke_user(appid, user)
        entry = Entry(now, float(request.expire_at), "", float(request.issued_before) or now)
        await self._guard.put(INVALIDATED, user, entry)
        return _EMPTY

    def _in_future(self, expire_at: int) -> None:
        if expire_at and expire_at <= self._node.wall():
            raise _bad("expire_at has passed")

    # ------------------------------------------------------------------ audit
    async def _read_audit(self, request: ReadAudit) -> AuditPage:
        for name in ("cursor", "action", "target"):
            _short(name, getattr(request, name), ID_SIZE)
        return await self._audit.page(request.limit, request.cursor, request.action, request.target)


def _bad(detail: str) -> ClientError:
    return ClientError(ERROR_BAD_REQUEST, detail)


def _need(name: str, value: str) -> str:
    if not value:
        raise _bad(f"{name} is missing")
    _short(name, value, ID_SIZE)
    return value


def _short(name: str, value: str, limit: int) -> None:
    if len(value) > limit:
        raise _bad(f"{name} has more than {limit} characters")


def _digest(text: str) -> str:
    digest = text.strip().lower()
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise _bad("token_hash is the SHA-256 of a token, in hex")
    return digest


def _end_of(token: str) -> float:
    """When a JWT expires by what it says itself: its revocation need not be kept longer. 0: never."""
    parts = token.split(".")
    try:
        payload = (
            base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)) if len(parts) == 3 else b"{}"
        )
        return max(0.0, msgspec.json.decode(payload, type=_Claims).exp)
    except (binascii.Error, ValueError, RecursionError, msgspec.MsgspecError):
        return 0.0
