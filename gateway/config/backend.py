"""Rows of `[backend]`: the team's own code."""

from __future__ import annotations

from gateway.config.types import Flag, HeaderNames, Positive, Rows


class Backend(Rows):
    """Your own code: Python handlers beside the gateway, or HTTP."""

    threads: Positive = 32
    """Threads that Python handlers without `async` share. As many as may wait for a database at a time."""
    headers: HeaderNames = ()
    """Headers of the handshake that Python handlers see as `ctx.headers`, such as `["User-Agent"]`. They are
    kept for as long as the connection; all others are dropped."""
    foreign_tokens: Flag = False
    """Give tokens that are neither the gateway's own nor a JWT with a configured key to your connect hook,
    which says whose they are. Otherwise they are refused with 3500."""
