"""The unit of every wait in the tests: a slow machine scales it instead of editing tests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

MS = 0.001 * float(os.environ.get("GATEWAY_TEST_TIME_FACTOR", "1"))
"""One millisecond, in seconds, times GATEWAY_TEST_TIME_FACTOR."""


async def until(
    condition: Callable[[], bool] | Callable[[], Awaitable[bool]], what: str = "", within: float = 5_000 * MS
) -> None:
    """Poll `condition` until it holds; fails with `what` after `within` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while True:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return
        assert loop.time() < deadline, f"waited in vain for: {what}" if what else "waited in vain"
        await asyncio.sleep((2 if isinstance(holds, bool) else 20) * MS)
