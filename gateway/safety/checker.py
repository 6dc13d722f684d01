"""Texts of clients, checked before anybody reads them: remembered, shared, within WeChat's quota, in time.

A text that was judged a while ago is not asked for again, and one that is being judged is asked for once.
What cannot be judged in time - WeChat is down, the quota is used up, too much is under way - is let through
or refused as the configuration says, never kept waiting.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from gateway.auth.windows import Windows
from gateway.config import ChannelOptions
from gateway.config.safety import Safety as SafetySettings
from gateway.config.units import DAY, MINUTE
from gateway.errors import (
    ERROR_BAD_REQUEST,
    ERROR_CONTENT_REVIEW,
    ERROR_CONTENT_RISKY,
    ERROR_CONTENT_UNCHECKED,
    ClientError,
    UpstreamError,
)
from gateway.metrics import Metrics
from gateway.safety.texts import TooMuchText, is_file, portions, texts_of
from gateway.wechat.content_api import ContentAPI, OpenidRefused, Verdict

ORDER: Final[tuple[Verdict, ...]] = ("pass", "review", "risky")
"""From harmless to worst."""


class Unchecked(Exception):
    """No verdict; `outcome` is the metrics' word for why."""

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class TextChecker:
    """Judges texts.

    Arguments:
        apis: by appid.
        windows: counts calls for all nodes.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: SafetySettings,
        apis: Mapping[str, ContentAPI],
        windows: Windows,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._apis = dict(apis)
        self._windows = windows
        self._metrics = metrics
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[Verdict, float]] = OrderedDict()
        self._running: dict[bytes, asyncio.Task[Verdict]] = {}

    def load(self, apis: Mapping[str, ContentAPI]) -> None:
        """Take over the mini-programs of another configuration."""
        self._apis = dict(apis)

    def __len__(self) -> int:
        """Texts that are remembered."""
        return len(self._known)

    @staticmethod
    def wanted(options: ChannelOptions) -> bool:
        """Whether texts in a channel are checked."""
        return options.content_check in ("text", "all")

    async def check(self, user: str, appid: str, options: ChannelOptions, data: bytes) -> None:
        """What a client publishes, where its channel wants that. Raises ClientError 440 to 442 where it must
        not be, 107 where it is too long, or says that it is a file: that one nobody would have looked at."""
        try:
            if options.content_check in ("media", "all") and is_file(data):
                raise ClientError(ERROR_BAD_REQUEST, "files come into this channel by an upload")
            if not self.wanted(options):
                return
            texts = texts_of(data, options.content_check_fields)
        except ValueError:
            raise ClientError(ERROR_BAD_REQUEST, "data is no JSON") from None
        await self.check_texts(user, appid, texts)

    async def check_texts(self, user: str, appid: str, texts: list[str]) -> None:
        """The same for texts that are no publication, such as the name of a file."""
        try:
            wanted = portions(texts)
        except TooMuchText as error:
            self._metrics.content_check("text", "too_long")
            raise ClientError(ERROR_BAD_REQUEST, str(error)) from None
        if not wanted:
            return
        try:
            verdict = await self._judge(user, appid, wanted)
        except Unchecked as error:
            self._metrics.content_check("text", error.outcome)
            if self._settings.unavailable == "refuse":
                raise ClientError(ERROR_CONTENT_UNCHECKED) from None
            return
        self._metrics.content_check("text", verdict)
        if verdict == "risky":
            raise ClientError(ERROR_CONTENT_RISKY)
        if verdict == "review" and self._settings.review == "refuse":
            raise ClientError(ERROR_CONTENT_REVIEW)

    async def _judge(self, user: str, appid: str, wanted: list[str]) -> Verdict:
        """The worst verdict on any portion. Raises Unchecked."""
        api = self._apis.get(appid)
        if api is None or not user:
            raise Unchecked("openid")
        try:
            async with asyncio.timeout(self._settings.timeout):
                found = await asyncio.gather(
                    *(self._judge_one(api, user, text) for text in wanted), return_exceptions=True
                )
        except TimeoutError:
            raise Unchecked("timeout") from None
        # What is known to be risky is refused, whatever became of the rest.
        failures = [each for each in found if isinstance(each, BaseException)]
        worst = max((each for each in ORDER if each in found), key=ORDER.index, default=ORDER[0])
        if failures and worst != "risky":
            raise failures[0]
        return worst

    async def _judge_one(self, api: ContentAPI, user: str, text: str) -> Verdict:
        key = hashlib.sha256(f"{api.app.appid}\0{self._settings.scene}\0{text}".encode()).digest()
        known = self._known.get(key)
        if known is not None and known[1] > self._clock():
            self._metrics.content_cached += 1
            return known[0]
        task = self._running.get(key)
        if task is None:
            if len(self._running) >= self._settings.max_in_flight:
                raise Unchecked("crowded")
            task = self._running[key] = asyncio.create_task(self._ask(api, user, text, key))
            task.add_done_callback(lambda done: self._ended(key, done))
        try:
            # Who waits may give up; others may wait for the same text, and it will be known later.
            return await asyncio.shield(task)
        except OpenidRefused:
            raise Unchecked("openid") from None
        except UpstreamError:
            raise Unchecked("unavailable") from None

    def _ended(self, key: bytes, task: asyncio.Task[Verdict]) -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # retrieved: everybody may have given up

    async def _ask(self, api: ContentAPI, user: str, text: str, key: bytes) -> Verdict:
        await self._spend(api.app.appid)
        verdict = (await api.check_text(user, int(self._settings.scene), text)).verdict
        self._known[key] = (verdict, self._clock() + self._settings.cache_ttl)
        self._known.move_to_end(key)
        while len(self._known) > self._settings.cache_size:
            self._known.popitem(last=False)
        return verdict

    async def _spend(self, appid: str) -> None:
        """One call of WeChat's quota, which all nodes share. Raises Unchecked."""
        rows = self._settings
        for seconds, limit in ((MINUTE, rows.calls_per_minute), (DAY, rows.calls_per_day)):
            if await self._windows.hit(f"msg_sec_check:{appid}", int(seconds)) > limit:
                raise Unchecked("quota")

    async def close(self) -> None:
        """End what is under way."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
