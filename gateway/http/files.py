"""`POST /files`, and what can be done with a file besides fetching it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from gateway.errors import ERROR_FILE_NOT_FOUND, ERROR_FILE_TOO_LARGE, ClientError
from gateway.files.access import Owner, token_of
from gateway.files.multipart import FIELDS_SIZE, HEADER_SIZE, UploadForm
from gateway.files.names import clean_name
from gateway.files.options import FileOptions, parse_expiry, parse_options
from gateway.files.service import Files, Upload
from gateway.storage.base import Meta, new_id

OVERHEAD: Final = FIELDS_SIZE + 8 * HEADER_SIZE
"""Bytes of a form around its file."""


def files_router(files: Files) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["files"])

    @router.post("/files")
    async def upload(request: Request) -> Response:
        """Send one file as multipart/form-data, the way wx.uploadFile does.

        Fields beside the file, all optional: `channel` (publish it there), `visibility` (owner, signed_in,
        channel, link), `expires_in` (seconds, or "7d"), `name`, `token` (before the file, instead of the
        header).
        """
        try:
            meta = await _Form(files, request).receive()
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        return _json(files.describe(meta))

    @router.get("/files/{file_id}/info")
    async def info(file_id: str, request: Request) -> dict[str, Any]:
        """What is known of a file, as its upload was answered; of one in quarantine its owner is told so."""
        meta, _ = await _readable(files, file_id, request, held=True)
        return files.describe(meta)

    @router.post("/files/{file_id}/link")
    async def link(
        file_id: str, request: Request, expires_in: Annotated[float | str | None, Body(embed=True)] = None
    ) -> dict[str, Any]:
        """An address where anybody may read the file, for `<image src>`; `expires_in`: seconds, or "7d"."""
        ttl = parse_expiry(expires_in)
        meta, _ = await _readable(files, file_id, request)
        url = files.link(meta.id, ttl)
        return {"url": url, "expires": int(url.partition("expires=")[2].partition("&")[0])}

    @router.delete("/files/{file_id}", status_code=204)
    async def delete(file_id: str, request: Request) -> Response:
        """Delete a file of one's own."""
        owner = await files.access.owner(request.headers)
        meta = await files.find(file_id, held=True)
        if not owner.owns(meta):
            raise ClientError(ERROR_FILE_NOT_FOUND)
        await files.storage.delete(file_id)
        return Response(status_code=204)

    return router


async def _readable(
    files: Files, file_id: str, request: Request, *, held: bool = False
) -> tuple[Meta, Owner]:
    """A file that the user of the request may read; for everybody else there is none."""
    owner = await files.access.owner(request.headers)
    meta = await files.find(file_id, held=held)
    allowed = owner.owns(meta) if meta.state else await files.access.may_read(owner, meta)
    if not allowed:
        raise ClientError(ERROR_FILE_NOT_FOUND)
    return meta, owner


class _Form:
    """One request with one file."""

    def __init__(self, files: Files, request: Request) -> None:
        self._files = files
        self._request = request
        self._limit = files.settings.max_upload_size
        self._owner: Owner | None = None

    async def receive(self) -> Meta:
        """The file, stored and announced. Raises ClientError, UpstreamError, ClientDisconnect."""
        headers = self._request.headers
        expected = self._expected()
        if token_of(headers):
            self._owner = await self._files.access.owner(headers)
        form = UploadForm(headers.get("content-type", ""))
        async with AsyncExitStack() as stack:
            upload: Upload | None = None
            size = 0
            async for chunk in self._request.stream():
                size += len(chunk)
                if size > self._limit + OVERHEAD:
                    raise self._too_large()
                pieces = form.feed(chunk)
                if form.has_file and upload is None:
                    upload = await stack.enter_async_context(await self._begin(form, expected))
                if upload is not None and pieces:
                    await upload.write(pieces)
            form.end()
            if upload is None:
                raise AssertionError("a form that has ended well has a file")
            return await upload.finish(self._options(form), clean_name(form.fields.get("name", "").encode()))

    def _expected(self) -> int:
        """The declared length, 0 where there is none; too much is refused before anything is read."""
        declared = self._request.headers.get("content-length", "")
        if not declared.isdigit():
            return 0
        if len(declared) > 18 or int(declared) > self._limit + OVERHEAD:
            raise self._too_large()
        return int(declared)

    def _too_large(self) -> ClientError:
        return ClientError(ERROR_FILE_TOO_LARGE, f"the limit is {self._limit} bytes")

    async def _begin(self, form: UploadForm, expected: int) -> Any:
        """The file begins: who sends it, and may it go where the fields before it say?"""
        files = self._files
        if self._owner is None:
            self._owner = await files.access.owner(self._request.headers, form.fields.get("token", ""))
        options = self._options(form)
        if options.channel:
            await files.access.check_publish(self._owner, options.channel)
        return files.upload(self._owner, new_id(), form.name, limit=self._limit, total=expected)

    def _options(self, form: UploadForm) -> FileOptions:
        return parse_options(form.fields, self._files.settings.visibility, self._files.settings.ttl)


def _json(value: dict[str, Any]) -> Response:
    # WeChat hands `data` on as a string: the charset is said.
    return JSONResponse(value, media_type="application/json; charset=utf-8")
