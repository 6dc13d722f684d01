"""Who asks over HTTP: the session token in a header, and the address of the client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from gateway.auth.sessions import Session
from gateway.auth.signin import SignIn
from gateway.errors import ERROR_TOKEN_EXPIRED, ERROR_UNAUTHORIZED, ClientError
from gateway.websocket.peers import Peers

TOKEN_HEADER = "X-WX-Token"  # noqa: S105 (its name, not its value)

_bearer = HTTPBearer(auto_error=False, description="the token of a sign-in")
_header = APIKeyHeader(
    name=TOKEN_HEADER, auto_error=False, description="the same, where Authorization is in use"
)


def presented_token(
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    header: Annotated[str | None, Depends(_header)],
) -> str:
    """The token of `Authorization: Bearer …` or of `X-WX-Token`. Raises ClientError 101 without one."""
    token = bearer.credentials if bearer else header or ""
    if not token:
        raise ClientError(ERROR_UNAUTHORIZED, f"send the token as Authorization: Bearer or as {TOKEN_HEADER}")
    return token


PresentedToken = Annotated[str, Depends(presented_token)]


def session_dependency(sign_in: SignIn) -> Callable[[str], Awaitable[Session]]:
    """A FastAPI dependency: the session of the request, or ClientError 109 for a token of none."""

    async def signed_in(token: PresentedToken) -> Session:
        session = await sign_in.by_token(token)
        if session is None:
            raise ClientError(ERROR_TOKEN_EXPIRED, "the token has expired or was signed out: sign in again")
        return session

    return signed_in


def client_ip(request: Request, peers: Peers) -> str:
    """The address of the client, behind proxies that are ours."""
    peer = request.client.host if request.client else ""
    return peers.client_ip(peer, ",".join(request.headers.getlist("x-forwarded-for")))
