"""The http listener: what phones and browsers reach. Every error is JSON: `{"code", "message"}`.

The code is one of the registry of reply errors, so that a client has one table for the socket and for HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

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
from gateway.http.asgi import App, Message, Receive, Scope, Send, header, respond_json
from gateway.http.dev import dev_router
from gateway.node import Node
from gateway.signin import SignIn
from gateway.units import parse_address
from gateway.version import __version__

BODY_LIMIT: Final = 1024 * 1024
"""Bytes of a request that is no upload: far above any sign-in, far below what hurts."""

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
STATUS_OF_ERROR: Final = {
    100: 503,
    101: 401,
    102: 404,
    103: 403,
    104: 404,
    106: 429,
    111: 429,
    109: 401,
    404: 413,
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
        declared = header(scope, b"content-length")
        if declared.isdigit() and (len(declared) > 18 or int(declared) > self._limit):
            await respond_json(send, 413, _body(413, f"the limit is {self._limit} bytes"))
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


def build_public_app(
    settings: Settings,
    node: Node,
    signin: SignIn,
    sandbox_router: APIRouter | None = None,
    dev: bool = False,
    *,
    ports: Callable[[], tuple[int, int]] | None = None,
) -> FastAPI:
    """The ASGI app of the http listener.

    Args:
        signin: for the routes under /wx, which sign in over HTTP.
        sandbox_router: a stand-in WeChat, mounted at /sandbox.
        dev: with the page at / that shows two simulated phones.
        ports: the bound ports of the websocket and the internal listener, asked for at each request;
            None reads them from the settings.
    """
    app = FastAPI(title="wx-gateway", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.signin = signin
    app.add_middleware(BodyLimit)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(GatewayException, _gateway_error)
    app.add_exception_handler(Exception, _bug)
    if sandbox_router is not None:
        app.include_router(sandbox_router, prefix="/sandbox")
    if dev:
        app.include_router(dev_router(settings, node, ports or (lambda: _ports(settings))))
    return app


def _ports(settings: Settings) -> tuple[int, int]:
    return parse_address(settings.listen.websocket)[1], parse_address(settings.listen.internal)[1]


def _body(status: int, message: str) -> dict[str, Any]:
    error = ERRORS_OF_STATUS.get(status, ERROR_INTERNAL if status >= 500 else ERROR_BAD_REQUEST)
    return {"code": error.code, "message": message}


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    message = str(error.detail)
    if error.status_code == 404 and message == HTTPStatus.NOT_FOUND.phrase:
        message = "nothing here"
    return JSONResponse(_body(error.status_code, message), error.status_code, headers=error.headers)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    # Where and why, not what: the value may be a code.
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return JSONResponse(_body(400, f"{where}: {first['msg']}"), 400)


async def _gateway_error(_: Request, error: Exception) -> JSONResponse:
    reply = ERROR_INTERNAL
    message = ""
    if isinstance(error, UpstreamError):
        reply = error.error
    elif isinstance(error, ClientError):
        reply = error.outcome if isinstance(error.outcome, Error) else ERROR_BAD_REQUEST
        message = error.detail
    else:
        log.error("request failed", exc_info=error)
    status = STATUS_OF_ERROR.get(reply.code, 503 if reply.temporary else 400)
    return JSONResponse({"code": reply.code, "message": message or reply.message}, status)


async def _bug(_: Request, error: Exception) -> JSONResponse:
    # Logged once, with its traceback, by the server's own error logger.
    return JSONResponse(_body(500, ERROR_INTERNAL.message), 500)
