"""Where files live: the contract that every store keeps. The contract tests run over all of them.

- A file is there as a whole or not at all. `commit` makes it visible in one step with all that is known of
  it; whatever ends before - an error, a kill, a power cut - leaves nothing that `stat` finds.
- What is visible is durable: data and metadata have reached the disk before `commit` returns.
- Ids are random (`new_id`), so they cannot be guessed, and are never used twice.
- No call holds the event loop: what blocks runs in threads.
- A store that cannot do its work raises `UpstreamError`.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, Literal, Protocol

from msgspec import Struct

CHUNK: Final = 128 * 1024
"""Bytes that are read or written at a time: large beside the cost of a thread's turn, small beside memory."""

Visibility = Literal["owner", "signed_in", "channel", "link"]
Through = Callable[[bytes], bytes]
"""What becomes of a piece on its way into the store; runs in the thread that writes."""

_ID: Final = re.compile("[0-9a-f]{32}")


class Meta(Struct, frozen=True, omit_defaults=True):
    """What is known of a file.

    Attributes:
        size: bytes as stored. sha256: of these bytes, hex.
        type: found in the content. name: as the client called it, safe to show; may be empty.
        user, appid: the owner; the appid is empty for users of a JWT.
        channel: where it was sent to; it decides who may read with the visibility `channel`.
        created, expires: unix seconds; an `expires` of 0 is never.
        width, height: pixels of an image as stored, before any turn; 0 where unknown.
        state: "checking" while nobody may see it; else empty.
    """

    id: str
    size: int
    sha256: str
    type: str
    user: str
    created: float
    name: str = ""
    appid: str = ""
    visibility: Visibility = "owner"
    channel: str = ""
    expires: float = 0.0
    width: int = 0
    height: int = 0
    state: str = ""

    def expired(self, now: float) -> bool:
        return 0 < self.expires <= now


def new_id() -> str:
    """128 random bits; lower case, because some filesystems do not tell the cases apart."""
    return secrets.token_hex(16)


def is_id(text: str) -> bool:
    """Whether `text` can be an id: nothing else may reach a path."""
    return _ID.fullmatch(text) is not None


class Writer(Protocol):
    """One file on its way in. Used by one task; after an error only `abort` may be called."""

    def write(self, pieces: Sequence[bytes], through: Through) -> Awaitable[None]:
        """Append what `through` makes of each piece; its errors come out of what is returned. It begins at
        once, and must have ended before anything else is asked of the writer."""

    async def seal(self) -> None:
        """All was written; it is durable now, and still invisible."""

    def read(self) -> AsyncGenerator[bytes, None]:
        """What was written, for who has to see it before it is visible. After `seal`."""

    async def commit(self, meta: Meta) -> None:
        """Make it visible. After `seal`."""

    async def abort(self) -> None:
        """Leave nothing behind. Idempotent, and without effect after `commit`."""


class Storage(Protocol):
    """A store of files."""

    async def create(self, file_id: str) -> Writer:
        """Begin a file."""

    async def stat(self, file_id: str) -> Meta | None:
        """What is known of a file; None where there is none."""

    def read(self, file_id: str, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` up to `stop`; fewer where the file is deleted meanwhile."""

    async def update(self, meta: Meta) -> bool:
        """Change what is known of a file, in one step; False where there is no such file any more."""

    async def delete(self, file_id: str) -> bool:
        """Remove a file and its variants; whether there was one."""

    async def variant(self, file_id: str, name: str) -> bytes | None:
        """Something small that was made of the file, such as a thumbnail."""

    async def keep_variant(self, file_id: str, name: str, data: bytes) -> None:
        """Keep it with the file, for as long as the file. Does nothing if the file is gone."""

    def local_file(self, file_id: str) -> AbstractAsyncContextManager[Path]:
        """A path with the file's content, to be read only, within the context."""

    def accel_path(self, file_id: str) -> str:
        """Where nginx finds it, relative to its alias; empty where nginx cannot."""

    async def redirect(self, meta: Meta, disposition: str) -> str:
        """An address where anybody may fetch the file for some minutes; empty where there is none."""

    async def sweep(self, now: float) -> int:
        """Remove what has expired by `now` (unix seconds) and what crashes left; returns how many."""

    async def close(self) -> None:
        """End the threads; running calls finish."""
