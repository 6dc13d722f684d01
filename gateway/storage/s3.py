"""Files in an S3-compatible store: Tencent COS, MinIO, AWS, anything that speaks the protocol.

    {prefix}data/ab12…               the bytes, sent in parts while they come in
    {prefix}meta/ab12….json          what is known of the file; written last, so it is what makes it visible
    {prefix}expiry/1793836800-ab12…  an empty note for the sweeper
    {prefix}variants/ab12…/w200      thumbnails

A crash leaves an unfinished multipart upload, or data without its metadata. The sweeper removes both once
they are older than any upload takes.

boto3 is synchronous, so all of it runs in threads. It holds one part in memory for each running upload.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from gateway.config.units import DAY, HOUR, MB
from gateway.errors import ERROR_INTERNAL, GatewayError, UpstreamError
from gateway.storage.base import CHUNK, Meta, Through, Writer, is_id
from gateway.storage.threads import Threads

THREADS: Final = 16
PART: Final = 5 * MB
"""The least size of a part: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""
LINK_TTL: Final = 300
"""Seconds that a download may take to begin after its redirect."""
ORPHAN_AGE: Final = 1 * DAY
DEEP_SWEEP_INTERVAL: Final = 6 * HOUR
"""Seconds between two listings of everything."""

_decoder: Final = msgspec.json.Decoder(Meta)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where the files are. Empty keys: the credentials that boto3 finds by itself."""

    url: str
    region: str
    access_key: str
    secret_key: str
    prefix: str
    addressing: str
    redirect: bool


class S3Storage:
    """See `Storage`.

    Arguments:
        orphan_age: seconds after which data that belongs to no file is removed.
    """

    def __init__(self, bucket: Bucket, orphan_age: float = ORPHAN_AGE) -> None:
        parts = urlsplit(bucket.url)
        self._endpoint = f"{parts.scheme}://{parts.netloc}"
        self._bucket = parts.path.strip("/")
        self._settings = bucket
        self._orphan_age = orphan_age
        self._threads = Threads(THREADS, "s3")
        self._lock = threading.Lock()
        self._made: Any = None
        self._next_deep_sweep = 0.0
        # Only looked for: a process that serves no files need not load it.
        if find_spec("boto3") is None:
            raise GatewayError('files.s3_url: boto3 is missing; pip install "wx-gateway[s3]"')

    # ------------------------------------------------------------------ the client
    def client(self) -> Any:
        """The client, made in the thread that is the first to need it: that reads files."""
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def _make(self) -> Any:
        import boto3
        from botocore.config import Config

        settings = self._settings
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self._endpoint,
            region_name=settings.region,
            aws_access_key_id=settings.access_key or None,
            aws_secret_access_key=settings.secret_key or None,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": settings.addressing},
                retries={"max_attempts": 3, "mode": "standard"},
                connect_timeout=5,
                read_timeout=30,
                max_pool_connections=THREADS,
                # The checksums that AWS began to ask for in 2025 are unknown to many other stores.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work`, in a thread; errors of the store as UpstreamError."""
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        try:
            return await self._threads.run(work)
        except (BotoCoreError, ClientError, HTTPClientError) as error:
            # Not its text as a whole: that may hold the address with its signature.
            raise UpstreamError(ERROR_INTERNAL, f"S3: {_code(error) or type(error).__name__}") from None

    def call(self, operation: str, key: str, **arguments: Any) -> Any:
        """One call for one key; for threads."""
        return getattr(self.client(), operation)(
            Bucket=self._bucket, Key=self._settings.prefix + key, **arguments
        )

    def _get(self, key: str, **arguments: Any) -> Any:
        """The body of an object; None where there is none."""
        from botocore.exceptions import ClientError

        try:
            return self.call("get_object", key, **arguments)["Body"]
        except ClientError as error:
            if _code(error) in ("NoSuchKey", "404", "NotFound"):
                return None
            raise

    # ------------------------------------------------------------------ files
    async def create(self, file_id: str) -> Writer:
        """See `Storage.create`."""
        return S3Writer(self, file_id)

    async def stat(self, file_id: str) -> Meta | None:
        """See `Storage.stat`."""
        return await self.run(lambda: self._stat(file_id)) if is_id(file_id) else None

    def _stat(self, file_id: str) -> Meta | None:
        body = self._get(f"meta/{file_id}.json")
        with suppress(msgspec.DecodeError):
            return _decoder.decode(body.read()) if body is not None else None
        return None

    def place(self, meta: Meta) -> None:
        """Make a file visible whose data is there; for threads."""
        if meta.expires:
            self.call("put_object", f"expiry/{int(meta.expires):012d}-{meta.id}", Body=b"")
        self.call("put_object", f"meta/{meta.id}.json", Body=msgspec.json.encode(meta))

    async def update(self, meta: Meta) -> bool:
        """See `Storage.update`."""

        def update() -> bool:
            if self._stat(meta.id) is None:
                return False
            self.place(meta)
            return True

        return await self.run(update)

    async def read(self, file_id: str, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """See `Storage.read`."""
        if stop <= start:
            return
        body = await self.run(lambda: self._get(f"data/{file_id}", Range=f"bytes={start}-{stop - 1}"))
        async for chunk in self.chunks(body):
            yield chunk

    async def chunks(self, body: Any) -> AsyncGenerator[bytes, None]:
        """What is in a body, piece by piece."""
        if body is None:
            return
        try:
            while chunk := await self.run(lambda: body.read(CHUNK)):
                yield chunk
        finally:
            body.close()

    @asynccontextmanager
    async def local_file(self, file_id: str) -> AsyncIterator[Path]:
        """See `Storage.local_file`."""

        def fetch() -> Any:
            file = tempfile.NamedTemporaryFile(prefix="gateway-")
            body = self._get(f"data/{file_id}")
            while chunk := body.read(CHUNK) if body is not None else b"":
                file.write(chunk)
            file.flush()
            return file

        file = await self.run(fetch)
        try:
            yield Path(file.name)
        finally:
            await self._threads.run(file.close)

    async def delete(self, file_id: str) -> bool:
        """See `Storage.delete`."""
        return is_id(file_id) and await self.run(lambda: self._delete(file_id))

    def _delete(self, file_id: str) -> bool:
        found = self._stat(file_id) is not None
        # The metadata first: from then on it is gone, whatever becomes of the rest.
        self.call("delete_object", f"meta/{file_id}.json")
        self.call("delete_object", f"data/{file_id}")
        for key, _ in self._listed(f"variants/{file_id}/"):
            self.call("delete_object", key)
        return found

    # ------------------------------------------------------------------ for downloads
    def accel_path(self, file_id: str) -> str:
        """See `Storage.accel_path`."""
        return ""

    async def redirect(self, meta: Meta, disposition: str) -> str:
        """See `Storage.redirect`."""
        if not self._settings.redirect:
            return ""
        parameters = {
            "Bucket": self._bucket,
            "Key": f"{self._settings.prefix}data/{meta.id}",
            "ResponseContentType": meta.type,
            "ResponseContentDisposition": disposition,
        }
        return await self.run(
            lambda: str(self.client().generate_presigned_url("get_object", parameters, ExpiresIn=LINK_TTL))
        )

    async def variant(self, file_id: str, name: str) -> bytes | None:
        """See `Storage.variant`."""

        def read() -> bytes | None:
            body = self._get(f"variants/{file_id}/{name}")
            return bytes(body.read()) if body is not None else None

        return await self.run(read)

    async def keep_variant(self, file_id: str, name: str, data: bytes) -> None:
        """See `Storage.keep_variant`."""
        await self.run(lambda: self.call("put_object", f"variants/{file_id}/{name}", Body=data))

    # ------------------------------------------------------------------ sweeping
    async def sweep(self, now: float) -> int:
        """See `Storage.sweep`."""
        swept = await self.run(lambda: self._sweep_expired(now))
        if now >= self._next_deep_sweep:
            self._next_deep_sweep = now + DEEP_SWEEP_INTERVAL
            swept += await self.run(lambda: self._sweep_uploads(now) + self._sweep_orphans(now))
        return swept

    def _sweep_expired(self, now: float) -> int:
        swept = 0
        for key, _ in self._listed("expiry/"):
            when, _, file_id = key.removeprefix("expiry/").partition("-")
            if not when.isdigit() or int(when) > now:
                break  # in the order of time
            meta = self._stat(file_id)
            # Its end may have been moved since the note was made.
            if meta is None or meta.expired(now + 1):
                swept += self._delete(file_id)
            self.call("delete_object", key)
        return swept

    def _sweep_uploads(self, now: float) -> int:
        """Multipart uploads that nobody will end."""
        found = self.client().list_multipart_uploads(
            Bucket=self._bucket, Prefix=f"{self._settings.prefix}data/"
        )
        old = [
            upload
            for upload in found.get("Uploads", ())
            if upload["Initiated"].timestamp() <= now - self._orphan_age
        ]
        for upload in old:
            self.client().abort_multipart_upload(
                Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
            )
        return len(old)

    def _sweep_orphans(self, now: float) -> int:
        """Data without metadata. Both listings are in the order of ids, so one walk compares them."""
        known = (key.removeprefix("meta/").removesuffix(".json") for key, _ in self._listed("meta/"))
        current = next(known, "~")
        swept = 0
        for key, modified in self._listed("data/"):
            file_id = key.removeprefix("data/")
            while current < file_id:
                current = next(known, "~")
            if current != file_id and modified <= now - self._orphan_age:
                self.call("delete_object", key)
                swept += 1
        return swept

    def _listed(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Keys below `prefix`, without our own prefix, and when they were written."""
        own = self._settings.prefix
        pages = self.client().get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=own + prefix):
            for found in page.get("Contents", ()):
                yield found["Key"].removeprefix(own), found["LastModified"].timestamp()

    async def close(self) -> None:
        """See `Storage.close`."""
        await self._threads.close()
        if self._made is not None:
            self._made.close()


class S3Writer:
    """See `Writer`. What fits into one part goes in one request at the end."""

    def __init__(self, storage: S3Storage, file_id: str) -> None:
        self._storage = storage
        self._key = f"data/{file_id}"
        self._buffer = bytearray()
        self._upload = ""
        self._parts: list[dict[str, Any]] = []
        self._sealed = False
        self._committed = False

    async def write(self, pieces: Sequence[bytes], through: Through) -> None:
        """See `Writer.write`."""
        await self._storage.run(lambda: self._write(pieces, through))

    def _write(self, pieces: Sequence[bytes], through: Through) -> None:
        for piece in pieces:
            self._buffer += through(piece)
        while len(self._buffer) >= PART:
            part = bytes(self._buffer[:PART])
            del self._buffer[:PART]
            self._send(part)

    def _send(self, part: bytes) -> None:
        call = self._storage.call
        if not self._upload:
            self._upload = call("create_multipart_upload", self._key)["UploadId"]
        number = len(self._parts) + 1
        answer = call("upload_part", self._key, UploadId=self._upload, PartNumber=number, Body=part)
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})

    async def seal(self) -> None:
        """See `Writer.seal`."""
        await self._storage.run(self._seal)

    def _seal(self) -> None:
        call = self._storage.call
        self._sealed = True
        rest, self._buffer = bytes(self._buffer), bytearray()
        if not self._upload:
            call("put_object", self._key, Body=rest)
            return
        if rest:
            self._send(rest)
        parts = {"Parts": self._parts}
        call("complete_multipart_upload", self._key, UploadId=self._upload, MultipartUpload=parts)
        self._upload = ""

    async def read(self) -> AsyncGenerator[bytes, None]:
        """See `Writer.read`."""
        body = await self._storage.run(lambda: self._storage._get(self._key))
        async for chunk in self._storage.chunks(body):
            yield chunk

    async def commit(self, meta: Meta) -> None:
        """See `Writer.commit`."""
        await self._storage.run(lambda: self._storage.place(meta))
        self._committed = True

    async def abort(self) -> None:
        """See `Writer.abort`."""
        if not self._committed:
            await self._storage.run(self._abort)

    def _abort(self) -> None:
        self._buffer = bytearray()
        upload, self._upload = self._upload, ""
        if upload:
            self._storage.call("abort_multipart_upload", self._key, UploadId=upload)
        elif self._sealed:
            self._sealed = False
            self._storage.call("delete_object", self._key)


def _code(error: Exception) -> str:
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))
