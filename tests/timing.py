"""The unit of every wait in the tests: a slow machine scales it instead of editing tests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

MS = 0.001 * float(os.environ.get("GATEWAY_TEST_TIME_FACTOR", "1"))
"""One millisecond, in seconds, times GATEWAY_TEST_TIME_FACTOR."""


async def until(predicate: Callable[[], bool], within: float = 5_000 * MS) -> None:
    """Poll `predicate` until it holds; fails after `within` seconds."""
    deadline = asyncio.get_running_loop().time() + within
    while not predicate():
        assert asyncio.get_running_loop().time() < deadline, "waited in vain"
        await asyncio.sleep(2 * MS)
