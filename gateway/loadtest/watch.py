"""Looks at the deployment from outside: its metrics, and how often the sandbox was called."""

from __future__ import annotations

import re
import ssl
from typing import Final

import msgspec

from gateway.loadtest.http_line import HttpFailed, HttpLine
from gateway.loadtest.target import Target

_LINE: Final = re.compile(r"^((?:gateway|process)_\w+)(?:\{([^}]*)\})? ([0-9.e+-]+)$", re.MULTILINE)
MEMORY: Final = "process_resident_memory_bytes"


class Watch:
    """Asks `/metrics` beside the API, and the sandbox; where there is none, there are no numbers."""

    def __init__(self, target: Target, context: ssl.SSLContext) -> None:
        base = target.api.removesuffix("/").removesuffix("/api")
        self._metrics = HttpLine(base, {}, context) if base else None
        self._sandbox = (
            HttpLine(target.http, {}, context) if target.http and target.way == "sandbox" else None
        )

    def close(self) -> None:
        for line in (self._metrics, self._sandbox):
            if line is not None:
                line.close()

    async def wechat_calls(self) -> int | None:
        """How often WeChat was asked so far; None if nobody says."""
        answer = await _get(self._sandbox, "/sandbox/stats")
        if answer is not None:
            return int(msgspec.json.decode(answer)["calls"])
        series = await self._series()
        found = [
            value
            for name, value in series
            if name.startswith("gateway_upstream_calls_total{") and 'upstream="wechat"' in name
        ]
        return int(sum(found)) if found else None

    async def gauges(self) -> dict[str, float]:
        """A few of the server's own numbers; empty if it does not show them."""
        series = dict(await self._series())
        wanted = ("gateway_connections", "gateway_slow_consumers_total", MEMORY)
        return {name: series[name] for name in wanted if name in series}

    async def _series(self) -> list[tuple[str, float]]:
        answer = await _get(self._metrics, "/metrics")
        if answer is None:
            return []
        text = answer.decode(errors="replace")
        return [
            (f"{name}{{{labels}}}" if labels else name, float(value))
            for name, labels, value in _LINE.findall(text)
        ]


async def _get(line: HttpLine | None, path: str) -> bytes | None:
    if line is None:
        return None
    try:
        status, answer = await line.request("GET", path)
    except HttpFailed:
        return None
    return answer if status == 200 else None
