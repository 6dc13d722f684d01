"""Sign-in over HTTP: `/wx/login`, `/wx/session`, `/wx/logout`. One token for requests, files and sockets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, Header, Request, Response
from pydantic import BaseModel, Field

from gateway.auth.credentials import measured_sign_in
from gateway.auth.sessions import Session, SessionStore
from gateway.auth.signin import SignedIn, SignIn
from gateway.errors import (
    DISCONNECT_SIGNED_OUT,
    ERROR_BAD_REQUEST,
    ERROR_TOKEN_EXPIRED,
    ClientError,
)
from gateway.http.auth import PresentedToken, client_ip, session_dependency
from gateway.http.callback import CallbackDesk, callback_router
from gateway.http.problems import Problem
from gateway.http.wx_data import OpenDataDesk, open_data_router
from gateway.metrics import Metrics
from gateway.node.cluster import Target
from gateway.node.node import Node
from gateway.websocket.peers import Peers

PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "the request is wrong",
        401: "no token, or one that is no longer good: sign in again",
        403: "refused",
        413: "too large",
        429: "too much at once, come back later",
        503: "WeChat or Redis is away, come back later",
    }.items()
}

Code = Annotated[str, Field(min_length=1, max_length=256, description="of `wx.login`; good once, 5 minutes")]
AppId = Annotated[str, Field(max_length=64, description="which mini-program, where several are served")]


class LoginRequest(BaseModel):
    """What a phone sends; other keys are the team's, and are ignored."""

    code: Code | None = None
    appid: AppId | None = None


class LoginAnswer(BaseModel):
    """`expires_in` in seconds from now; use moves it on."""

    token: str
    openid: str
    unionid: str | None = None
    expires_in: int


class SessionAnswer(BaseModel):
    """Who a token belongs to; `session_id` names the session and opens nothing."""

    openid: str
    appid: str
    unionid: str | None = None
    expires_in: int
    session_id: str


class Done(BaseModel):
    """An empty object: it is done."""


@dataclass(frozen=True, slots=True)
class WxServices:
    """What the routes under /wx are made of. `wall`: unix seconds."""

    sign_in: SignIn
    sessions: SessionStore
    node: Node
    metrics: Metrics
    peers: Peers
    open_data: OpenDataDesk
    callbacks: CallbackDesk
    wall: Callable[[], float]


def no_store(response: Response) -> None:
    """Tokens and what belongs to one user are in no cache."""
    response.headers["Cache-Control"] = "no-store"


def wx_router(services: WxServices) -> APIRouter:
    """Everything under /wx."""
    router = APIRouter(prefix="/wx", responses=PROBLEMS, dependencies=[Depends(no_store)])
    _add_login(router, services)
    _add_session(router, services)
    router.include_router(open_data_router(services.open_data, session_dependency(services.sign_in)))
    router.include_router(callback_router(services.callbacks))
    return router


def _add_login(router: APIRouter, services: WxServices) -> None:
    async def sign_in(request: Request, code: str | None, appid: str | None) -> LoginAnswer:
        if not code:
            raise ClientError(ERROR_BAD_REQUEST, "code is missing: send it in the body or as X-WX-Code")
        ip = client_ip(request, services.peers)
        return _answer(
            await measured_sign_in(services.sign_in, services.metrics, code, appid or None, ip),
            services.wall(),
        )

    @router.post("/login", tags=["sign-in"], response_model_exclude_none=True)
    async def login(
        request: Request,
        body: Annotated[LoginRequest | None, Body()] = None,
        x_wx_code: Annotated[Code | None, Header()] = None,
        x_wx_appid: Annotated[AppId | None, Header()] = None,
    ) -> LoginAnswer:
        """Sign in with a code of `wx.login`. The same session as on the socket.

        The code is in the body or, as clients of Wafer send it, in the header `X-WX-Code`; the body wins.
        A code reaches WeChat once: whoever sends one again is told to fetch a new one (109).
        """
        given = body or LoginRequest()
        return await sign_in(request, given.code or x_wx_code, given.appid or x_wx_appid)

    @router.get("/login", tags=["sign-in"], response_model_exclude_none=True)
    async def login_by_header(
        request: Request,
        x_wx_code: Annotated[Code, Header()],
        x_wx_appid: Annotated[AppId | None, Header()] = None,
    ) -> LoginAnswer:
        """The same for clients of Wafer, which sign in by GET, with the code in a header."""
        return await sign_in(request, x_wx_code, x_wx_appid)


def _add_session(router: APIRouter, services: WxServices) -> None:
    signed_in = Depends(session_dependency(services.sign_in))

    @router.get("/session", tags=["sign-in"], response_model_exclude_none=True)
    async def session(current: Session = signed_in) -> SessionAnswer:
        """Who the token belongs to. For the team's own backend: `gateway.auth.check` asks here."""
        return SessionAnswer(
            openid=current.user,
            appid=current.appid,
            unionid=current.unionid,
            expires_in=_seconds_left(current, services.wall()),
            session_id=current.session_id,
        )

    @router.post("/logout", tags=["sign-in"])
    async def logout(token: PresentedToken) -> Done:
        """End the session and its sockets, on every node (disconnect 4501)."""
        ended = await services.sessions.revoke(token)
        if ended is None:
            raise ClientError(ERROR_TOKEN_EXPIRED, "the token has expired or was signed out")
        target = Target(user=ended.user, session=ended.session_id)
        await services.node.disconnect(target, DISCONNECT_SIGNED_OUT, [])
        return Done()


def _answer(signed_in: SignedIn, now: float) -> LoginAnswer:
    session = signed_in.session
    return LoginAnswer(
        token=signed_in.token,
        openid=session.user,
        unionid=session.unionid,
        expires_in=_seconds_left(session, now),
    )


def _seconds_left(session: Session, now: float) -> int:
    return max(0, int(session.expires_at - now))
