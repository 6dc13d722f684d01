"""One channel as one phone sees it: which numbers came, which are missing, which came twice or late."""

from __future__ import annotations

from collections.abc import Collection


class Track:
    """The numbers of one channel on one phone.

    Attributes:
        last: the highest number seen; -1 where the first one has yet to say where it starts.
        missing: numbers below `last` that have not come.
        epoch, offset: the position for a recovery; without an epoch there is none.
    """

    __slots__ = ("epoch", "last", "missing", "offset")

    def __init__(self, last: int) -> None:
        self.last = last
        self.missing: set[int] | None = None
        self.epoch = ""
        self.offset = 0

    def see(self, number: int) -> str:
        """Take a number in: "" (in order), "reordered" or "duplicated"."""
        last = self.last
        if number == last + 1 or last < 0:
            self.last = number
            return ""
        if number > last:
            if self.missing is None:
                self.missing = set()
            self.missing.update(range(last + 1, number))
            self.last = number
            return ""
        if self.missing and number in self.missing:
            self.missing.remove(number)
            return "reordered"
        return "duplicated"

    def lost(self, published: int, unsure: Collection[int]) -> int:
        """How many of the numbers up to `published` are missing; `unsure` ones need not have come."""
        if self.last < 0:
            return 0
        gone = set(range(self.last + 1, published + 1)) | (self.missing or set())
        return len(gone.difference(unsure))

    def complete(self, published: int) -> bool:
        """Whether nothing is to be waited for."""
        return self.last < 0 or (self.last >= published and not self.missing)
