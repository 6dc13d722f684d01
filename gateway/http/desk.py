"""What the page may ask, wherever it stands: the methods of the server API, and a live trace; without a key.

Whether somebody is let in is for the page's place to say. That a request comes from the page is checked here.
"""

from __future__ import annotations

from gateway.errors import ERROR_PERMISSION_DENIED
from gateway.http.asgi import Receive, Scope, Send, respond_json
from gateway.http.same_origin import is_json, is_same_origin
from gateway.http.server_api import ServerAPI
from gateway.http.trace import TraceApp
from gateway.protection.audit import ACTOR


class Desk:
    """Answers what is below `…/api/`."""

    def __init__(self, api: ServerAPI, trace: TraceApp | None) -> None:
        self._api = api
        self._trace = trace

    @property
    def methods(self) -> list[str]:
        """What there is, so that the page hides what needs more."""
        return [*self._api.methods, *(["trace"] if self._trace else [])]

    async def answer(self, method: str, actor: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of somebody who was let in, and whom the audit log knows as `actor`."""
        if method == "trace" and scope["method"] == "GET" and self._trace is not None:
            ACTOR.set(actor)
            await self._trace.serve(scope, receive, send)
        else:
            await self._api.serve(method, actor, scope, receive, send)


async def refused(scope: Scope, send: Send) -> bool:
    """Answer 403 where a request that does something is not from our page; whether that was so."""
    if is_same_origin(scope) and (scope["method"] != "POST" or is_json(scope)):
        return False
    message = "only the page itself may ask this, and it sends JSON"
    await respond_json(send, 403, {"code": ERROR_PERMISSION_DENIED.code, "message": message})
    return True
