"""For the team's own backend: whose token is it? Asks the gateway's `GET /wx/session`, remembers for moments.

    from gateway.auth.check import SessionChecker

    checker = SessionChecker("http://127.0.0.1:8001")

    @app.get("/orders")                                     # FastAPI, Starlette
    async def orders(request: Request):
        who = await checker.check_async(request.headers)
        if who is None:
            raise HTTPException(401)
        return await orders_of(who.openid)

    @app.get("/orders")                                     # Flask; Django: a view, with the same headers
    def orders():
        who = checker.check(request.headers)
        return orders_of(who.openid) if who else ("sign in first", 401)

A plain WSGI application gives `headers_of(environ)`.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from gateway.auth.sessions import is_session_token
from gateway.errors import ERROR_INTERNAL, UpstreamError

MAX_REMEMBERED: Final = 10_000
"""Tokens; beyond it the one that was asked for longest ago is forgotten."""
BODY_LIMIT: Final = 64 * 1024

Credentials = str | Mapping[str, str]
"""A token, or the headers of a request, whose names have no case."""


@dataclass(frozen=True, slots=True)
class CheckedSession:
    """Who a token belongs to; `expires_in` seconds from when the gateway was asked."""

    openid: str
    appid: str
    unionid: str | None
    session_id: str
    expires_in: int


class SessionChecker:
    """Checks tokens. One per process: it keeps connections, for many threads and one event loop.

    Arguments:
        url: of the gateway's http listener, or of nginx in front of it.
        remember: seconds for which a good answer is believed, so that a page with ten requests asks once.
            A user who signs out is let in for so long. 0 asks every time. A bad answer is never remembered.
        timeout: seconds for one question.
        now: monotonic seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        remember: float = 5.0,
        timeout: float = 3.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = f"{url.rstrip('/')}/wx/session"
        self._remember = remember
        self._timeout = timeout
        self._now = now
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[CheckedSession, float]] = OrderedDict()
        self._client: httpx.Client | None = None
        self._async_client: httpx.AsyncClient | None = None

    def __repr__(self) -> str:
        return f"<SessionChecker {self._url}>"

    def check(self, credentials: Credentials) -> CheckedSession | None:
        """Who it is; None for nobody: no token, or one that is no longer good.

        Raises:
            UpstreamError: the gateway could not be asked. Answer 503, not 401: the user is signed in perhaps.
        """
        token = _token(credentials)
        known = self._recall(token)
        if known is not None or not is_session_token(token):
            return known
        if self._client is None:
            with self._lock:
                self._client = self._client or httpx.Client(timeout=self._timeout, trust_env=False)
        try:
            answer = self._client.get(self._url, headers=_headers(token))
        except httpx.HTTPError as error:
            problem = type(error).__name__
        else:
            return self._learn(token, answer)
        raise UpstreamError(ERROR_INTERNAL, f"the gateway could not be asked: {problem}")

    async def check_async(self, credentials: Credentials) -> CheckedSession | None:
        """The same, without blocking the event loop."""
        token = _token(credentials)
        known = self._recall(token)
        if known is not None or not is_session_token(token):
            return known
        if self._async_client is None:
            self._async_client = httpx.AsyncClient(timeout=self._timeout, trust_env=False)
        try:
            answer = await self._async_client.get(self._url, headers=_headers(token))
        except httpx.HTTPError as error:
            problem = type(error).__name__
        else:
            return self._learn(token, answer)
        raise UpstreamError(ERROR_INTERNAL, f"the gateway could not be asked: {problem}")

    def close(self) -> None:
        """Close the connections of `check`."""
        if self._client is not None:
            self._client.close()

    async def aclose(self) -> None:
        """Close all connections."""
        self.close()
        if self._async_client is not None:
            await self._async_client.aclose()

    def _recall(self, token: str) -> CheckedSession | None:
        digest = _digest(token)
        with self._lock:
            session, until = self._known.get(digest, (None, 0.0))
            if session is not None and self._now() >= until:
                del self._known[digest]
                return None
        return session

    def _learn(self, token: str, answer: httpx.Response) -> CheckedSession | None:
        if answer.status_code in (401, 403):  # signed out, or blocked
            return None
        session = _read(answer)
        if session is None:
            raise UpstreamError(ERROR_INTERNAL, f"the gateway answered with status {answer.status_code}")
        until = self._now() + min(self._remember, session.expires_in)
        with self._lock:
            self._known[_digest(token)] = (session, until)
            if len(self._known) > MAX_REMEMBERED:
                self._known.popitem(last=False)
        return session


def headers_of(environ: Mapping[str, Any]) -> dict[str, str]:
    """The two headers that matter, of a WSGI environ."""
    names = {"HTTP_AUTHORIZATION": "authorization", "HTTP_X_WX_TOKEN": "x-wx-token"}
    return {name: str(environ[key]) for key, name in names.items() if key in environ}


def _token(credentials: Credentials) -> str:
    """The token itself; empty where there is none."""
    if isinstance(credentials, str):
        return credentials
    found = {name.lower(): value for name, value in credentials.items()}
    scheme, _, token = found.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else found.get("x-wx-token", "").strip()


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _digest(token: str) -> str:
    # Not the token: what is remembered must sign nobody in.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _read(answer: httpx.Response) -> CheckedSession | None:
    if answer.status_code != 200 or len(answer.content) > BODY_LIMIT:
        return None
    try:
        body = answer.json()
        return CheckedSession(
            openid=str(body["openid"]),
            appid=str(body["appid"]),
            unionid=body.get("unionid"),
            session_id=str(body["session_id"]),
            expires_in=int(body["expires_in"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
