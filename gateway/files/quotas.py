"""What one user may send: at a time, in files and in bytes a day.

Counted in this process, and pure; where there are several, or one that starts again, a ledger tells what the
others have counted. What is under way elsewhere is not seen: a user may exceed a day's share by that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

from gateway.config.units import DAY
from gateway.errors import ERROR_FILE_QUOTA, ERROR_TOO_MANY_REQUESTS, ClientError


@dataclass(frozen=True, slots=True)
class Allowance:
    """The limits; 0 of a day's is unlimited."""

    bytes_per_day: int
    files_per_day: int
    at_a_time: int


class Ledger(Protocol):
    """What users have sent on a day (days since 1970), as all processes know it."""

    async def used(self, appid: str, user: str, day: int) -> tuple[int, int]:
        """Files and bytes."""
        ...

    async def add(self, appid: str, user: str, day: int, size: int) -> None:
        """One more file of `size` bytes."""
        ...


@dataclass(slots=True)
class _Use:
    running: int = 0
    files: int = 0
    size: int = 0


@dataclass(slots=True)
class Quotas:
    """The uses of all users. `wall`: unix seconds."""

    allowance: Allowance
    wall: Callable[[], float]
    _day: int = 0
    _uses: dict[tuple[str, str], _Use] = field(default_factory=dict)

    @property
    def today(self) -> int:
        return int(self.wall() // DAY)

    def begin(self, appid: str, user: str, elsewhere: tuple[int, int] = (0, 0)) -> Lease:
        """Count one more upload. Raises ClientError: 111 for too many at a time, 423 for the day's share.

        Arguments:
            elsewhere: files and bytes that a ledger has for today, our own among them.
        """
        self._turn_page()
        use = self._uses.setdefault((appid, user), _Use())
        use.files, use.size = max(use.files, elsewhere[0]), max(use.size, elsewhere[1])
        allowance = self.allowance
        if use.running >= allowance.at_a_time:
            raise ClientError(ERROR_TOO_MANY_REQUESTS, f"at most {allowance.at_a_time} uploads at a time")
        if allowance.files_per_day and use.files >= allowance.files_per_day:
            raise ClientError(ERROR_FILE_QUOTA, f"at most {allowance.files_per_day} files a day")
        use.running += 1
        use.files += 1
        return Lease(self, use)

    def _turn_page(self) -> None:
        day = self.today
        if day != self._day:
            self._day = day
            self._uses = {who: _Use(use.running) for who, use in self._uses.items() if use.running}

    def __len__(self) -> int:
        """Users that are counted."""
        return len(self._uses)


class Lease:
    """One upload's share. Given back at the end unless it was `kept`: what failed does not count."""

    def __init__(self, quotas: Quotas, use: _Use) -> None:
        self._quotas = quotas
        self._use = use
        self.size = 0
        self._kept = False

    def grow(self, size: int) -> None:
        """`size` more bytes. Raises ClientError 423 past the day's share."""
        limit = self._quotas.allowance.bytes_per_day
        if limit and self._use.size + size > limit:
            raise ClientError(ERROR_FILE_QUOTA, f"at most {limit} bytes a day")
        self._use.size += size
        self.size += size

    def keep(self) -> None:
        """The upload counts."""
        self._kept = True

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._use.running -= 1
        if not self._kept:
            # Not below zero: the day may have ended in between, and begun the count anew.
            self._use.files = max(0, self._use.files - 1)
            self._use.size = max(0, self._use.size - self.size)
