"""The bytes of one file on their way into the store: counted, sniffed, cleaned, hashed and written.

The work on the bytes is done in the thread that writes them, while the next ones arrive: hashing and writing
leave the interpreter to others. At most two chunks are in memory, whatever the size of the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import imagesize

from gateway.errors import ERROR_FILE_TOO_LARGE, ERROR_FILE_TYPE, ClientError
from gateway.files.jpeg import JpegCleaner
from gateway.files.sniff import HEAD, UNKNOWN, is_allowed, sniff
from gateway.storage.base import CHUNK, Writer

IMAGE_HEAD: Final = 256 * 1024
"""Bytes in which an image says how large it is: behind its colour profile, which may be long."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found out about the content, as stored."""

    size: int
    sha256: str
    type: str
    width: int
    height: int


class Intake:
    """One file.

    Arguments:
        allowed: patterns of types. strip_exif: of JPEGs.
        limit: bytes that may come in.
    """

    def __init__(self, writer: Writer, allowed: Sequence[str], *, strip_exif: bool, limit: int) -> None:
        self._writer = writer
        self._allowed = allowed
        self._strip_exif = strip_exif
        self._limit = limit
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._writing: asyncio.Future[None] | None = None
        self.received = 0
        # Below: only in the thread that writes, of which there is one at a time.
        self._head = b""
        self._type = ""
        self._cleaner: JpegCleaner | None = None
        self._hash = hashlib.sha256()
        self._size = 0
        self._image = bytearray()
        self._sides = (0, 0)

    def add(self, piece: bytes) -> None:
        """Take a piece. Raises ClientError 420 at the first byte past the limit."""
        self.received += len(piece)
        if self.received > self._limit:
            raise ClientError(ERROR_FILE_TOO_LARGE, f"the limit is {self._limit} bytes")
        self._pieces.append(piece)
        self._waiting += len(piece)

    async def pump(self) -> None:
        """Pass on what has come, if it is worth it. Raises ClientError 421 for a type that is not allowed,
        UpstreamError where the store fails."""
        if self._waiting >= CHUNK:
            await self._start()
        elif self._writing is None and self._waiting >= HEAD:
            # The first bytes at once, and waited for: what is refused is refused now.
            await self._start()
            await self._settled()

    async def _start(self) -> None:
        await self._settled()
        pieces, self._pieces, self._waiting = self._pieces, [], 0
        self._writing = asyncio.ensure_future(self._writer.write(pieces, self._digest))

    async def _settled(self) -> None:
        if self._writing is not None:
            await self._writing

    async def finish(self) -> Facts:
        """All has come: make it durable, still invisible."""
        await self._start()
        await self._settled()
        # Once more for what was held back until the end.
        await self._writer.write([b""], self._last)
        await self._writer.seal()
        return Facts(self._size, self._hash.hexdigest(), self._type, *self._sides)

    async def abort(self) -> None:
        """Leave nothing behind."""
        if self._writing is not None:
            # The thread must be out of the file before it is removed.
            await asyncio.wait({self._writing})
            if not self._writing.cancelled():
                self._writing.exception()
        await self._writer.abort()

    # ------------------------------------------------------------------ in the thread
    def _digest(self, piece: bytes) -> bytes:
        if not self._type:
            self._head += piece
            if len(self._head) < HEAD:
                return b""
            piece = self._begin()
        return self._through(piece)

    def _last(self, _: bytes) -> bytes:
        out = b"" if self._type else self._through(self._begin())
        if self._cleaner is not None:
            rest = self._cleaner.finish()
            self._count(rest)
            out += rest
        self._sides = self._dimensions()
        return out

    def _begin(self) -> bytes:
        """The first bytes are all here: what is it, and is it wanted?"""
        head, self._head = self._head, b""
        self._type = sniff(head[:HEAD])
        if not is_allowed(self._type, self._allowed):
            what = "an unknown type" if self._type == UNKNOWN else self._type
            raise ClientError(ERROR_FILE_TYPE, f"the content is of {what}" if head else "the file is empty")
        if self._type == "image/jpeg" and self._strip_exif:
            self._cleaner = JpegCleaner()
        return head

    def _through(self, piece: bytes) -> bytes:
        out = self._cleaner.feed(piece) if self._cleaner else piece
        self._count(out)
        return out

    def _count(self, out: bytes) -> None:
        self._hash.update(out)
        self._size += len(out)
        if self._type.startswith("image/") and len(self._image) < IMAGE_HEAD:
            self._image += out[: IMAGE_HEAD - len(self._image)]

    def _dimensions(self) -> tuple[int, int]:
        """Pixels as stored: as `wx.getImageInfo` counts them, before any turn."""
        width = height = 0
        # Anything may come out of a parser that is fed with anything; the size is a courtesy.
        with contextlib.suppress(Exception):
            width, height = (
                int(side) for side in imagesize.get(io.BytesIO(self._image), exif_rotation=False)
            )
        self._image.clear()
        return (width, height) if width > 0 and height > 0 else (0, 0)
