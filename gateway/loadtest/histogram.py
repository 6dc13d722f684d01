"""Times, counted in buckets that are 3 % wide: small, quick to add to, and they add up over processes."""

from __future__ import annotations

from collections.abc import Mapping

_BITS = 5
_EXACT = 1 << (_BITS + 1)
"""Below 64 µs each microsecond has its own bucket; above, each doubling is cut into 32."""


def bucket(micros: int) -> int:
    """The bucket of a time in µs."""
    if micros < _EXACT:
        return micros if micros > 0 else 0
    shift = micros.bit_length() - _BITS - 1
    return (shift << _BITS) + (micros >> shift)


def middle(index: int) -> float:
    """The µs that stand for a bucket: its middle, at most 1.6 % off."""
    if index < _EXACT:
        return float(index)
    shift = (index >> _BITS) - 1
    low = (index - (shift << _BITS)) << shift
    return low + ((1 << shift) - 1) / 2


def note(counts: dict[int, int], micros: int) -> None:
    """Count one time of so many µs."""
    index = bucket(micros)
    counts[index] = counts.get(index, 0) + 1


class Histogram:
    """How many times fell into which bucket; `counts` is sparse and has a JSON form."""

    __slots__ = ("counts",)

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: dict[int, int] = dict(counts or {})

    def merge(self, counts: Mapping[int, int]) -> None:
        for index, count in counts.items():
            self.counts[index] = self.counts.get(index, 0) + count

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def percentile(self, share: float) -> float | None:
        """Seconds below which `share` (0 to 1) of all times are; None without any."""
        total = self.total
        if not total:
            return None
        wanted, seen = max(1.0, share * total), 0
        for index in sorted(self.counts):
            seen += self.counts[index]
            if seen >= wanted:
                return middle(index) / 1e6
        return middle(max(self.counts)) / 1e6

    @property
    def largest(self) -> float | None:
        """Seconds."""
        return middle(max(self.counts)) / 1e6 if self.counts else None
