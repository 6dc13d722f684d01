"""Deadlines of very many things, swept by one timer: a wheel of buckets, one bucket a tick."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Deadlines(Generic[T]):
    """At most one deadline per item; pure.

    Arguments:
        tick: seconds a bucket spans: an item is due at most so much late.
    """

    __slots__ = ("_buckets", "_next", "_places", "_tick")

    def __init__(self, tick: float, now: float) -> None:
        self._tick = tick
        self._next = int(now / tick)
        self._buckets: dict[int, dict[T, None]] = {}
        self._places: dict[T, int] = {}

    def __len__(self) -> int:
        return len(self._places)

    def set(self, item: T, due: float) -> None:
        """`item` is due at `due` (seconds, as `now`); an earlier deadline of it is forgotten."""
        place = max(int(due / self._tick) + 1, self._next)
        old = self._places.get(item)
        if old == place:
            return
        if old is not None:
            self._leave(item, old)
        self._places[item] = place
        self._buckets.setdefault(place, {})[item] = None

    def discard(self, item: T) -> None:
        """Forget `item`, if it is here."""
        place = self._places.pop(item, None)
        if place is not None:
            self._leave(item, place)

    def _leave(self, item: T, place: int) -> None:
        bucket = self._buckets[place]
        del bucket[item]
        if not bucket:
            del self._buckets[place]

    def due(self, now: float) -> list[T]:
        """The items whose deadline has passed; they are forgotten here."""
        items: list[T] = []
        current = int(now / self._tick)
        if current - self._next > len(self._buckets):  # after a long sleep: visit buckets, not ticks
            places = sorted(place for place in self._buckets if place <= current)
        else:
            places = list(range(self._next, current + 1))
        for place in places:
            for item in self._buckets.pop(place, ()):
                del self._places[item]
                items.append(item)
        self._next = max(self._next, current + 1)
        return items
