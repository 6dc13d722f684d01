"""What one user may send: at a time, in files and in bytes a day. Counted in this process, pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from gateway.config.units import DAY
from gateway.errors import ERROR_FILE_QUOTA, ERROR_TOO_MANY_REQUESTS, ClientError


@dataclass(frozen=True, slots=True)
class Allowance:
    """The limits; 0 of a day's is unlimited."""

    bytes_per_day: int
    files_per_day: int
    at_a_time: int


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

    def begin(self, appid: str, user: str) -> Lease:
        """Count one more upload. Raises ClientError: 111 for too many at a time, 423 for the day's share."""
        self._turn_page()
        use = self._uses.setdefault((appid, user), _Use())
        allowance = self.allowance
        if use.running >= allowance.at_a_time:
            raise ClientError(ERROR_TOO_MANY_REQUESTS, f"at most {allowance.at_a_time} uploads at a time")
        if allowance.files_per_day and use.files >= allowance.files_per_day:
            raise ClientError(ERROR_FILE_QUOTA, f"at most {allowance.files_per_day} files a day")
        use.running += 1
        use.files += 1
        return Lease(self, use)

    def _turn_page(self) -> None:
        day = int(self.wall() // DAY)
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
        self._size = 0
        self._kept = False

    def grow(self, size: int) -> None:
        """`size` more bytes. Raises ClientError 423 past the day's share."""
        limit = self._quotas.allowance.bytes_per_day
        if limit and self._use.size + size > limit:
            raise ClientError(ERROR_FILE_QUOTA, f"at most {limit} bytes a day")
        self._use.size += size
        self._size += size

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
            self._use.size = max(0, self._use.size - self._size)
