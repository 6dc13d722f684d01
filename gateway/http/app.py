"""The http listener: what phones and browsers reach. Every error is JSON: `{"code", "message"}`.

The code is one of the registry of reply errors, so that a client has one table for the socket and for HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from gateway.auth.signin import SignIn
from gateway.config import Settings
from gateway.errors import (
    ERROR_BAD_REQUEST,
    ERROR_INTERNAL,
    ERROR_MESSAGE_TOO_LARGE,
    ERROR_METHOD_NOT_FOUND,
    ERROR_PERMISSION_DENIED,
    ERROR_TOO_MANY_REQUESTS,
    ERROR_UNAUTHORIZED,
    ClientError,
    Error,
    GatewayException,
    UpstreamError,
)
from gateway.files.service import Files
from gateway.http.asgi import App, Message, Receive, Scope, Send, header
from gateway.http.cors import Cors
from gateway.http.dev import DevPage
from gateway.http.docs_page import docs_router, tidy_openapi
from gateway.http.downloads import downloads_router
from gateway.http.files import files_router
from gateway.http.local import LocalHosts
from gateway.http.problems import error_of, problem
from gateway.http.resumable import resumable_router
from gateway.http.uploads import is_upload, serve_upload
from gateway.http.wx import WxServices, wx_router
from gateway.version import __version__

BODY_LIMIT: Final = 256 * 1024
"""Bytes of a request that is no upload. JSON is read at once, before anybody has signed in: 1 MB of `[]`
would hold the loop for 50 ms."""

ERRORS_OF_STATUS: Final[dict[int, Error]] = {
    400: ERROR_BAD_REQUEST,
    401: ERROR_UNAUTHORIZED,
    403: ERROR_PERMISSION_DENIED,
    404: ERROR_METHOD_NOT_FOUND,
    405: ERROR_METHOD_NOT_FOUND,
    413: ERROR_MESSAGE_TOO_LARGE,
    422: ERROR_BAD_REQUEST,
    429: ERROR_TOO_MANY_REQUESTS,
}
log = structlog.get_logger()


class BodyLimit:
    """Counts the body while it is read: FastAPI itself would take any amount into memory."""

    def __init__(self, app: App, limit: int = BODY_LIMIT) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with a `receive` that raises 413 past the limit."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if is_upload(scope):
            await serve_upload(self._app, scope, receive, send)
            return
        declared = header(scope, b"content-length")
        if declared.isdigit() and (len(declared) > 18 or int(declared) > self._limit):
            refused = problem(scope, ERROR_MESSAGE_TOO_LARGE, f"the limit is {self._limit} bytes")
            await refused(scope, receive, send)
            return
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._limit:
                raise HTTPException(413, f"the limit is {self._limit} bytes")
            return message

        await self._app(scope, counted, send)


class PublicApp(FastAPI):
    """FastAPI with CORS around everything, answers to bugs included, and our own documentation page."""

    def __init__(self, allowed_origins: Sequence[str]) -> None:
        super().__init__(
            title="wx-gateway", version=__version__, docs_url=None, redoc_url=None, openapi_url=None
        )
        self._allowed_origins = tuple(allowed_origins)

    def build_middleware_stack(self) -> ASGIApp:
        """Starlette's hook: what is added as a middleware would be inside of its answer to a bug."""
        stack = super().build_middleware_stack()
        return Cors(stack, self._allowed_origins) if self._allowed_origins else stack

    def openapi(self) -> dict[str, Any]:
        """The document, made once: every error is a `Problem`, and there is no 422."""
        if self.openapi_schema is None:
            self.openapi_schema = tidy_openapi(super().openapi())
        return self.openapi_schema


def build_public_app(
    settings: Settings,
    signin: SignIn,
    sandbox_router: APIRouter | None = None,
    *,
    dev: DevPage | None = None,
    wx: WxServices | None = None,
    files: Files | None = None,
) -> FastAPI:
    """The ASGI app of the http listener.

    Args:
        signin: for the routes under /wx, which sign in over HTTP.
        sandbox_router: a stand-in WeChat, mounted at /sandbox.
        dev: the page of `gateway dev`, at /.
        wx: what the routes under /wx need; None leaves them out.
        files: the same for those under /files.
    """
    app = PublicApp(settings.http.allowed_origins)
    app.state.signin = signin
    app.add_middleware(BodyLimit)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(GatewayException, _gateway_error)
    app.add_exception_handler(Exception, _bug)
    if wx is not None:
        app.include_router(wx_router(wx))
    if files is not None:
        for router in (resumable_router(files), files_router(files), downloads_router(files)):
            app.include_router(router)
    if settings.http.docs:
        app.include_router(docs_router(app), include_in_schema=False)
    if sandbox_router is not None:
        app.add_middleware(LocalHosts, prefixes=("/sandbox/", "/dev/"))
        app.include_router(sandbox_router, prefix="/sandbox")
    if dev is not None:
        app.add_route("/", dev, include_in_schema=False)  # type: ignore[arg-type]  # an ASGI app is taken, too
        app.mount("/static", dev)
        app.mount("/dev", dev)
    return app


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    message = str(error.detail)
    if error.status_code == 404 and message == HTTPStatus.NOT_FOUND.phrase:
        message = "nothing here"
    reply = error_of(error.status_code, ERRORS_OF_STATUS)
    return problem(request.scope, reply, message, status=error.status_code, headers=error.headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    # Where and why, not what: the value may be a code.
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return problem(request.scope, ERROR_BAD_REQUEST, first["msg"], where=where)


async def _gateway_error(request: Request, error: Exception) -> JSONResponse:
    reply = ERROR_INTERNAL
    message = ""
    if isinstance(error, UpstreamError):
        reply = error.error
    elif isinstance(error, ClientError):
        reply = error.outcome if isinstance(error.outcome, Error) else ERROR_BAD_REQUEST
        message = error.detail
    else:
        log.error("request failed", exc_info=error)
    return problem(request.scope, reply, message)


async def _bug(request: Request, error: Exception) -> JSONResponse:
    # Logged once, with its traceback, by the server's own error logger.
    return problem(request.scope, ERROR_INTERNAL, status=500)
