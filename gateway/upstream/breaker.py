"""A circuit breaker: an upstream that is down is not asked again by everyone at once.

Pure: the caller says what time it is (any clock that only moves forward) and what became of each call.
"""

from __future__ import annotations


class Breaker:
    """Closed until `threshold` failures in a row; then one probe per `cooldown` seconds until one succeeds.

    A probe that never reports back (its caller was cancelled) blocks nothing: the next cooldown brings
    the next probe.
    """

    __slots__ = ("_cooldown", "_failures", "_retry_at", "_threshold")

    def __init__(self, threshold: int, cooldown: float) -> None:
        if threshold < 1 or cooldown <= 0:
            raise ValueError("a breaker needs a threshold of at least 1 and a cooldown above 0")
        self._threshold = threshold
        self._cooldown = cooldown
        self._failures = 0
        self._retry_at = 0.0

    def __repr__(self) -> str:
        return f"<Breaker {'open' if self.is_open else 'closed'} failures={self._failures}>"

    @property
    def is_open(self) -> bool:
        """Whether calls are refused, probes aside."""
        return self._failures >= self._threshold

    def allow(self, now: float) -> bool:
        """Whether a call may go out now. While open, a yes is the probe: the next one waits a cooldown."""
        if not self.is_open:
            return True
        if now < self._retry_at:
            return False
        self._retry_at = now + self._cooldown
        return True

    def success(self) -> None:
        """The upstream answered: closed again."""
        self._failures = 0

    def failure(self, now: float) -> None:
        """The upstream failed; the cooldown starts again."""
        self._failures += 1
        if self.is_open:
            self._retry_at = now + self._cooldown
