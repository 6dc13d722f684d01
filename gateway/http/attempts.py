"""How often somebody may guess a password: a few times a minute from one address, not often from all."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Final

MINUTE: Final = 60.0
PER_ADDRESS: Final = 5
"""Wrong guesses of one address in a minute."""
PER_PROCESS: Final = 60
"""Wrong guesses of all addresses in a minute: a botnet has many."""


class Attempts:
    """The wrong guesses of the last minute. Holds at most `PER_PROCESS` of them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures: deque[tuple[float, str]] = deque()

    def wait(self, address: str) -> int:
        """Seconds until this address may guess; 0: now."""
        now = self._clock()
        while self._failures and now - self._failures[0][0] >= MINUTE:
            self._failures.popleft()
        own = [at for at, who in self._failures if who == address]
        if len(own) >= PER_ADDRESS:
            return math.ceil(own[-PER_ADDRESS] + MINUTE - now)
        if len(self._failures) >= PER_PROCESS:
            return math.ceil(self._failures[0][0] + MINUTE - now)
        return 0

    def failed(self, address: str) -> None:
        """A wrong guess."""
        self._failures.append((self._clock(), address))
