"""A page of many: the smallest few of a long list, without holding the event loop."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

SLICE: Final = 2_000
"""Items that are looked at in one turn of the loop; about a millisecond."""

Item = TypeVar("Item")


async def smallest(
    items: Sequence[Item], limit: int, key: Callable[[Item], Any | None]
) -> tuple[list[tuple[Any, Item]], int]:
    """The `limit` items with the smallest keys, each with its key, in order; and how many items had one.

    `key` returns None for an item that does not count. Equal keys are told apart by the place in `items`.
    """
    best: list[tuple[Any, int, Item]] = []
    count = 0
    for start in range(0, len(items), SLICE):
        if start:
            await asyncio.sleep(0)
        found = [
            (value, place, item)
            for place, item in enumerate(items[start : start + SLICE], start)
            if (value := key(item)) is not None
        ]
        count += len(found)
        best = heapq.nsmallest(limit, best + found, key=lambda each: each[:2])
    return [(value, item) for value, _, item in best], count
