"""The files of the page: a closed list, sent with a policy that lets in nothing from elsewhere.

They are built from `playground/` and lie in the package, so that a machine without Node has them. One page
serves two places: at `/` of `gateway dev`, and at `/dashboard/` of the internal listener; its links are
relative, and `data-desk` tells it where its questions go.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from gateway.config import Settings
from gateway.errors import ERROR_METHOD_NOT_FOUND
from gateway.http.asgi import Headers, Scope, Send, header, respond, respond_json

STATIC: Final = Path(__file__).parent / "static"
INDEX: Final = "index.html"
FILES: Final = {
    INDEX: "text/html; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "app.css": "text/css; charset=utf-8",
    "licenses.txt": "text/plain; charset=utf-8",
}
_DESK: Final = b'data-desk="dev/"'
_HOST: Final = re.compile(r"[A-Za-z0-9.\-]{1,253}|\[[0-9a-fA-F:.]{2,45}\]")


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    zipped: bytes
    kind: str
    etag: bytes


@cache
def _file(name: str, desk: str) -> _File:
    content = (STATIC / name).read_bytes()
    if name == INDEX:
        content = content.replace(_DESK, b'data-desk="%b"' % desk.encode())
    etag = b'"%b"' % hashlib.sha256(content).hexdigest()[:32].encode()
    return _File(content, gzip.compress(content, mtime=0), FILES[name], etag)


class Page:
    """The page as one of its two places has it.

    Arguments:
        desk: where its questions go, relative to the page, with the slash at the end.
    """

    def __init__(self, desk: str) -> None:
        self._desk = desk

    async def send(self, name: str, scope: Scope, send: Send, *, connect: str = "") -> None:
        """One file, or 404. `connect`: the origin of a socket that the page may open."""
        if scope["method"] not in ("GET", "HEAD"):
            allow: Headers = [(b"allow", b"GET, HEAD")]
            await respond_json(send, 405, {"code": ERROR_METHOD_NOT_FOUND.code, "message": "use GET"}, allow)
            return
        if name not in FILES:
            await respond_json(send, 404, {"code": ERROR_METHOD_NOT_FOUND.code, "message": "nothing here"})
            return
        file = await asyncio.to_thread(_file, name, self._desk)
        headers = [
            (b"content-type", file.kind.encode()),
            (b"content-security-policy", _policy(name, connect).encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-opener-policy", b"same-origin"),
            # The files change with the installed version, the address does not.
            (b"cache-control", b"no-cache"),
            (b"vary", b"accept-encoding"),
            (b"etag", file.etag),
        ]
        if header(scope, b"if-none-match") == file.etag:
            await respond(send, 304, b"", headers)
        elif b"gzip" in header(scope, b"accept-encoding"):
            await respond(send, 200, file.zipped, [*headers, (b"content-encoding", b"gzip")])
        else:
            await respond(send, 200, file.content, headers)


def _policy(name: str, connect: str) -> str:
    if name != INDEX:
        return "default-src 'none'"
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        f"connect-src 'self'{' ' if connect else ''}{connect}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def host_of(scope: Scope) -> str:
    """The host that the browser used, without its port. It ends up in a header, so only what is a host by its
    letters."""
    host = header(scope, b"host").decode("latin-1").rsplit("@")[-1]
    name = host.rpartition(":")[0] if re.search(r":[0-9]{1,5}$", host) else host
    return name if _HOST.fullmatch(name) else "127.0.0.1"


def personal_prefix(settings: Settings) -> str:
    """What begins the name of a user's own channel."""
    namespace = settings.client.personal_channel_namespace
    return f"{namespace}:#" if namespace else "#"
