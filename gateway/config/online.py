"""Rows of `[online]`: users over all nodes."""

from __future__ import annotations

from gateway.config.types import (
    Duration,
    Flag,
    Positive,
    PositiveDuration,
    Rows,
)
from gateway.config.units import DAY, SECOND


class Online(Rows):
    """Who is online, in the background or gone, over all nodes; see docs/presence.md."""

    enabled: Flag = False
    """Keep track of users, for `/api/online` and `/api/online_snapshot`. On by itself where your code handles
    users' events; with several nodes turn it on for all of them."""
    grace: Duration = 30 * SECOND
    """A user whose last socket ended is `gone` after this time. Longer hides tunnels and phones that look at
    something else for a moment; shorter tells you sooner. 0s: at once."""
    goodbye_grace: Duration = 10 * SECOND
    """The same where the client closed its socket itself, or was told not to come back; never longer than
    `grace`. Phones also close their sockets when they go to the background: below 6s that looks like gone."""
    node_timeout: PositiveDuration = 10 * SECOND
    """A node that Redis has not heard of for so long is taken for dead, and the grace of its users begins.
    Longer than the longest standstill that you expect of a healthy node; and two thirds of the time that your
    code may take for one event, at least."""
    user_event_limit: Positive = 16
    """Events of one user that wait for your backend. Past it they are cut down to those that lead from what
    it knows to what is so."""
    event_limit: Positive = 100_000
    """Events that wait, of all users together; past it, the same for each user with a new event. About 200
    bytes of Redis each."""
    event_ttl: PositiveDuration = 1 * DAY
    """An event that your backend has refused for so long is given up; `/api/online_snapshot` tells."""
