"""The internal listener as one ASGI app: the server API, what machines ask, and the dashboard for people."""

from __future__ import annotations

from typing import Final

from gateway.errors import ERROR_METHOD_NOT_FOUND
from gateway.http.asgi import App, Receive, Scope, Send, respond_json
from gateway.http.dashboard import PREFIX
from gateway.http.ops import PATHS, OpsApp
from gateway.http.server_api import ServerAPI

_HELP: Final = (
    "nothing here; this listener has POST /api/{method}, GET /metrics, GET /healthz, GET /readyz, /dashboard"
)


class InternalApp:
    """Dispatch by path: a router's table would cost more than the request."""

    def __init__(
        self, api: ServerAPI, ops: OpsApp, trace: App | None = None, dashboard: App | None = None
    ) -> None:
        self._trace = trace
        self._api = api
        self._ops = ops
        self._dashboard = dashboard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        if path == "/api/trace" and scope["method"] == "GET" and self._trace is not None:
            await self._trace(scope, receive, send)
        elif path.startswith("/api/") or path == "/api":
            await self._api(scope, receive, send)
        elif path in PATHS:
            await self._ops(scope, receive, send)
        elif self._dashboard is not None and (path == PREFIX or path.startswith(f"{PREFIX}/")):
            await self._dashboard(scope, receive, send)
        else:
            await respond_json(send, 404, {"code": ERROR_METHOD_NOT_FOUND.code, "message": _HELP})
