"""Rows of `[safety]`: content safety."""

from __future__ import annotations

from typing import Annotated, Literal

from gateway.config.types import Duration, Positive, PositiveDuration, Rows, choice
from gateway.config.units import SECOND


class Safety(Rows):
    """Content safety, for namespaces with `content_check`: what WeChat is asked, and what follows."""

    scene: Annotated[Literal["1", "2", "3", "4"], *choice("1", "2", "3", "4")] = "2"
    """What WeChat is told that users write: `1` a profile, `2` comments, `3` a forum, `4` a social log."""
    review: Annotated[Literal["refuse", "pass"], *choice("refuse", "pass")] = "refuse"
    """What becomes of content that WeChat would have somebody look at."""
    unavailable: Annotated[Literal["refuse", "pass"], *choice("refuse", "pass")] = "refuse"
    """What becomes of content that cannot be checked: WeChat is down or too slow, the quota is used up, or
    the user has no openid that WeChat takes (of a JWT, or not in the mini-program for two hours)."""
    timeout: PositiveDuration = 1.5 * SECOND
    """Longest wait for the check of a text. The sender's next commands wait behind it, nobody else's."""
    max_in_flight: Positive = 64
    """Checks of texts under way on one node; what comes beyond cannot be checked."""
    calls_per_minute: Positive = 4000
    """Calls of `msg_sec_check` of one mini-program in a minute, by all nodes together: WeChat's quota."""
    calls_per_day: Positive = 2_000_000
    """The same in a day (UTC)."""
    cache_size: Positive = 10_000
    """Verdicts that one node remembers, by the hash of the text, so that a text that many write is checked
    once."""
    cache_ttl: Duration = 600 * SECOND
    """How long. 0 asks each time."""
    media_timeout: PositiveDuration = 1800 * SECOND
    """Longest wait for the verdict on a file. WeChat says that it comes within 30 minutes."""
    media_late: Annotated[Literal["delete", "release"], *choice("delete", "release")] = "delete"
    """What becomes of a file without a verdict by then."""
