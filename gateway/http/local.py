"""Only for this machine: what signs anybody in answers to no name but `localhost`.

A page of the internet can make its own name point to 127.0.0.1 (DNS rebinding) and is then, for the browser,
the page of what listens there. But its requests carry that name in `Host`.
"""

from __future__ import annotations

from ipaddress import ip_address

from gateway.errors import ERROR_PERMISSION_DENIED
from gateway.http.asgi import App, Receive, Scope, Send, header, respond_json


class LocalHosts:
    """Refuses requests below `prefixes` (none: all) whose Host is another name than localhost."""

    def __init__(self, app: App, prefixes: tuple[str, ...] = ()) -> None:
        self._app = app
        self._prefixes = prefixes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer 403."""
        if scope["type"] == "http" and self._is_ours(scope["path"]) and not is_local(header(scope, b"host")):
            message = "this is for development, at http://localhost or an IP address, not under other names"
            await respond_json(send, 403, {"code": ERROR_PERMISSION_DENIED.code, "message": message})
            return
        await self._app(scope, receive, send)

    def _is_ours(self, path: str) -> bool:
        return not self._prefixes or path.startswith(self._prefixes)


def is_local(host: str | bytes) -> bool:
    """Whether a Host header names no DNS name but `localhost`. An IP address cannot be rebound."""
    text = host.decode("latin-1") if isinstance(host, bytes) else host
    name, _, port = text[1:].partition("]") if text.startswith("[") else text.partition(":")
    if text.startswith("[") and port and not port.startswith(":"):
        return False
    if name.lower() == "localhost" or not name:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
