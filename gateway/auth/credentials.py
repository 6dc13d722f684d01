"""Who a connecting client is: by a wx.login code, by our token, by a JWT, or nobody."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Final

import msgspec
from msgspec import Raw, Struct

from gateway.auth.gate import OPEN, Gate
from gateway.auth.options import SubscriptionOptions
from gateway.auth.sessions import Session, is_session_token, token_hash
from gateway.auth.signin import SignedIn, SignIn
from gateway.auth.tokens import TokenVerifier
from gateway.config.client import Client as ClientSettings
from gateway.errors import (
    DISCONNECT_BAD_REQUEST,
    DISCONNECT_INVALID_TOKEN,
    DISCONNECT_PERMISSION_DENIED,
    ERROR_BAD_REQUEST,
    ERROR_EXPIRED,
    ERROR_TOKEN_EXPIRED,
    ERROR_TOO_MANY_REQUESTS,
    ERROR_UNKNOWN_APPID,
    ERROR_USER_BLOCKED,
    ERROR_WECHAT_BUSY,
    ERROR_WECHAT_SETUP,
    ERROR_WECHAT_USER_BLOCKED,
    ClientError,
    UpstreamError,
)
from gateway.metrics import Metrics
from gateway.protocol import EMPTY_RAW, ConnectRequest, raw, ttl_until

SIGN_IN_OUTCOMES: Final = {
    ERROR_TOKEN_EXPIRED.code: "invalid_code",
    ERROR_BAD_REQUEST.code: "invalid_code",
    ERROR_WECHAT_USER_BLOCKED.code: "blocked",
    ERROR_USER_BLOCKED.code: "blocked",
    ERROR_WECHAT_BUSY.code: "busy",
    ERROR_WECHAT_SETUP.code: "setup",
    ERROR_UNKNOWN_APPID.code: "setup",
    ERROR_TOO_MANY_REQUESTS.code: "limited",
}
"""For the metrics: what a sign-in by code came to, by the error that the client was told."""


class _SignInData(Struct, frozen=True):
    """What a mini-program puts into the `data` of its first message; other keys are the team's."""

    code: str | None = None
    appid: str | None = None


_sign_in_decoder: Final = msgspec.json.Decoder(_SignInData)


class Credentials(Struct, frozen=True):
    """Who a client is.

    Attributes:
        way: how it said so: code, session, jwt or anonymous.
        expire_at: unix seconds, 0 is never.
        client_refresh: at the expiry it is the client's turn to bring a token, and not the team's code's.
        data: for the connect reply.
        subs: server-side subscriptions that a JWT grants.
        token_id, issued_at, token_hash: of a JWT, see `client.Facts`.
    """

    way: str
    user: str
    appid: str = ""
    session: str = ""
    expire_at: float = 0.0
    client_refresh: bool = True
    conn_info: Raw = EMPTY_RAW
    meta: Raw = EMPTY_RAW
    data: Raw = EMPTY_RAW
    subs: dict[str, SubscriptionOptions] = {}
    token_id: str = ""
    issued_at: float = 0.0
    token_hash: str = ""


async def measured_sign_in(
    sign_in: SignIn, metrics: Metrics, code: str, appid: str | None, ip: str
) -> SignedIn:
    """`SignIn.by_code`, and what became of it for the metrics; for the socket and for HTTP."""
    began, outcome = perf_counter(), "cancelled"
    try:
        signed_in = await sign_in.by_code(code, appid, ip)
        outcome = "ok"
    except (ClientError, UpstreamError) as error:
        told = error.error if isinstance(error, UpstreamError) else error.outcome
        outcome = SIGN_IN_OUTCOMES.get(told.code, "other")
        raise
    finally:
        metrics.sign_in(outcome, perf_counter() - began)
    return signed_in


class Authenticator:
    """Turns a connect, or the token of a refresh, into credentials.

    Arguments:
        wall: unix seconds.
        gate: who is not let in, whatever they bring.
        foreign_tokens: leave tokens that are not ours to the team's connect hook.
    """

    def __init__(
        self,
        settings: ClientSettings,
        sign_in: SignIn,
        tokens: TokenVerifier,
        metrics: Metrics,
        wall: Callable[[], float],
        gate: Gate = OPEN,
        *,
        foreign_tokens: bool = False,
    ) -> None:
        self._foreign_tokens = foreign_tokens
        self._settings = settings
        self._gate = gate
        self._sign_in = sign_in
        self._tokens = tokens
        self._metrics = metrics
        self._wall = wall

    async def connect(self, request: ConnectRequest, ip: str) -> Credentials | None:
        """Who it is; None: it brought nothing that the gateway judges.

        Raises ClientError or UpstreamError, with what the client is to be told.
        """
        if request.token:
            return None if self.is_foreign(request.token) else await self.token(request.token)
        data = _sign_in_data(request.data)
        return None if data.code is None else await self._by_code(data.code, data.appid, ip)

    def is_foreign(self, token: str) -> bool:
        """Whether `token` is for the team's connect hook: neither ours nor a JWT that we have keys for."""
        if not self._foreign_tokens or is_session_token(token):
            return False
        return not (self._tokens.configured and token.count(".") == 2)

    def anonymous(self) -> Credentials:
        """A client that brought nothing. Raises ClientError where the configuration wants more."""
        if not (self._settings.allow_anonymous or self._settings.insecure):
            raise ClientError(DISCONNECT_BAD_REQUEST, "neither a wx.login code nor a token")
        return Credentials("anonymous", user="")

    async def _by_code(self, code: str, appid: str | None, ip: str) -> Credentials:
        signed_in = await measured_sign_in(self._sign_in, self._metrics, code, appid, ip)
        return _of_session("code", signed_in.session, signed_in.token)

    async def token(self, token: str) -> Credentials:
        """Whose token it is: our own, or a JWT of the team's backend.

        An unknown token of ours is one that has expired or was revoked: error 109, on which the client signs
        in again.
        """
        if is_session_token(token):
            session = await self._sign_in.by_token(token)
            if session is None:
                raise ClientError(ERROR_TOKEN_EXPIRED, "sign in again")
            return _of_session("session", session, "")
        if not self._tokens.configured:
            raise ClientError(DISCONNECT_INVALID_TOKEN, "no key for JWTs is configured")
        claims = await self._tokens.verify_connection(token)
        if not claims.user and not self._settings.allow_anonymous:
            raise ClientError(DISCONNECT_PERMISSION_DENIED, "anonymous tokens are not allowed")
        if claims.expire_at and claims.expire_at <= self._wall():
            raise ClientError(ERROR_EXPIRED, "the token asks for a connection that has expired")
        digest = token_hash(token)
        self._gate.admit(claims.user, claims.token_id, digest, claims.issued_at)
        return Credentials(
            "jwt",
            claims.user,
            expire_at=0.0 if self._settings.insecure else claims.expire_at,
            conn_info=claims.info or EMPTY_RAW,
            meta=claims.meta or EMPTY_RAW,
            subs=claims.subs,
            token_id=claims.token_id,
            issued_at=claims.issued_at,
            token_hash=digest,
        )

    def ttl(self, expire_at: float) -> int:
        """Seconds until `expire_at` as a client is told; 0 where it never expires."""
        return ttl_until(expire_at, self._wall())


def _sign_in_data(data: Raw) -> _SignInData:
    content = bytes(data)
    if not content.startswith(b"{"):  # absent, or data of the team's that is no object
        return _SignInData()
    try:
        return _sign_in_decoder.decode(content)
    except (msgspec.DecodeError, RecursionError):
        raise ClientError(ERROR_BAD_REQUEST, "data.code and data.appid are strings") from None


def without_code(data: Raw) -> Raw:
    """The `data` of a connect, without what signs in."""
    if not bytes(data).startswith(b"{"):
        return data
    fields = msgspec.json.decode(data, type=dict[str, Raw])
    return raw(fields) if fields.pop("code", None) is not None else data


def _of_session(way: str, session: Session, token: str) -> Credentials:
    told = {"token": token, "openid": session.user, "unionid": session.unionid}
    return Credentials(
        way,
        session.user,
        appid=session.appid,
        session=session.session_id,
        expire_at=session.expires_at,
        data=raw({name: value for name, value in told.items() if value}),
    )
