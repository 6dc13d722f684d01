"""`GET /files/{id}`: the bytes of a file, or of a smaller picture of it; from nginx, the store, or here."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Final

import structlog
from fastapi import APIRouter, Request, Response

from gateway.errors import (
    ERROR_BAD_REQUEST,
    ERROR_FILE_NOT_FOUND,
    ERROR_FILE_RANGE,
    ClientError,
    UpstreamError,
)
from gateway.files.names import content_disposition
from gateway.files.ranges import Range, http_date, is_fresh, parse_range, range_applies
from gateway.files.service import Files
from gateway.files.sniff import extension, may_be_inline
from gateway.http.asgi import Receive, Scope, Send
from gateway.http.problems import problem
from gateway.storage.base import Meta

TEXT: Final = frozenset({"text/plain", "text/html", "text/xml"})
LINK_CACHE: Final = 3600
"""Seconds that a phone may show a picture behind a signed link without asking again."""

log = structlog.get_logger()


def downloads_router(files: Files) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["files"])

    @router.get("/files/{file_id}")
    async def download(file_id: str, request: Request, w: str = "", download: bool = False) -> Response:
        """Fetch a file, with a token in the head or with the query of a signed link.

        `w`: of a picture, one that is so many pixels wide. `download`: to be saved, not shown.
        """
        query = request.query_params
        signature = query.get("signature", "")
        if query.get("inspect"):
            return await _inspect(files, file_id, request)
        meta = await files.find(file_id)
        await files.access.check_read(meta, request.headers, query.get("expires", ""), signature)
        headers = _headers(meta, download, "private, no-transform, " + _cache(bool(signature)))
        if w:
            return await _thumbnail(files, meta, _width(w, files.settings.thumbnail_widths), headers, request)
        return await _whole(files, meta, headers, request)

    router.add_api_route("/files/{file_id}", download, methods=["HEAD"], include_in_schema=False)
    return router


async def _inspect(files: Files, file_id: str, request: Request) -> Response:
    """A file in quarantine, for WeChat's servers: they were given the link, and nobody else was."""
    query = request.query_params
    subject, expires, signature = f"inspect:{file_id}", query.get("expires", ""), query.get("signature", "")
    if not files.links.holds(subject, expires, signature, files.wall()):
        raise ClientError(ERROR_FILE_NOT_FOUND)
    meta = await files.find(file_id, held=True)
    return await _whole(files, meta, _headers(meta, True, "no-store"), request)


def _cache(signed: bool) -> str:
    # With a token the permission is asked for each time, and the content is not sent again.
    return f"max-age={LINK_CACHE}" if signed else "no-cache"


def _width(text: str, widths: tuple[int, ...]) -> int:
    width = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    if width not in widths:
        raise ClientError(ERROR_BAD_REQUEST, f"w is one of {', '.join(str(one) for one in widths) or 'none'}")
    return width


def _headers(meta: Meta, download: bool, cache: str) -> dict[str, str]:
    name = meta.name or meta.id + extension(meta.type)
    return {
        "Content-Type": f"{meta.type}; charset=utf-8" if meta.type in TEXT else meta.type,
        "Content-Disposition": content_disposition(name, inline=may_be_inline(meta.type) and not download),
        "ETag": f'"{meta.sha256[:32]}"',
        "Last-Modified": http_date(meta.created),
        "Accept-Ranges": "bytes",
        "Cache-Control": cache,
        "X-Content-Type-Options": "nosniff",
        # Whatever it is, it is no page of this origin.
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }


async def _thumbnail(
    files: Files, meta: Meta, width: int, headers: dict[str, str], request: Request
) -> Response:
    headers["ETag"] = f'"{meta.sha256[:32]}-w{width}"'
    del headers["Accept-Ranges"]
    if is_fresh(request.headers, headers["ETag"], meta.created):
        return _not_modified(files, headers)
    data, headers["Content-Type"] = await files.thumbnails.get(meta, width)
    files.metrics.download("thumbnail", len(data))
    return Response(data, headers=headers)


async def _whole(files: Files, meta: Meta, headers: dict[str, str], request: Request) -> Response:
    disposition = headers["Content-Disposition"]
    if (location := files.settings.accel_location) and (path := files.storage.accel_path(meta.id)):
        # Conditions and ranges are nginx's then, and so are the headers that belong to them.
        for name in ("ETag", "Last-Modified", "Accept-Ranges"):
            del headers[name]
        files.metrics.download("accel", meta.size)
        return Response(headers=headers | {"X-Accel-Redirect": location + path})
    if is_fresh(request.headers, headers["ETag"], meta.created):
        return _not_modified(files, headers)
    if address := await files.storage.redirect(meta, disposition):
        files.metrics.download("redirect", 0)
        return Response(status_code=302, headers={"Location": address, "Cache-Control": "no-store"})
    try:
        ranges = _ranges(request.headers, headers["ETag"], meta)
    except ClientError as error:
        about = {"Content-Range": f"bytes */{meta.size}"}
        return problem(request.scope, ERROR_FILE_RANGE, error.detail, headers=about)
    return FileAnswer(files, meta, ranges, headers)


def _not_modified(files: Files, headers: dict[str, str]) -> Response:
    files.metrics.download("not_modified", 0)
    kept = ("ETag", "Last-Modified", "Cache-Control", "Content-Disposition")
    return Response(status_code=304, headers={name: headers[name] for name in kept})


def _ranges(headers: Mapping[str, str], etag: str, meta: Meta) -> list[Range] | None:
    wanted = headers.get("range")
    if wanted is None or not range_applies(headers, etag, meta.created):
        return None
    return parse_range(wanted, meta.size)


class FileAnswer(Response):
    """A file, or the parts of it that were asked for, as it comes out of the store."""

    def __init__(self, files: Files, meta: Meta, ranges: list[Range] | None, headers: dict[str, str]) -> None:
        self._files = files
        self._meta = meta
        status = 200 if ranges is None else 206
        self._pieces: list[bytes | Range] = [(0, meta.size)]
        if ranges is not None and len(ranges) == 1:
            self._pieces = [ranges[0]]
            headers = headers | {"Content-Range": _content_range(ranges[0], meta.size)}
        elif ranges is not None:
            headers = headers | self._several(ranges, headers["Content-Type"])
        self._size = sum(len(one) if isinstance(one, bytes) else one[1] - one[0] for one in self._pieces)
        super().__init__(None, status, headers | {"Content-Length": str(self._size)})

    def _several(self, ranges: list[Range], content_type: str) -> dict[str, str]:
        """The parts of multipart/byteranges (RFC 9110 §14.6)."""
        boundary = secrets.token_hex(16)
        self._pieces = []
        for one in ranges:
            about = f"Content-Type: {content_type}\r\nContent-Range: {_content_range(one, self._meta.size)}"
            self._pieces += [f"\r\n--{boundary}\r\n{about}\r\n\r\n".encode(), one]
        self._pieces.append(f"\r\n--{boundary}--\r\n".encode())
        return {"Content-Type": f"multipart/byteranges; boundary={boundary}"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        await send(start)
        sent = 0
        if scope["method"] != "HEAD":
            try:
                async with aclosing(self._content()) as content:
                    async for chunk in content:
                        sent += len(chunk)
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except UpstreamError as error:
                log.warning("a download broke off", problem=error.detail)
            if sent < self._size:
                return  # deleted meanwhile, or broken: the listener closes the connection
        self._files.metrics.download("sent", sent)
        await send({"type": "http.response.body", "body": b""})

    async def _content(self) -> AsyncGenerator[bytes, None]:
        for piece in self._pieces:
            if isinstance(piece, bytes):
                yield piece
                continue
            async with aclosing(self._files.storage.read(self._meta.id, *piece)) as chunks:
                async for chunk in chunks:
                    yield chunk


def _content_range(one: Range, size: int) -> str:
    return f"bytes {one[0]}-{one[1] - 1}/{size}"
