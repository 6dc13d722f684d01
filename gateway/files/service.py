"""Files as the gateway sees them: what happens from the first byte of an upload to the end of a file's life.

An upload:  options and quota → storage, hidden → the backend's opinion → visible → publication.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from gateway.auth.credentials import Authenticator
from gateway.backend.base import Backend, UploadedFile
from gateway.client import Caller
from gateway.config import Settings
from gateway.errors import ERROR_FILE_NOT_FOUND, ClientError, GatewayException, UpstreamError
from gateway.files.access import FileAccess, Owner
from gateway.files.intake import Facts, Intake
from gateway.files.links import MAX_TTL, Links
from gateway.files.options import FileOptions
from gateway.files.partials import Partials
from gateway.files.progress import Progress
from gateway.files.quotas import Allowance, Ledger, Quotas
from gateway.files.thumbnails import Thumbnails
from gateway.metrics import Metrics
from gateway.node.node import Node
from gateway.node.publications import PublishRequestOptions
from gateway.protocol import ClientInfo, one_line
from gateway.safety.checker import TextChecker
from gateway.safety.media import MediaChecker
from gateway.safety.pending import Held
from gateway.storage.base import Meta, Storage, Writer
from gateway.storage.local import LocalStorage

CHECKING: Final = "checking"
"""The state of a file in quarantine."""
INSPECTION: Final = 3600.0
"""Seconds that WeChat has to fetch a file."""

log = structlog.get_logger()
_encode: Final = msgspec.json.Encoder().encode


class Files:
    """All that concerns files in one process.

    Arguments:
        texts, media: content safety, for channels that want it.
        base_url: where this gateway is, for WeChat's servers, if `files.public_url` does not say.
        wall: unix seconds. clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        node: Node,
        authenticator: Authenticator,
        backend: Backend,
        metrics: Metrics,
        *,
        storage: Storage | None = None,
        ledger: Ledger | None = None,
        texts: TextChecker | None = None,
        media: MediaChecker | None = None,
        base_url: str = "",
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        rows = self.settings = settings.files
        self.storage = storage or make_storage(settings)
        self.links = Links.of(rows.link_secret.get_secret_value(), settings.session.key())
        self.access = FileAccess(node, authenticator, self.links, wall)
        self.quotas = Quotas(
            Allowance(rows.quota_bytes_per_day, rows.quota_files_per_day, rows.max_uploads_per_user), wall
        )
        self._ledger = ledger
        self.texts = texts
        self.media = media
        self._base_url = (rows.public_url or base_url).rstrip("/")
        self.partials = Partials(Path(rows.directory) / "partial", rows.resumable_ttl, wall)
        self.thumbnails = Thumbnails(self.storage)
        self.metrics = metrics
        self.wall = wall
        self._clock = clock
        self._node = node
        self._backend = backend
        self._tells_progress = settings.client.personal_channel
        self._sweeper: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------ life
    def start(self) -> None:
        """Begin to sweep."""
        self._sweeper = asyncio.create_task(self._sweep_forever())
        if self.media is not None:
            self.media.start(self)

    async def close(self) -> None:
        """End the sweeper and the threads. Requests are over by now."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        if self.media is not None:
            await self.media.close()
        await self.partials.close()
        await self.thumbnails.close()
        await self.storage.close()

    async def _sweep_forever(self) -> None:
        while True:
            await self.sweep()
            await asyncio.sleep(self.settings.sweep_interval)

    async def sweep(self) -> int:
        """Remove what has expired and what crashes left; returns how much that was."""
        swept = 0
        for store in (self.storage, self.partials):
            try:
                swept += await store.sweep(self.wall())
            except GatewayException as error:
                log.warning("files could not be swept", problem=str(error))
            except Exception:
                log.exception("files could not be swept")
        if swept:
            log.info("files were swept", count=swept)
        return swept

    # ------------------------------------------------------------------ in
    @asynccontextmanager
    async def upload(
        self, owner: Owner, file_id: str, name: str, *, limit: int, total: int = 0
    ) -> AsyncIterator[Upload]:
        """A file that comes in. Unless it was finished inside, nothing is left of it.

        Arguments:
            limit: bytes that it may have. total: bytes that are expected, 0 where unknown.
        """
        outcome, upload = "gone", None
        self.metrics.uploads_running += 1
        try:
            with self.quotas.begin(owner.appid, owner.user, await self.used(owner)) as lease:
                writer = await self.storage.create(file_id)
                rows = self.settings
                intake = Intake(writer, rows.allowed_types, strip_exif=rows.strip_exif, limit=limit)
                upload = Upload(self, owner, file_id, name, writer, intake, lease.grow)
                if self._tells_progress:
                    upload.progress = Progress(self._node, owner.user, file_id, name, total, self._clock)
                yield upload
                if upload.meta is not None:
                    outcome = "ok"
                    lease.keep()
                    await self._write_down(owner, lease.size)
        except ClientError as error:
            outcome = str(error.outcome.code)
            raise
        except UpstreamError:
            outcome = "error"
            raise
        finally:
            self.metrics.uploads_running -= 1
            self.metrics.upload(outcome, upload.intake.received if upload else 0)
            if upload is not None and upload.meta is None:
                await self._give_up(upload)

    async def used(self, owner: Owner) -> tuple[int, int]:
        """Files and bytes of today that all processes know of. Raises UpstreamError."""
        if self._ledger is None:
            return 0, 0
        return await self._ledger.used(owner.appid, owner.user, self.quotas.today)

    async def _write_down(self, owner: Owner, size: int) -> None:
        """For the other processes. The file is there: not to have counted it is no reason to refuse it."""
        if self._ledger is not None:
            try:
                await self._ledger.add(owner.appid, owner.user, self.quotas.today, size)
            except UpstreamError as error:
                log.warning("an upload was not counted for all", problem=error.detail)

    async def _give_up(self, upload: Upload) -> None:
        if upload.progress is not None:
            upload.progress.ends("failed", upload.intake.received)
        try:
            await asyncio.shield(upload.intake.abort())
        except UpstreamError as error:
            log.warning("an upload could not be removed, the sweeper will", problem=error.detail)

    async def judge(self, owner: Owner, meta: Meta, writer: Writer) -> None:
        """Ask the team's code. Raises ClientError where it refuses, UpstreamError where it fails."""
        file = UploadedFile(
            meta.id, meta.name, meta.type, meta.size, meta.sha256, meta.channel, meta.visibility, writer.read
        )
        asked = self._backend.handle_upload(Caller("", owner.user, owner.appid, owner.session), file)
        if asked is not None:
            await asked

    async def announce(self, meta: Meta, key: str = "") -> None:
        """Publish the file in its channel; with a `key` only once."""
        data = one_line(_encode({"type": "file", "file": self.describe(meta)}))
        options = PublishRequestOptions(info=ClientInfo(meta.user, ""), idempotency_key=key)
        await self._node.publish(meta.channel, data, options)

    # ------------------------------------------------------------------ quarantine
    def checks(self, channel: str) -> tuple[TextChecker | None, MediaChecker | None]:
        """Who judges the name, and who the content, of a file on its way into a channel."""
        options = self._node.rules.options(channel)
        texts = self.texts if self.texts is not None and self.texts.wanted(options) else None
        return texts, self.media if self.media is not None and self.media.wanted(options) else None

    def inspection_link(self, file_id: str) -> str:
        """An address at which WeChat's servers, and nobody else, may read a file in quarantine."""
        expires = int(self.wall() + INSPECTION)
        return f"{self._base_url}/files/{file_id}?inspect=1&{self.links.sign(f'inspect:{file_id}', expires)}"

    async def release(self, held: Held) -> None:
        """See `safety.media.Keeper`."""
        meta = await self.storage.stat(held.file)
        if meta is None:
            return
        meta = msgspec.structs.replace(meta, state="", expires=held.expires)
        try:
            if not await self.storage.update(meta):
                return
            await self.announce(meta, key=f"file:{meta.id}")
        except ClientError as error:  # the channel is gone, and so is the reason to keep it
            log.warning("a released file has nowhere to go", file=meta.id, problem=error.detail)
            await self.refuse(held, "channel")
            return
        self._tell(held, "done")

    async def refuse(self, held: Held, reason: str) -> None:
        """See `safety.media.Keeper`."""
        if await self.storage.delete(held.file):
            self._tell(held, "refused", reason=reason)

    def _tell(self, held: Held, state: str, **more: str) -> None:
        """The owner hears of it on the personal channel, also later, if that keeps a history."""
        if not self._tells_progress:
            return
        about = {"type": "upload", "id": held.file, "name": held.name, "total": held.size}
        data = one_line(_encode(about | {"state": state, "received": held.size} | more))

        async def tell() -> None:
            await self._node.publish(self._node.rules.personal(held.user), data)

        self._node.spawn(tell())

    # ------------------------------------------------------------------ out
    async def find(self, file_id: str, *, held: bool = False) -> Meta:
        """Raises ClientError 422 where there is none, or not any more; or not yet, unless `held`."""
        meta = await self.storage.stat(file_id)
        if meta is None or meta.expired(self.wall()) or (meta.state and not held):
            raise ClientError(ERROR_FILE_NOT_FOUND)
        return meta

    def link(self, file_id: str, ttl: float = 0.0) -> str:
        """An address that anybody may read the file at for `ttl` seconds."""
        expires = int(self.wall() + min(ttl or self.settings.link_ttl, MAX_TTL))
        return f"{self.address(file_id)}?{self.links.sign(file_id, expires)}"

    def address(self, file_id: str) -> str:
        """Where a file is, for who has a token."""
        return f"{self.settings.public_url.rstrip('/')}/files/{file_id}"

    def describe(self, meta: Meta) -> dict[str, Any]:
        """What clients are told of a file."""
        told: dict[str, Any] = {
            "id": meta.id,
            "url": self.link(meta.id) if meta.visibility == "link" else self.address(meta.id),
            "size": meta.size,
            "sha256": meta.sha256,
            "type": meta.type,
            "name": meta.name,
        }
        if meta.width:
            told |= {"width": meta.width, "height": meta.height}
        if meta.state:
            told["state"] = meta.state
        elif meta.expires:
            told["expires"] = int(meta.expires)
        return told


class Upload:
    """One file on its way in; made by `Files.upload`.

    Attributes:
        meta: what is known of it once it is visible.
    """

    def __init__(
        self,
        files: Files,
        owner: Owner,
        file_id: str,
        name: str,
        writer: Writer,
        intake: Intake,
        grow: Callable[[int], None],
    ) -> None:
        self._files = files
        self._owner = owner
        self._id = file_id
        self._name = name
        self._writer = writer
        self._grow = grow
        self.intake = intake
        self.progress: Progress | None = None
        self.meta: Meta | None = None

    async def write(self, pieces: list[bytes]) -> None:
        """Take the next bytes. Raises ClientError: 420 too large, 421 not this type, 423 over quota."""
        for piece in pieces:
            self.intake.add(piece)
            self._grow(len(piece))
        await self.intake.pump()
        if self.progress is not None:
            self.progress.at(self.intake.received)

    async def finish(self, options: FileOptions, name: str = "") -> Meta:
        """All has come: make it a file, and say so in its channel. Raises ClientError, UpstreamError.

        `name`: instead of the one that was known at the start.
        """
        self._name = name or self._name
        files, owner = self._files, self._owner
        if options.channel:
            await files.access.check_publish(owner, options.channel)
        texts, media = files.checks(options.channel) if options.channel else (None, None)
        facts = await self.intake.finish()
        meta = self._describe(facts, options)
        if media is not None:
            media.check_kind(meta.type, meta.size)
        if texts is not None and self._name:
            await texts.check_texts(owner.user, owner.appid, [self._name])
        await files.judge(owner, meta, self._writer)
        if media is not None:
            return await self._hold(meta, media)
        await self._writer.commit(meta)
        self.meta = meta
        if meta.channel:
            await self._announce(meta)
        if self.progress is not None:
            self.progress.ends("done", self.intake.received)
        return meta

    async def _hold(self, meta: Meta, media: MediaChecker) -> Meta:
        """Keep it unseen until WeChat has looked at it."""
        files = self._files
        held = Held(meta.id, meta.user, meta.appid, meta.name, meta.size, meta.expires)
        meta = msgspec.structs.replace(meta, state=CHECKING, expires=media.forgotten_at)
        await self._writer.commit(meta)
        self.meta = meta
        try:
            asked = await media.begin(held, meta.type, files.inspection_link(meta.id))
        except (ClientError, UpstreamError):
            await self._withdraw(meta)
            raise
        if not asked:
            await files.release(held)
            return msgspec.structs.replace(meta, state="", expires=held.expires)
        if self.progress is not None:
            self.progress.ends(CHECKING, self.intake.received)
        return meta

    async def _withdraw(self, meta: Meta) -> None:
        """Who is told of a failure sends again."""
        with contextlib.suppress(UpstreamError):
            await self._files.storage.delete(meta.id)
        self.meta = None

    def _describe(self, facts: Facts, options: FileOptions) -> Meta:
        now = self._files.wall()
        return Meta(
            id=self._id,
            size=facts.size,
            sha256=facts.sha256,
            type=facts.type,
            user=self._owner.user,
            created=now,
            name=self._name,
            appid=self._owner.appid,
            visibility=options.visibility,
            channel=options.channel,
            expires=now + options.expires_in if options.expires_in else 0.0,
            width=facts.width,
            height=facts.height,
        )

    async def _announce(self, meta: Meta) -> None:
        try:
            await self._files.announce(meta)
        except (ClientError, UpstreamError):
            await self._withdraw(meta)
            raise


def make_storage(settings: Settings) -> Storage:
    """The store that the configuration names."""
    rows = settings.files
    if not rows.s3_url:
        return LocalStorage(Path(rows.directory))
    from gateway.storage.s3 import Bucket, S3Storage  # boto3 is an extra

    return S3Storage(
        Bucket(
            url=rows.s3_url,
            region=rows.s3_region,
            access_key=rows.s3_access_key.get_secret_value(),
            secret_key=rows.s3_secret_key.get_secret_value(),
            prefix=rows.s3_prefix,
            addressing=rows.s3_addressing,
            redirect=rows.s3_redirect,
        )
    )
