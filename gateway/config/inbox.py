"""Rows of `[inbox]` and `[notify]`: what waits for users."""

from __future__ import annotations

from gateway.config.types import Flag, Positive, PositiveDuration, PositiveSize, Rows
from gateway.config.units import DAY, MB


class Inbox(Rows):
    """Acknowledged delivery: publications with `ack` are kept until one of the user's devices acknowledges
    them."""

    enabled: Flag = True
    """Off: `ack` is refused, and no inbox is read when somebody connects."""
    ttl: PositiveDuration = 7 * DAY
    """How long an unacknowledged message waits, unless it says less with `ack_ttl`."""
    user_messages: Positive = 200
    """Messages that may wait for one user. The next one is refused with error 106: nothing that was taken is
    thrown away for it."""
    user_size: PositiveSize = 1 * MB
    """Bytes of `data` that may wait for one user."""
    total_size: PositiveSize = 256 * MB
    """Bytes of `data` that may wait for all users, counted once a second over all nodes. Past it: error 111.
    Redis needs about this and 500 bytes for each message."""
    status_ttl: PositiveDuration = 1 * DAY
    """How long the status of a message can be asked for after it was acknowledged or has expired."""


class Notify(Rows):
    """Notifications: first the socket, then one subscribe message of WeChat's."""

    require_grant: Flag = True
    """Send only what the ledger of grants allows. Off: WeChat is asked in any case, for a team that does not
    report what users granted; every refusal counts against the quota."""
    max_scheduled: Positive = 20_000
    """Notifications of all users that may wait for their fallback. Past it: error 111."""
