"""Builds content safety: the checks of every mini-program, with connections and a breaker of their own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from gateway.assembly.wechat import count_calls
from gateway.auth.windows import Windows
from gateway.config import Settings
from gateway.metrics import Metrics
from gateway.safety.checker import TextChecker
from gateway.safety.media import MediaChecker
from gateway.safety.pending import Pending
from gateway.wechat.calls import WeChatCalls
from gateway.wechat.content_api import ContentAPI
from gateway.wechat.open_api import OpenAPI


@dataclass(frozen=True, slots=True)
class SafetyParts:
    """The two checkers, and the client of their own: a check that hangs keeps no sign-in from WeChat."""

    texts: TextChecker
    media: MediaChecker
    client: httpx.AsyncClient
    metrics: Metrics

    def load(self, settings: Settings, apis: Mapping[str, OpenAPI]) -> None:
        """Take over the mini-programs of a configuration, each with the access token that it has already."""
        found = {appid: self._content_api(settings, api) for appid, api in apis.items()}
        self.texts.load(found)
        self.media.load(found)

    def _content_api(self, settings: Settings, api: OpenAPI) -> ContentAPI:
        counted = count_calls(self.metrics)
        calls = WeChatCalls(api.app, settings.safety.timeout, self.client, on_call=counted)
        return ContentAPI(calls, api.tokens)

    async def close(self) -> None:
        """End what is under way."""
        await self.texts.close()
        await self.client.aclose()


def build_safety(
    settings: Settings, apis: Mapping[str, OpenAPI], windows: Windows, pending: Pending, metrics: Metrics
) -> SafetyParts:
    """All of it. `apis`: by appid."""
    rows = settings.safety
    parts = SafetyParts(
        TextChecker(rows, {}, windows, metrics, clock=time.monotonic),
        MediaChecker(rows, {}, pending, metrics, wall=time.time),
        httpx.AsyncClient(trust_env=not settings.wechat.sandbox),
        metrics,
    )
    parts.load(settings, apis)
    return parts
