"""Files in a directory.

    files/ab/ab12…/data, meta.json, w200     one folder per file: renamed into place, renamed out of it
    incoming/ab12…/data                      an upload under way, or a deleted file on its way out
    expiry/1793836800-ab12…                  an empty note for the sweeper: it need not read every file

A folder in `incoming` is locked (flock) by the process that works on it, and the kernel ends the lock with
the process. So the sweeper knows at once what a crash left: whatever it can lock is nobody's. Works for any
number of processes that share the directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import IO, Final, TypeVar

import msgspec

from gateway.config.units import MB
from gateway.errors import ERROR_INTERNAL, UpstreamError
from gateway.storage.base import CHUNK, Meta, Through, Writer, is_id, new_id
from gateway.storage.threads import Threads

THREADS: Final = 8
FLUSH: Final = 8 * MB
"""Bytes after which an upload begins to reach the disk."""
_decoder: Final = msgspec.json.Decoder(Meta)
T = TypeVar("T")


class LocalStorage:
    """See `Storage`."""

    def __init__(self, directory: Path) -> None:
        self._files = directory / "files"
        self._incoming = directory / "incoming"
        self._expiry = directory / "expiry"
        self._threads = Threads(THREADS, "files")

    # ------------------------------------------------------------------ in
    async def create(self, file_id: str) -> Writer:
        """See `Storage.create`."""
        folder, lock = await self._run(self._enter, file_id)
        return LocalWriter(self, folder, lock, file_id)

    def _enter(self, file_id: str) -> tuple[Path, int]:
        """A new folder in `incoming`, and the descriptor that locks it."""
        folder = self._incoming / file_id
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            # A sweeper may take the new folder before it is locked: then make it again.
            with contextlib.suppress(FileNotFoundError):
                lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                fcntl.flock(lock, fcntl.LOCK_EX)
                if folder.exists():
                    return folder, lock
                os.close(lock)

    def _place(self, folder: Path, meta: Meta) -> None:
        """Make the folder of an upload the folder of a file. The rename is the moment."""
        with (folder / "meta.json").open("wb") as file:
            file.write(msgspec.json.encode(meta))
            file.flush()
            os.fsync(file.fileno())
        _sync(folder)
        target = self._folder(meta.id)
        new_shard = not target.parent.exists()
        target.parent.mkdir(parents=True, exist_ok=True)
        if new_shard:
            _sync(self._files)
        self._note_expiry(meta)
        folder.rename(target)
        _sync(target.parent)

    async def update(self, meta: Meta) -> bool:
        """See `Storage.update`."""
        return await self._run(self._update, meta)

    def _update(self, meta: Meta) -> bool:
        folder = self._folder(meta.id)
        part = folder / f"meta.{new_id()[:8]}.part"
        self._note_expiry(meta)
        try:
            with part.open("wb") as file:
                file.write(msgspec.json.encode(meta))
                file.flush()
                os.fsync(file.fileno())
            part.rename(folder / "meta.json")
            _sync(folder)
        except FileNotFoundError:
            return False
        return True

    def _note_expiry(self, meta: Meta) -> None:
        if meta.expires:
            self._expiry.mkdir(exist_ok=True)
            (self._expiry / f"{int(meta.expires):012d}-{meta.id}").touch()

    # ------------------------------------------------------------------ out
    def _folder(self, file_id: str) -> Path:
        return self._files / self.accel_path(file_id).removesuffix("/data")

    def accel_path(self, file_id: str) -> str:
        """See `Storage.accel_path`."""
        return f"{file_id[:2]}/{file_id}/data"

    async def redirect(self, meta: Meta, disposition: str) -> str:
        """See `Storage.redirect`."""
        return ""

    async def stat(self, file_id: str) -> Meta | None:
        """See `Storage.stat`."""
        return await self._run(self._stat, file_id) if is_id(file_id) else None

    def _stat(self, file_id: str) -> Meta | None:
        try:
            return _decoder.decode((self._folder(file_id) / "meta.json").read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    async def read(self, file_id: str, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """See `Storage.read`."""
        try:
            file = await self._run(_open, self._folder(file_id) / "data")
        except FileNotFoundError:
            return
        with closing(file):
            async for chunk in self._chunks(file, start, stop):
                yield chunk

    async def _chunks(self, file: IO[bytes], start: int, stop: int) -> AsyncGenerator[bytes, None]:
        while start < stop:
            chunk = await self._run(os.pread, file.fileno(), min(CHUNK, stop - start), start)
            if not chunk:
                return
            start += len(chunk)
            yield chunk

    @asynccontextmanager
    async def local_file(self, file_id: str) -> AsyncIterator[Path]:
        """See `Storage.local_file`."""
        yield self._folder(file_id) / "data"

    async def delete(self, file_id: str) -> bool:
        """See `Storage.delete`."""
        return is_id(file_id) and await self._run(self._delete, file_id)

    def _delete(self, file_id: str) -> bool:
        bin_ = self._incoming / f"{file_id}-{new_id()[:8]}"
        self._incoming.mkdir(parents=True, exist_ok=True)
        try:
            self._folder(file_id).rename(bin_)
        except FileNotFoundError:
            return False
        shutil.rmtree(bin_, ignore_errors=True)  # a sweeper may be at it, too
        return True

    # ------------------------------------------------------------------ variants
    async def variant(self, file_id: str, name: str) -> bytes | None:
        """See `Storage.variant`."""

        def read() -> bytes | None:
            try:
                return (self._folder(file_id) / name).read_bytes()
            except FileNotFoundError:
                return None

        return await self._run(read)

    async def keep_variant(self, file_id: str, name: str, data: bytes) -> None:
        """See `Storage.keep_variant`."""

        def write() -> None:
            path = self._folder(file_id) / name
            part = path.with_name(f"{name}.{new_id()[:8]}.part")
            # No fsync: it can be made again.
            with contextlib.suppress(FileNotFoundError):
                part.write_bytes(data)
                part.rename(path)

        await self._run(write)

    # ------------------------------------------------------------------ sweeping
    async def sweep(self, now: float) -> int:
        """See `Storage.sweep`."""
        return await self._run(self._sweep, now)

    def _sweep(self, now: float) -> int:
        return sum(self._sweep_incoming(folder) for folder in _listed(self._incoming)) + sum(
            self._sweep_expired(note, now) for note in _listed(self._expiry)
        )

    def _sweep_incoming(self, folder: Path) -> bool:
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its owner may have moved it into place between the opening and the lock.
            if folder.exists() and os.path.samestat(os.fstat(lock), folder.stat()):
                shutil.rmtree(folder, ignore_errors=True)
                return True
        except (BlockingIOError, FileNotFoundError):
            pass
        finally:
            os.close(lock)
        return False

    def _sweep_expired(self, note: Path, now: float) -> bool:
        when, _, file_id = note.name.partition("-")
        if not when.isdigit() or int(when) > now or not is_id(file_id):
            return False
        meta = self._stat(file_id)
        gone = meta is not None and meta.expired(now + 1) and self._delete(file_id)
        note.unlink(missing_ok=True)
        return gone

    async def close(self) -> None:
        """See `Storage.close`."""
        await self._threads.close()

    async def _run(self, work: Callable[..., T], *args: object) -> T:
        return await self._start(work, *args)

    def _start(self, work: Callable[..., T], *args: object) -> asyncio.Future[T]:
        return self._threads.start(_guarded, work, *args)


class LocalWriter:
    """See `Writer`. The folder is locked until the end."""

    def __init__(self, storage: LocalStorage, folder: Path, lock: int, file_id: str) -> None:
        self._storage = storage
        self._folder = folder
        self._lock = lock
        self._id = file_id
        self._file: IO[bytes] | None = None
        self._unflushed = 0
        self._flush: asyncio.Future[None] | None = None
        self._done = False

    def write(self, pieces: Sequence[bytes], through: Through) -> Awaitable[None]:
        """See `Writer.write`."""
        if (
            self._file is not None
            and self._unflushed >= FLUSH
            and (self._flush is None or self._flush.done())
        ):
            # Beside the upload: else its last byte would wait for all of them to reach the disk.
            self._unflushed = 0
            self._flush = self._storage._start(os.fdatasync, self._file.fileno())
        return self._storage._start(self._write, pieces, through)

    def _write(self, pieces: Sequence[bytes], through: Through) -> None:
        file = self._opened()
        for piece in pieces:
            rest = memoryview(through(piece))
            self._unflushed += len(rest)
            while rest:  # a raw file may take less than all of it
                rest = rest[file.write(rest) :]

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            # Unbuffered: the pieces are large.
            self._file = (self._folder / "data").open("xb", buffering=0)
        return self._file

    async def seal(self) -> None:
        """See `Writer.seal`."""
        await self._flushed()
        await self._storage._run(lambda: os.fsync(self._opened().fileno()))

    async def _flushed(self) -> None:
        """The file may be closed: nothing is under way with it."""
        if self._flush is not None:
            # An error comes again from the fsync that follows, or does not matter any more.
            await asyncio.wait({self._flush})
            if not self._flush.cancelled():
                self._flush.exception()

    async def read(self) -> AsyncGenerator[bytes, None]:
        """See `Writer.read`."""
        with closing(await self._storage._run(_open, self._folder / "data")) as file:
            async for chunk in self._storage._chunks(file, 0, sys.maxsize):
                yield chunk

    async def commit(self, meta: Meta) -> None:
        """See `Writer.commit`."""
        await self._storage._run(self._commit, meta)

    def _commit(self, meta: Meta) -> None:
        self._storage._place(self._folder, meta)
        self._end()

    async def abort(self) -> None:
        """See `Writer.abort`."""
        if not self._done:
            await self._flushed()
            await self._storage._run(self._abort)

    def _abort(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._end()

    def _end(self) -> None:
        self._done = True
        os.close(self._lock)
        if self._file is not None:
            self._file.close()


def _guarded(work: Callable[..., T], *args: object) -> T:
    """What the disk refuses is nobody's fault but ours; what is not there is an answer."""
    try:
        return work(*args)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UpstreamError(ERROR_INTERNAL, f"the directory of files: {error.strerror}") from error


def _open(path: Path) -> IO[bytes]:
    return path.open("rb", buffering=0)


def _sync(folder: Path) -> None:
    """A rename is durable when its directory is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
