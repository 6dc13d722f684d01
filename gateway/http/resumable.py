"""Uploads in pieces, in the manner of tus 1.0 (https://tus.io/protocols/resumable-upload): core protocol,
creation, expiration, checksum, termination.

`wx.request` has no PATCH, so a piece may come as POST with `X-HTTP-Method-Override: PATCH`, as tus has it.
When the last piece is answered, the upload has become the file with the same id.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from gateway.errors import (
    ERROR_BAD_REQUEST,
    ERROR_FILE_TOO_LARGE,
    ERROR_FILE_TYPE,
    ERROR_TOO_MANY_REQUESTS,
    ERROR_UPLOAD_CHECKSUM,
    ERROR_UPLOAD_OFFSET,
    ClientError,
)
from gateway.files.access import Owner
from gateway.files.names import clean_name
from gateway.files.options import parse_options
from gateway.files.partials import Partial, PartialInfo
from gateway.files.ranges import http_date
from gateway.files.service import Files
from gateway.files.sniff import HEAD, is_allowed, sniff
from gateway.http.uploads import TUS
from gateway.storage.base import CHUNK, new_id

VERSION: Final = "1.0.0"
CHECKSUMS: Final = ("sha1", "sha256")
METADATA_LIMIT: Final = 8 * 1024
"""Characters of `Upload-Metadata`."""
_LENGTH_LIMIT: Final = 18


def resumable_router(files: Files) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix=TUS, tags=["files"])
    uploads = Resumable(files)

    @router.options("")
    @router.options("/{file_id}", include_in_schema=False)
    async def options() -> Response:
        """What is served here."""
        headers = {
            "Tus-Version": VERSION,
            "Tus-Extension": "creation,expiration,checksum,termination",
            "Tus-Checksum-Algorithm": ",".join(CHECKSUMS),
            "Tus-Max-Size": str(files.settings.max_resumable_size),
        }
        return _answer(204, headers)

    @router.post("", status_code=201)
    async def create(request: Request) -> Response:
        """Begin an upload of `Upload-Length` bytes; `Location` says where its pieces go."""
        return _version(request) or await uploads.create(request)

    @router.head("/{file_id}")
    async def head(file_id: str, request: Request) -> Response:
        """How far an upload is: `Upload-Offset`."""
        return _version(request) or await uploads.head(file_id, request)

    @router.patch("/{file_id}", status_code=204)
    async def patch(file_id: str, request: Request) -> Response:
        """The piece that goes on at `Upload-Offset`."""
        return _version(request) or await uploads.patch(file_id, request)

    @router.post("/{file_id}", status_code=204)
    async def override(file_id: str, request: Request) -> Response:
        """The same for clients without PATCH: `X-HTTP-Method-Override` says PATCH, HEAD or DELETE."""
        methods = {"PATCH": uploads.patch, "HEAD": uploads.head, "DELETE": uploads.delete}
        method = methods.get(request.headers.get("x-http-method-override", "").upper())
        if method is None:
            raise ClientError(ERROR_BAD_REQUEST, "X-HTTP-Method-Override: PATCH is missing")
        return _version(request) or await method(file_id, request)

    @router.delete("/{file_id}", status_code=204)
    async def delete(file_id: str, request: Request) -> Response:
        """Give an upload up."""
        return _version(request) or await uploads.delete(file_id, request)

    return router


class Resumable:
    """What the routes do."""

    def __init__(self, files: Files) -> None:
        self._files = files

    async def create(self, request: Request) -> Response:
        """201 with the address of the upload."""
        files, rows = self._files, self._files.settings
        owner = await files.access.owner(request.headers)
        length = _whole(request, "upload-length")
        if length > rows.max_resumable_size:
            raise ClientError(ERROR_FILE_TOO_LARGE, f"the limit is {rows.max_resumable_size} bytes")
        metadata = request.headers.get("upload-metadata", "")
        fields = parse_metadata(metadata)
        options = parse_options(fields, rows.visibility, rows.ttl)
        if options.channel:
            await files.access.check_publish(owner, options.channel)
        if await files.partials.count(owner) >= rows.max_uploads_per_user:
            raise ClientError(
                ERROR_TOO_MANY_REQUESTS, f"at most {rows.max_uploads_per_user} uploads in pieces"
            )
        with files.quotas.begin(owner.appid, owner.user, await files.used(owner)) as lease:
            lease.grow(length)  # only asked, and given back: it counts when it is complete
        file_id = new_id()
        info = await files.partials.create(owner, file_id, length, fields, metadata)
        location = f"{rows.public_url.rstrip('/')}{TUS}/{file_id}"
        return _answer(201, {"Location": location, **_expiry(info)})

    async def head(self, file_id: str, request: Request) -> Response:
        """200 with how far it is."""
        owner = await self._files.access.owner(request.headers)
        info, offset, done = await self._files.partials.info(owner, file_id)
        if offset == info.length and not done:
            # All had come when a process died: what was left to do is done now.
            async with self._files.partials.writing(owner, file_id) as partial:
                await self._complete(owner, file_id, partial)
        headers = {"Upload-Offset": str(offset), "Upload-Length": str(info.length), **_expiry(info)}
        if info.metadata:
            headers["Upload-Metadata"] = info.metadata
        return _answer(200, {**headers, "Cache-Control": "no-store"})

    async def patch(self, file_id: str, request: Request) -> Response:
        """204 with the offset after the piece."""
        if not request.headers.get("content-type", "").startswith("application/offset+octet-stream"):
            raise ClientError(ERROR_BAD_REQUEST, "Content-Type: application/offset+octet-stream is missing")
        owner = await self._files.access.owner(request.headers)
        offset = _whole(request, "upload-offset")
        checksum = _Checksum(request.headers.get("upload-checksum", ""))
        async with self._files.partials.writing(owner, file_id) as partial:
            if offset != partial.offset:
                raise ClientError(ERROR_UPLOAD_OFFSET, f"it goes on at {partial.offset}")
            try:
                await self._append(partial, request, checksum)
            except ClientDisconnect:
                return _answer(400, {})  # nobody reads it; what has come is kept
            await self._look(partial, offset)
            if partial.is_whole:
                await self._complete(owner, file_id, partial)
            return _answer(204, {"Upload-Offset": str(partial.offset), **_expiry(partial.info)})

    async def delete(self, file_id: str, request: Request) -> Response:
        """204."""
        owner = await self._files.access.owner(request.headers)
        async with self._files.partials.writing(owner, file_id) as partial:
            await partial.remove()
        return _answer(204, {})

    # ------------------------------------------------------------------ one piece
    async def _append(self, partial: Partial, request: Request, checksum: _Checksum) -> None:
        """Write the piece. With a checksum it is taken as a whole or not at all, else as far as it came."""
        start, whole = partial.offset, False
        pieces: list[bytes] = []
        waiting = 0
        try:
            async for chunk in request.stream():
                waiting += len(chunk)
                if partial.offset + waiting > partial.info.length:
                    raise ClientError(
                        ERROR_FILE_TOO_LARGE, f"only {partial.info.length} bytes were announced"
                    )
                pieces.append(chunk)
                if waiting >= CHUNK:
                    await partial.append(pieces, checksum.update)
                    pieces, waiting = [], 0
            await partial.append(pieces, checksum.update)
            checksum.check()
            whole = True
        except ClientDisconnect:
            if not checksum:
                await partial.append(pieces, checksum.update)
            raise
        finally:
            if not whole and checksum:
                await partial.cut(start)

    async def _look(self, partial: Partial, before: int) -> None:
        """Refuse what is not wanted as soon as its head is here, not after 200 MB."""
        if partial.done or before >= HEAD or not (partial.offset >= HEAD or partial.is_whole):
            return
        head = b""
        async for chunk in partial.read():
            head = chunk
            break
        kind = sniff(head[:HEAD])
        if not is_allowed(kind, self._files.settings.allowed_types):
            await partial.remove()
            raise ClientError(ERROR_FILE_TYPE, f"the content is of {kind}")

    async def _complete(self, owner: Owner, file_id: str, partial: Partial) -> None:
        """The last byte is here: make it a file. What is refused is gone, what could not be done can be asked
        for again."""
        files, info = self._files, partial.info
        if partial.done:
            return
        if await files.storage.stat(file_id) is None:
            try:
                options = parse_options(info.fields, files.settings.visibility, files.settings.ttl)
                name = clean_name(info.fields.get("filename", info.fields.get("name", "")).encode())
                async with files.upload(owner, file_id, name, limit=info.length, total=info.length) as upload:
                    async for chunk in partial.read():
                        await upload.write([chunk])
                    await upload.finish(options)
            except ClientError:
                await partial.remove()
                raise
        await partial.complete()


class _Checksum:
    """`Upload-Checksum`: what a piece must add up to. False where none was sent."""

    def __init__(self, header: str) -> None:
        self._hash: Any = None
        self._wanted = b""
        if not header:
            return
        algorithm, _, digest = header.partition(" ")
        if algorithm not in CHECKSUMS:
            raise ClientError(ERROR_BAD_REQUEST, f"checksums are {' or '.join(CHECKSUMS)}")
        self._wanted = _base64(digest, "Upload-Checksum")
        self._hash = hashlib.new(algorithm, usedforsecurity=False)

    def __bool__(self) -> bool:
        return self._hash is not None

    def update(self, piece: bytes) -> None:
        if self._hash is not None:
            self._hash.update(piece)

    def check(self) -> None:
        """Raises ClientError 426 where it does not add up."""
        if self._hash is not None and not hmac.compare_digest(self._hash.digest(), self._wanted):
            raise ClientError(ERROR_UPLOAD_CHECKSUM, "the piece was damaged on its way: send it again")


def parse_metadata(header: str) -> dict[str, str]:
    """The pairs of `Upload-Metadata`: `filename 5L2g,channel Y2hhdDox`. Raises ClientError 107."""
    if len(header) > METADATA_LIMIT:
        raise ClientError(ERROR_BAD_REQUEST, f"Upload-Metadata has at most {METADATA_LIMIT} characters")
    fields = {}
    for pair in header.split(","):
        name, _, value = pair.strip().partition(" ")
        if name:
            fields[name] = _base64(value, "Upload-Metadata").decode("utf-8", "replace")
    return fields


def _base64(text: str, header: str) -> bytes:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise ClientError(ERROR_BAD_REQUEST, f"{header}: not base64") from None


def _whole(request: Request, header: str) -> int:
    text = request.headers.get(header, "")
    if not (text.isascii() and text.isdigit() and len(text) <= _LENGTH_LIMIT):
        raise ClientError(ERROR_BAD_REQUEST, f"{header.title()}: a whole number is needed")
    return int(text)


def _version(request: Request) -> Response | None:
    """412 for another version of tus, None for ours."""
    if request.headers.get("tus-resumable") == VERSION:
        return None
    return _answer(412, {"Tus-Version": VERSION})


def _expiry(info: PartialInfo) -> dict[str, str]:
    return {"Upload-Expires": http_date(info.expires)}


def _answer(status: int, headers: dict[str, str]) -> Response:
    return Response(status_code=status, headers={"Tus-Resumable": VERSION, **headers})
