"""Uploads in pieces that are not complete yet: staged in a directory, whatever the store.

    partial/5f3a….ab12….data     what has come; locked (flock) by the process that writes to it
    partial/5f3a….ab12….json     whose it is and what it will be; written once

    partial/5f3a….ab12….done     empty: all has come and is a file; the data is empty then

The first half of a name is a hash of the owner: nobody finds the upload of another, and an owner's are
counted by a listing.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from gateway.config.units import MINUTE
from gateway.errors import (
    ERROR_FILE_NOT_FOUND,
    ERROR_INTERNAL,
    ERROR_UPLOAD_BUSY,
    ClientError,
    UpstreamError,
)
from gateway.files.access import Owner
from gateway.storage.base import CHUNK, is_id
from gateway.storage.threads import Threads

THREADS: Final = 4
UNBORN_AGE: Final = 1 * MINUTE
"""Seconds after which data without its description is nobody's."""

T = TypeVar("T")


class PartialInfo(Struct, frozen=True):
    """What was said at the start. `length`: bytes of the whole. `expires`: unix seconds."""

    length: int
    expires: float
    fields: dict[str, str]
    metadata: str = ""


_decoder: Final = msgspec.json.Decoder(PartialInfo)


class Partials:
    """The staged uploads of one directory. `ttl`: seconds from the first piece to the last."""

    def __init__(self, directory: Path, ttl: float, wall: Callable[[], float]) -> None:
        self._directory = directory
        self._ttl = ttl
        self._wall = wall
        self._threads = Threads(THREADS, "partials")

    async def create(
        self, owner: Owner, file_id: str, length: int, fields: dict[str, str], metadata: str
    ) -> PartialInfo:
        """Begin an upload of `length` bytes."""
        info = PartialInfo(length, self._wall() + self._ttl, fields, metadata)
        await self.run(self._create, self._stem(owner, file_id), info)
        return info

    def _create(self, stem: Path, info: PartialInfo) -> None:
        stem.parent.mkdir(parents=True, exist_ok=True)
        _suffixed(stem, ".data").touch(exist_ok=False)
        part = _suffixed(stem, ".part")
        part.write_bytes(msgspec.json.encode(info))
        part.rename(_suffixed(stem, ".json"))

    async def count(self, owner: Owner) -> int:
        """How many uploads of the owner are staged and not complete."""
        start = f"{_hash(owner)}."

        def count() -> int:
            names = [entry.name for entry in _entries(self._directory) if entry.name.startswith(start)]
            return sum(name.endswith(".json") for name in names) - sum(
                name.endswith(".done") for name in names
            )

        return await self.run(count)

    async def info(self, owner: Owner, file_id: str) -> tuple[PartialInfo, int, bool]:
        """What was said at the start, how many bytes there are, and whether they are a file by now. Raises
        ClientError 422 where there is no such upload."""
        if not is_id(file_id):
            raise ClientError(ERROR_FILE_NOT_FOUND)
        return await self.run(self._info, self._stem(owner, file_id))

    def _info(self, stem: Path) -> tuple[PartialInfo, int, bool]:
        try:
            info = _decoder.decode(_suffixed(stem, ".json").read_bytes())
            offset = _suffixed(stem, ".data").stat().st_size
        except (FileNotFoundError, msgspec.DecodeError):
            raise ClientError(ERROR_FILE_NOT_FOUND) from None
        if info.expires <= self._wall():
            raise ClientError(ERROR_FILE_NOT_FOUND, "this upload has expired")
        done = _suffixed(stem, ".done").exists()
        return info, info.length if done else offset, done

    @asynccontextmanager
    async def writing(self, owner: Owner, file_id: str) -> AsyncIterator[Partial]:
        """The upload, for this writer alone. Raises ClientError: 422 if there is none, 427 if it is taken."""
        if not is_id(file_id):
            raise ClientError(ERROR_FILE_NOT_FOUND)
        stem = self._stem(owner, file_id)
        descriptor = await self.run(_lock, _suffixed(stem, ".data"))
        try:
            yield Partial(self, stem, descriptor, *await self.run(self._info, stem))
        finally:
            os.close(descriptor)

    def _stem(self, owner: Owner, file_id: str) -> Path:
        return self._directory / f"{_hash(owner)}.{file_id}"

    # ------------------------------------------------------------------ sweeping
    async def sweep(self, now: float) -> int:
        """Remove what has expired by `now` (unix seconds), and what crashes left."""
        return await self.run(self._sweep, now)

    def _sweep(self, now: float) -> int:
        return sum(self._sweep_one(Path(entry), now) for entry in _entries(self._directory))

    def _sweep_one(self, path: Path, now: float) -> bool:
        if path.suffix != ".data":
            return False
        stem = path.with_suffix("")
        try:
            descriptor = _lock(path)
        except ClientError:
            return False
        try:
            if not self._is_over(stem, path, now):
                return False
            _remove(stem)
            return True
        finally:
            os.close(descriptor)

    def _is_over(self, stem: Path, data: Path, now: float) -> bool:
        try:
            return _decoder.decode(_suffixed(stem, ".json").read_bytes()).expires <= now
        except (FileNotFoundError, msgspec.DecodeError):
            return data.stat().st_mtime <= now - UNBORN_AGE

    async def close(self) -> None:
        """End the threads."""
        await self._threads.close()

    async def run(self, work: Callable[..., T], *args: object) -> T:
        """The result of `work`, in a thread."""
        try:
            return await self._threads.run(work, *args)
        except OSError as error:
            raise UpstreamError(ERROR_INTERNAL, f"the directory of files: {error.strerror}") from error


class Partial:
    """One staged upload, locked.

    Attributes:
        offset: bytes that there are; equal to `info.length` when all have come.
        done: whether they have become a file.
    """

    def __init__(
        self, partials: Partials, stem: Path, descriptor: int, info: PartialInfo, offset: int, done: bool
    ) -> None:
        self._run = partials.run
        self._stem = stem
        self._descriptor = descriptor
        self.info = info
        self.offset = offset
        self.done = done

    @property
    def is_whole(self) -> bool:
        """Whether all has come."""
        return self.offset == self.info.length

    async def append(self, pieces: Sequence[bytes], look: Callable[[bytes], object]) -> None:
        """More bytes, each piece shown to `look` in the thread that writes."""
        await self._run(self._append, pieces, look)
        self.offset += sum(len(piece) for piece in pieces)

    def _append(self, pieces: Sequence[bytes], look: Callable[[bytes], object]) -> None:
        position = self.offset
        for piece in pieces:
            look(piece)
            rest = memoryview(piece)
            while rest:
                written = os.pwrite(self._descriptor, rest, position)
                position += written
                rest = rest[written:]

    async def cut(self, offset: int) -> None:
        """Forget what came after `offset`, for sure."""
        await self._run(os.ftruncate, self._descriptor, offset)
        self.offset = offset

    async def read(self) -> AsyncGenerator[bytes, None]:
        """All that has come."""
        position = 0
        while chunk := await self._run(os.pread, self._descriptor, CHUNK, position):
            position += len(chunk)
            yield chunk

    async def complete(self) -> None:
        """The file is where files are: keep only the sign that it is."""

        def complete() -> None:
            _suffixed(self._stem, ".done").touch()
            os.ftruncate(self._descriptor, 0)

        await self._run(complete)

    async def remove(self) -> None:
        """Leave nothing behind."""
        await self._run(_remove, self._stem)


def _hash(owner: Owner) -> str:
    return hashlib.sha256(f"{owner.appid}\0{owner.user}".encode()).hexdigest()[:16]


def _suffixed(stem: Path, suffix: str) -> Path:
    # Not with_suffix: the id is a suffix to it.
    return stem.with_name(stem.name + suffix)


def _lock(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        raise ClientError(ERROR_FILE_NOT_FOUND) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ClientError(ERROR_UPLOAD_BUSY) from None
    return descriptor


def _remove(stem: Path) -> None:
    # The data last: while it is there, the sweeper comes back.
    for suffix in (".part", ".done", ".json", ".data"):
        with contextlib.suppress(FileNotFoundError):
            _suffixed(stem, suffix).unlink()


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
