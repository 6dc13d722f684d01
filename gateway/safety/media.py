"""Files in quarantine: nobody sees them until WeChat has said that they are harmless.

WeChat is given a signed address and answers with an id; the verdict comes later to `/wx/callback`, on any
node. What is decided is written down before it is done, and done again by whoever finds it undone: so a
crash in between, or a Redis that is away for a moment, loses no file and publishes none twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Literal, Protocol

import structlog

from gateway.config import ChannelOptions
from gateway.config.safety import Safety as SafetySettings
from gateway.errors import ERROR_CONTENT_UNCHECKED, ERROR_FILE_REFUSED, ClientError, UpstreamError
from gateway.metrics import Metrics
from gateway.safety.pending import Held, Outcome, Pending
from gateway.wechat.callback import WeChatEvent
from gateway.wechat.content_api import MEDIA_SIZE, ContentAPI, OpenidRefused, verdict_of

EVENT: Final = "wxa_media_check"
SWEEP_INTERVAL: Final = 5.0
"""Seconds between two looks for files that are due."""
LEASE: Final = 30.0
"""Seconds after which what was decided, and has not been done, is done by somebody else; and for which a
verdict is kept whose file is not known yet."""
MARGIN: Final = 3600.0
"""Seconds after its deadline at which the store itself forgets a file that nobody has released."""
TRIES: Final = 5
"""Attempts to write a verdict down: WeChat does not push it again once it has been taken."""

log = structlog.get_logger()


class Keeper(Protocol):
    """Who has the files."""

    async def release(self, held: Held) -> None:
        """Make a file visible, publish it, tell its owner. Once more does no harm. Raises UpstreamError."""

    async def refuse(self, held: Held, reason: str) -> None:
        """Delete a file and tell its owner. Once more does no harm. Raises UpstreamError."""


class MediaChecker:
    """Asks for verdicts, and has them carried out.

    Arguments:
        apis: by appid.
        wall: unix seconds.
    """

    def __init__(
        self,
        settings: SafetySettings,
        apis: Mapping[str, ContentAPI],
        pending: Pending,
        metrics: Metrics,
        *,
        wall: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._apis = dict(apis)
        self._pending = pending
        self._metrics = metrics
        self._wall = wall
        self._keeper: Keeper | None = None
        self._sweeper: asyncio.Task[None] | None = None

    def load(self, apis: Mapping[str, ContentAPI]) -> None:
        """Take over the mini-programs of another configuration."""
        self._apis = dict(apis)

    def start(self, keeper: Keeper) -> None:
        """Begin to carry out verdicts."""
        self._keeper = keeper
        self._sweeper = asyncio.create_task(self._sweep_forever(), name="media-check")

    async def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)

    # ------------------------------------------------------------------ in
    @staticmethod
    def wanted(options: ChannelOptions) -> bool:
        """Whether files in a channel are checked."""
        return options.content_check in ("media", "all")

    @property
    def forgotten_at(self) -> float:
        """Unix seconds at which a file that goes into quarantine now has to be gone if nobody releases it."""
        return self._wall() + self._settings.media_timeout + MARGIN

    def check_kind(self, content_type: str, size: int) -> None:
        """Raises ClientError 424 for what WeChat cannot check: neither image nor audio, or too large."""
        if _kind(content_type) is None:
            raise ClientError(
                ERROR_FILE_REFUSED, "only pictures and recordings can be checked for this channel"
            )
        if size > MEDIA_SIZE:
            raise ClientError(
                ERROR_FILE_REFUSED, f"at most {MEDIA_SIZE} bytes can be checked for this channel"
            )

    async def begin(self, held: Held, content_type: str, url: str) -> bool:
        """Ask for a verdict on a file that is in quarantine; False: it cannot be checked, and need not be.

        Raises ClientError 442 where it cannot be checked and has to be, UpstreamError where the question
        cannot be kept.
        """
        try:
            trace = await self._ask(held, content_type, url)
        except UpstreamError as error:
            outcome = "openid" if isinstance(error, OpenidRefused) else "unavailable"
            self._metrics.content_check("media", outcome)
            if self._settings.unavailable == "pass":
                return False
            raise ClientError(ERROR_CONTENT_UNCHECKED) from None
        known = await self._pending.add(trace, held, self._wall() + self._settings.media_timeout)
        if known.outcome:
            await self._carry_out(trace, known)
        return True

    async def _ask(self, held: Held, content_type: str, url: str) -> str:
        api, kind = self._apis.get(held.appid), _kind(content_type)
        if api is None or kind is None:
            raise UpstreamError(ERROR_CONTENT_UNCHECKED, "no mini-program to check it for")
        return await api.check_media(held.user, int(self._settings.scene), url, kind)

    # ------------------------------------------------------------------ verdicts
    async def on_event(self, event: WeChatEvent) -> None:
        """What WeChat pushed. See `EVENT`."""
        trace, verdict = verdict_of(event.data)
        if not trace:
            log.warning("a verdict on a file names no check", appid=event.appid)
            return
        outcome: Outcome = verdict or "unavailable"
        held = await _persist(lambda: self._pending.judge(trace, outcome, self._wall() + LEASE))
        if held is None:
            log.error("a verdict on a file is lost: Redis was away", trace_id=trace)
        elif held.file:
            await self._carry_out(trace, held)

    async def _carry_out(self, trace: str, held: Held) -> None:
        """Do what was decided; what fails is done by the sweeper."""
        keeper, rows = self._keeper, self._settings
        if keeper is None:
            return
        good = held.outcome == "pass"
        good = good or (held.outcome == "review" and rows.review == "pass")
        good = good or (held.outcome == "unavailable" and rows.unavailable == "pass")
        try:
            await (keeper.release(held) if good else keeper.refuse(held, held.outcome))
            await self._pending.remove(trace)
        except UpstreamError as error:
            log.warning("a verdict on a file is carried out later", file=held.file, problem=error.detail)
            return
        self._metrics.content_check("media", held.outcome)

    # ------------------------------------------------------------------ time
    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            try:
                await self.sweep()
            except UpstreamError as error:
                log.warning("files in quarantine could not be looked at", problem=error.detail)
            except Exception:
                log.exception("files in quarantine could not be looked at")

    async def sweep(self) -> int:
        """Carry out what is due; how much that was."""
        found = await self._pending.due(self._wall(), LEASE)
        for trace, held in found:
            if not held.file:
                await self._pending.remove(trace)
            elif held.outcome:
                await self._carry_out(trace, held)
            else:
                await self._late(trace, held)
        return len(found)

    async def _late(self, trace: str, held: Held) -> None:
        log.warning("no verdict on a file in time", file=held.file, then=self._settings.media_late)
        keeper = self._keeper
        if keeper is None:
            return
        if self._settings.media_late == "release":
            await keeper.release(held)
        else:
            await keeper.refuse(held, "timeout")
        await self._pending.remove(trace)
        self._metrics.content_check("media", "timeout")


async def _persist(write: Callable[[], Coroutine[Any, Any, Held]]) -> Held | None:
    """Write, for as long as it takes Redis to come back; None: too long."""
    for attempt in range(TRIES):
        try:
            return await write()
        except UpstreamError as error:
            log.warning("a verdict on a file could not be kept", problem=error.detail)
            await asyncio.sleep(2**attempt)
    return None


def _kind(content_type: str) -> Literal[1, 2] | None:
    if content_type.startswith("image/"):
        return 2
    return 1 if content_type.startswith("audio/") else None
