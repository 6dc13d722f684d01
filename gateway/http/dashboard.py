"""The dashboard: `/dashboard/` of the internal listener, behind a password.

Its page asks the methods of the server API at `/dashboard/api/{method}`, let in by a cookie instead of a key.
Everything that changes something has to come from the page itself (`same_origin`), under a name that is one
of ours. Without `admin.password` there is only a page that says how to switch it on.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog
from msgspec import Struct

from gateway.config import Settings
from gateway.errors import (
    ERROR_BAD_REQUEST,
    ERROR_METHOD_NOT_FOUND,
    ERROR_PERMISSION_DENIED,
    ERROR_TOO_MANY_REQUESTS,
    ERROR_UNAUTHORIZED,
    Error,
)
from gateway.http.asgi import (
    Gone,
    Headers,
    Receive,
    Scope,
    Send,
    TooLarge,
    header,
    read_body,
    respond,
    respond_json,
)
from gateway.http.attempts import Attempts
from gateway.http.cookie import COOKIE, Cookies
from gateway.http.desk import Desk, refused
from gateway.http.local import is_local
from gateway.http.page import INDEX, Page, personal_prefix
from gateway.http.server_api import ServerAPI
from gateway.http.trace import TraceApp
from gateway.version import __version__
from gateway.websocket.peers import Peers

PREFIX: Final = "/dashboard"
LOGIN_LIMIT: Final = 4096
"""Bytes of a login: far above any password."""
READING: Final = frozenset(
    ("stats", "info", "connections", "channels", "history", "presence", "presence_stats", "audit_log")
)
"""Methods that change nothing: the page asks them every few seconds, so they are not logged."""
_NO_STORE: Final = (b"cache-control", b"no-store")

log = structlog.get_logger()


class Login(Struct, frozen=True, forbid_unknown_fields=True):
    """What the page sends to log in."""

    password: str = ""


class Dashboard:
    """The ASGI app of `/dashboard` and everything below it.

    Arguments:
        wall: unix seconds; clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        api: ServerAPI,
        trace: TraceApp | None = None,
        *,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk = Desk(api, trace)
        self._wall = wall
        self._attempts = Attempts(clock)
        self._page = Page("")
        self._decoder = msgspec.json.Decoder(Login)
        self.load(settings)

    def load(self, settings: Settings) -> None:
        """Take over the password and names of this configuration; another password ends every session."""
        admin = settings.admin
        password = admin.password.get_secret_value()
        self._personal = personal_prefix(settings)
        self._peers = Peers(settings.websocket.trusted_proxies, ())
        self._hosts = {host.lower() for host in admin.hosts}
        self._digest = _digest(password) if password else b""
        self._cookies = Cookies(password, settings.session.key(), admin.session_ttl) if password else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope["path"].removeprefix(PREFIX)
        if not self._is_ours(header(scope, b"host").decode("latin-1")):
            text = "the dashboard does not answer to this name; add it to admin.hosts"
            await _refuse(send, 403, ERROR_PERMISSION_DENIED, text)
        elif path == "":
            # Relative, so that it holds behind a proxy that has it elsewhere.
            await respond(send, 308, b"", [(b"location", b"dashboard/")])
        elif path == "/":
            await self._page.send(INDEX, scope, send)
        elif path.startswith("/static/"):
            await self._page.send(path.removeprefix("/static/"), scope, send)
        elif path == "/config":
            await respond_json(send, 200, self._config(scope), [_NO_STORE])
        elif path not in ("/login", "/logout") and not path.startswith("/api/"):
            await _refuse(send, 404, ERROR_METHOD_NOT_FOUND, "nothing here")
        elif not await refused(scope, send):
            await self._act(path, scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        """Whether the name in the address is one that no page of the internet can take for its own."""
        name = host if host.startswith("[") else host.partition(":")[0]
        return is_local(host) or name.lower() in self._hosts

    def _config(self, scope: Scope) -> dict[str, Any]:
        """What the page has to know first: whether it is off, has to log in, or may go on."""
        if self._cookies is None:
            return {"access": "off"}
        if not self._logged_in(scope):
            return {"access": "login"}
        return {
            "access": "open",
            "version": __version__,
            "personal": self._personal,
            "methods": self._desk.methods,
        }

    def _logged_in(self, scope: Scope) -> bool:
        return self._cookies is not None and self._cookies.opens(header(scope, b"cookie"), self._wall())

    # ------------------------------------------------------------------ what does something
    async def _act(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        if path == "/login":
            await self._log_in(scope, receive, send)
        elif not self._logged_in(scope):
            await _refuse(send, 401, ERROR_UNAUTHORIZED, "log in first")
        elif path == "/logout":
            await respond(send, 204, b"", [(b"set-cookie", _cookie("", 0, scope)), _NO_STORE])
        else:
            method = path.removeprefix("/api/")
            ip = self._ip(scope)
            if method not in READING:
                log.info("from the dashboard", method=method[:64], ip=ip)
            await self._desk.answer(method, f"dashboard {ip}", scope, receive, send)

    async def _log_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        cookies, ip = self._cookies, self._ip(scope)
        if cookies is None or scope["method"] != "POST":
            await _refuse(send, 404, ERROR_METHOD_NOT_FOUND, "nothing here")
            return
        wait = self._attempts.wait(ip)
        if wait:
            headers = [(b"retry-after", b"%d" % wait)]
            await _refuse(send, 429, ERROR_TOO_MANY_REQUESTS, f"try again in {wait} s", headers)
            return
        try:
            login = self._decoder.decode(await read_body(scope, receive, LOGIN_LIMIT))
        except (TooLarge, Gone, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            await _refuse(send, 400, ERROR_BAD_REQUEST, "a login has a password")
            return
        # Digests of the same length, so that the time says nothing, not even how long the password is.
        if not hmac.compare_digest(_digest(login.password), self._digest):
            self._attempts.failed(ip)
            log.warning("wrong password for the dashboard", ip=ip)
            await _refuse(send, 403, ERROR_PERMISSION_DENIED, "wrong password")
            return
        log.info("logged in to the dashboard", ip=ip)
        cookie = _cookie(cookies.make(self._wall()), int(cookies.ttl), scope)
        await respond(send, 204, b"", [(b"set-cookie", cookie), _NO_STORE])

    def _ip(self, scope: Scope) -> str:
        peer = scope.get("client") or ("",)
        return self._peers.client_ip(str(peer[0]), header(scope, b"x-forwarded-for").decode("latin-1"))


def _digest(password: str) -> bytes:
    return hashlib.sha256(password.encode("utf-8", "surrogatepass")).digest()


def _cookie(value: str, ttl: int, scope: Scope) -> bytes:
    secure = "; Secure" if header(scope, b"x-forwarded-proto") == b"https" else ""
    return f"{COOKIE}={value}; Path={PREFIX}; Max-Age={ttl}; HttpOnly; SameSite=Strict{secure}".encode()


async def _refuse(
    send: Send, status: int, error: Error, message: str, headers: Headers | None = None
) -> None:
    await respond_json(send, status, {"code": error.code, "message": message}, [_NO_STORE, *(headers or ())])
