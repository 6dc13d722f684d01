"""What nodes tell the store of users, what it tells them, and by which rules. Times are milliseconds."""

from __future__ import annotations

from typing import Literal, NamedTuple

from gateway.backend.base import UserEvent, UserEventKind

State = Literal["online", "background", "gone"]
Flag = Literal["f", "h", ""]
"""What a node has of a user: a connection in the foreground, hidden ones only, none."""


class Change(NamedTuple):
    """What is new on a node: of a user, or with `channel` of a user in a channel.

    Attributes:
        reason, grace: where nothing is left: why, and the milliseconds in which a return undoes it.
    """

    user: str
    channel: str
    flag: Flag
    reason: str = ""
    grace: int = 0


class Taken(NamedTuple):
    """An event to be delivered now, and how often that has failed."""

    event: UserEvent
    failures: int


class Outcome(NamedTuple):
    """What became of an event; where it was not `ok`, it is tried again after `delay` milliseconds."""

    user: str
    id: int
    ok: bool
    delay: int = 0


class Described(NamedTuple):
    """A user's state. `id` and `at` are those of its last change; all 0 for one who is not known."""

    user: str
    state: State
    generation: int
    id: int
    at: int


class PutReply(NamedTuple):
    """`registered`: the node still had its lease. `ready`: users whose events can be delivered now."""

    registered: bool
    ready: int
    collapsed: int
    seq: int


class SweepReply(NamedTuple):
    """A partition as a sweep leaves it.

    Attributes:
        epoch: another one than before means that everything was lost.
        told: the highest id before this sweep; a lower one than was seen before means that a part was lost.
        more: there is more to do at once.
        oldest: milliseconds since the oldest event that waits.
        collapsed: events that were left out because too many waited.
    """

    epoch: str
    told: int
    registered: bool
    ready: int
    more: bool
    online: int
    background: int
    queued: int
    oldest: int
    collapsed: int
    seq: int


class Rules(NamedTuple):
    """Times in milliseconds.

    Attributes:
        wanted: the kinds of events that are delivered.
        lease: how long a node may be silent. claim: how long an event may be under way.
        user_limit, total_limit: events that may wait, of one user and of all.
        event_ttl: after this time an event that was refused is given up.
        grace: for users of a node that died.
    """

    wanted: frozenset[UserEventKind]
    lease: int
    claim: int
    user_limit: int
    total_limit: int
    event_ttl: int
    grace: int
