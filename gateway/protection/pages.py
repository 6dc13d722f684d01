"""Long lists without holding the event loop: a few items in each of its turns."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Final, TypeVar

SLICE: Final = 500
"""Items that are looked at in one turn of the loop; well below a millisecond."""

Item = TypeVar("Item")


async def slices(items: Sequence[Item]) -> AsyncGenerator[Sequence[Item], None]:
    """All items in portions, each in a turn of its own."""
    for start in range(0, len(items), SLICE):
        if start:
            await asyncio.sleep(0)
        yield items[start : start + SLICE]


async def smallest(
    items: Sequence[Item], limit: int, key: Callable[[Item], Any | None]
) -> tuple[list[tuple[Any, Item]], int]:
    """The `limit` items with the smallest keys, each with its key, in order; and how many items had one.

    `key` returns None for an item that does not count. Equal keys are told apart by the place in `items`.
    """
    best: list[tuple[Any, int, Item]] = []
    count = seen = 0
    async for portion in slices(items):
        found = [
            (value, place, item)
            for place, item in enumerate(portion, seen)
            if (value := key(item)) is not None
        ]
        seen += len(portion)
        count += len(found)
        best = heapq.nsmallest(limit, best + found, key=lambda each: each[:2])
    return [(value, item) for value, _, item in best], count
