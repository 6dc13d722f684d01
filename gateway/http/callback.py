"""`/wx/callback`: what WeChat's servers push goes to the team's code and, if wanted, to a channel.

WeChat waits 5 s and comes again three times. So the answer never waits for the team's code: a message is
checked, claimed for this deployment, answered with "success", and handled afterwards. Where too many are
being handled already the answer is 503, and WeChat comes again.

Who is not WeChat learns nothing: one answer, 403, for everything that can be wrong.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

import msgspec
import structlog
from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from gateway.auth.signin import CodeClaims
from gateway.backend.base import Backend
from gateway.errors import (
    ERROR_PERMISSION_DENIED,
    ERROR_TOO_MANY_REQUESTS,
    ClientError,
    UpstreamError,
)
from gateway.metrics import Metrics
from gateway.node.node import Node
from gateway.wechat.callback import CallbackApp, WeChatEvent, check_question, open_push
from gateway.wechat.crypto import BadPush

MAX_EVENTS: Final = 256
"""Messages that are being handled at a time, on one node."""
LOG_INTERVAL: Final = 60.0
"""Seconds between two lines about requests that are refused: anybody can send some."""

_QUERY: Final = ("signature", "timestamp", "nonce", "echostr", "openid", "encrypt_type", "msg_signature")

log = structlog.get_logger()


class CallbackDesk:
    """Takes messages.

    Arguments:
        apps: by appid, those with a token.
        claims: remembers nonces and messages, for all nodes.
        wall: unix seconds.
    """

    def __init__(
        self,
        apps: Mapping[str, CallbackApp],
        claims: CodeClaims,
        backend: Backend,
        node: Node,
        metrics: Metrics,
        wall: Callable[[], float],
    ) -> None:
        self._apps = dict(apps)
        self._claims = claims
        self._backend = backend
        self._node = node
        self._metrics = metrics
        self._wall = wall
        self.watchers: dict[str, Callable[[WeChatEvent], Awaitable[None]]] = {}
        """Rooms of the gateway's own that hear of an event, by its name, before anybody else does."""
        self._handling = 0
        self._next_log = 0.0

    def load(self, apps: Mapping[str, CallbackApp]) -> None:
        """Take over the mini-programs of another configuration."""
        self._apps = dict(apps)

    def answer(self, appid: str, query: Mapping[str, str]) -> str:
        """What the console wants to hear. Raises ClientError 103."""
        try:
            return check_question(self._app(appid), query, self._wall())
        except BadPush as error:
            raise self._refused(str(error)) from None

    async def take(self, appid: str, query: Mapping[str, str], body: bytes) -> None:
        """Accept one message, or know it already.

        Raises:
            ClientError: 103 where it is not from WeChat, 111 where there are too many.
            UpstreamError: the claims could not be asked.
        """
        try:
            app = self._app(appid)
            push = open_push(app, query, body, self._wall())
        except BadPush as error:
            raise self._refused(str(error)) from None
        if self._handling >= MAX_EVENTS:
            self._metrics.callback("busy")
            raise ClientError(ERROR_TOO_MANY_REQUESTS)
        first = await self._claims.claim(push.once)
        known = not await self._claims.claim(push.same)
        if not first and not known:
            # In plain mode the signature does not cover the body: a nonce that was seen signs another one.
            raise self._refused("the nonce was used before")
        if not first or not await self._claims.claim(push.message):
            self._metrics.callback("duplicate")
            return
        self._metrics.callback("accepted")
        self._handling += 1
        self._node.spawn(self._handle(app, push.event))

    def _app(self, appid: str) -> CallbackApp:
        if appid:
            app = self._apps.get(appid)
        else:
            app = next(iter(self._apps.values())) if len(self._apps) == 1 else None
        if app is None:
            raise BadPush(
                "no callback_token is configured for this URL; with several apps it is /wx/callback/<appid>"
            )
        return app

    def _refused(self, reason: str) -> ClientError:
        self._metrics.callback("refused")
        now = self._wall()
        if now >= self._next_log:
            self._next_log = now + LOG_INTERVAL
            log.warning("a request to /wx/callback was refused", reason=reason)
        return ClientError(ERROR_PERMISSION_DENIED)

    async def _handle(self, app: CallbackApp, event: WeChatEvent) -> None:
        try:
            if (watcher := self.watchers.get(event.event)) is not None:
                await watcher(event)
            await self._publish(app, event)
            await self._tell_backend(event)
        finally:
            self._handling -= 1

    async def _publish(self, app: CallbackApp, event: WeChatEvent) -> None:
        if app.channel:
            with _told(event, "a message of WeChat was not published"):
                await self._node.publish(app.channel, msgspec.json.encode(event))

    async def _tell_backend(self, event: WeChatEvent) -> None:
        work = self._backend.handle_wechat_event(event)
        if work is not None:
            with _told(event, "a message of WeChat was not handled"):
                await work


@contextlib.contextmanager
def _told(event: WeChatEvent, line: str) -> Iterator[None]:
    """A failure is told to the operator: WeChat has its answer already."""
    try:
        yield
    except (ClientError, UpstreamError) as error:
        log.warning(
            line,
            appid=event.appid,
            type=event.type,
            event_name=event.event,
            problem=error.detail,
        )


def _parameters(*names: str) -> dict[str, Any]:
    """For the document only: a wrong one is answered like everything else, with 403."""
    text = {"type": "string"}
    return {"parameters": [{"in": "query", "name": name, "schema": text} for name in names]}


def callback_router(desk: CallbackDesk) -> APIRouter:
    """The routes, relative to /wx."""
    router = APIRouter(tags=["WeChat"])
    question, message = _parameters(*_QUERY[:4]), _parameters(*_QUERY[:3], *_QUERY[4:])

    @router.get("/callback", response_class=PlainTextResponse, openapi_extra=question)
    async def verify(request: Request) -> PlainTextResponse:
        """The console asks whether this server knows the token."""
        return _text(desk.answer("", request.query_params))

    @router.get("/callback/{appid}", response_class=PlainTextResponse, openapi_extra=question)
    async def verify_app(appid: str, request: Request) -> PlainTextResponse:
        """The same, with several mini-programs."""
        return _text(desk.answer(appid, request.query_params))

    @router.post("/callback", response_class=PlainTextResponse, openapi_extra=message)
    async def push(request: Request) -> PlainTextResponse:
        """WeChat pushes a message: plain, compatible or safe mode, JSON or XML."""
        await desk.take("", request.query_params, await request.body())
        return _text("success")

    @router.post("/callback/{appid}", response_class=PlainTextResponse, openapi_extra=message)
    async def push_app(appid: str, request: Request) -> PlainTextResponse:
        """The same, with several mini-programs."""
        await desk.take(appid, request.query_params, await request.body())
        return _text("success")

    return router


def _text(content: str) -> PlainTextResponse:
    # What is echoed was signed with the token; a browser must not take it for a page all the same.
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    return PlainTextResponse(content, headers=headers)
