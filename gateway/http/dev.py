"""The page of `gateway dev`: simulated phones in a browser, a desk that publishes to them, live charts.

For development only: whoever reaches it can publish anything. It answers to no name but those of this
machine (`LocalHosts`), and to no page but its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gateway.config import Settings
from gateway.errors import ERROR_METHOD_NOT_FOUND
from gateway.http.asgi import Receive, Scope, Send, respond_json
from gateway.http.desk import Desk, refused
from gateway.http.page import INDEX, Page, host_of, personal_prefix
from gateway.http.server_api import ServerAPI
from gateway.http.trace import TraceApp
from gateway.version import __version__

DEV_KEY: Final = "dev"
"""The key that `gateway dev` sets; any other key belongs to the user, and no page shows it."""
_API: Final = "/dev/api/"


class DevPage:
    """The ASGI app of `/`, `/static/…` and `/dev/…`.

    Arguments:
        ports: of the websocket and of the internal listener, asked for at each request.
    """

    def __init__(
        self,
        settings: Settings,
        api: ServerAPI,
        trace: TraceApp | None,
        ports: Callable[[], tuple[int, int]],
    ) -> None:
        self._settings = settings
        self._desk = Desk(api, trace)
        self._ports = ports
        self._page = Page("dev/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path: str = scope["path"]
        if path == "/":
            await self._page.send(INDEX, scope, send, connect=self._websocket(scope))
        elif path.startswith("/static/"):
            await self._page.send(path.removeprefix("/static/"), scope, send)
        elif path == "/dev/config":
            await respond_json(send, 200, self._config(scope), [(b"cache-control", b"no-store")])
        elif not path.startswith(_API):
            await respond_json(send, 404, {"code": ERROR_METHOD_NOT_FOUND.code, "message": "nothing here"})
        elif not await refused(scope, send):
            await self._desk.answer(path.removeprefix(_API), "gateway dev", scope, receive, send)

    def _config(self, scope: Scope) -> dict[str, Any]:
        """Where things are, seen from the browser that asks."""
        keys = [key.get_secret_value() for key in self._settings.api.keys]
        return {
            "access": "dev",
            "version": __version__,
            "websocket": f"{self._websocket(scope)}/connection/websocket",
            "api": f"http://{host_of(scope)}:{self._ports()[1]}/api",
            "api_key": DEV_KEY if DEV_KEY in keys else "YOUR-API-KEY",
            "channel": "news",
            "appid": self._settings.wechat.apps[0].appid if self._settings.wechat.apps else "",
            "personal": personal_prefix(self._settings),
            "methods": self._desk.methods,
            "phones": self._settings.wechat.sandbox,
        }

    def _websocket(self, scope: Scope) -> str:
        scheme = "wss" if scope.get("scheme") == "https" else "ws"
        return f"{scheme}://{host_of(scope)}:{self._ports()[0]}"
