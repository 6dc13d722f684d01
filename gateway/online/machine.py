"""Who is here and what the backend has still to be told of it: the rules, pure.

    gone ──a connection──▶ online ⇄ background ──the grace is over──▶ gone
                             a connection in the foreground, or none

A user is what its nodes say: each names whether it has a connection of the user in the foreground, only
hidden ones, or none. Coming online after gone begins a new generation, whose number is the id of its `online`
event. Ids grow; where they can they are the unix millisecond, so that they go on growing when Redis lost all.

Events wait in a queue per user, in order. A queue that gets too long is compacted to the events that lead
from what the backend knows to what is so now: it never sees a user gone twice without a coming between.

`lua/online.lua` has the same rules for Redis, name by name; a test holds the two together.
Times are unix milliseconds, given as `now`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.backend.base import UserEvent, UserEventKind
from gateway.online.contract import (
    Change,
    Described,
    Flag,
    Outcome,
    PutReply,
    Rules,
    State,
    SweepReply,
    Taken,
)


@dataclass(slots=True)
class Record:
    """One user. `channels`: the nodes that have the user in a channel; `taken`: the id of the event that was
    taken last; `known`: generation and kind of the last event that the backend acknowledged."""

    generation: int = 0
    state: State = "gone"
    id: int = 0
    at: int = 0
    reason: str = ""
    nodes: dict[str, Flag] = field(default_factory=dict)
    channels: dict[str, set[str]] = field(default_factory=dict)
    queue: list[UserEvent] = field(default_factory=list)
    taken: int = 0
    failures: int = 0
    known: tuple[int, UserEventKind] = (0, "disconnect")

    @property
    def is_empty(self) -> bool:
        return self.state == "gone" and not (self.queue or self.nodes or self.channels)


_KIND: Final[dict[State, UserEventKind]] = {
    "online": "online",
    "background": "background",
    "gone": "disconnect",
}


class Partition:
    """The users of one partition."""

    def __init__(self, rules: Rules, epoch: str) -> None:
        self.rules = rules
        self.epoch = epoch
        self.users: dict[str, Record] = {}
        self.due: dict[tuple[str, str], int] = {}
        self.ready: dict[str, int] = {}
        self.nodes: dict[str, int] = {}
        self.seq = 0
        self.queued = 0
        self.collapsed = 0
        self.counts = {"online": 0, "background": 0, "gone": 0}
        self._floor = 0
        self._swept: int | None = None
        self._quiet = 0

    # ------------------------------------------------------------------ what nodes say
    def put(self, node: str, changes: Iterable[Change], now: int, floor: int = 0) -> PutReply:
        """Take over what is new on a node; no id below `floor` is given."""
        self._floor, collapsed = floor, self.collapsed
        registered = self._renew(node, now)
        for change in changes:
            record = self.users.setdefault(change.user, Record())
            if change.channel:
                self._watch(record, node, change, now)
            else:
                self._put(record, node, change, now)
            self._save(change.user, record)
        return PutReply(registered, self._count_ready(now), self.collapsed - collapsed, self.seq)

    def leave(self, node: str) -> None:
        """A node that has nobody left says goodbye."""
        self.nodes.pop(node, None)

    def _put(self, record: Record, node: str, change: Change, now: int) -> None:
        left = node in record.nodes and not change.flag
        if change.flag:
            record.nodes[node] = change.flag
        else:
            record.nodes.pop(node, None)
        self._settle(record, left, change, now)

    def _settle(self, record: Record, left: bool, change: Change, now: int) -> None:
        """The nodes of a record have changed; `left`: one had a connection of the user, and has none now."""
        user = change.user
        if "f" in record.nodes.values():
            self.due.pop((user, ""), None)
            if record.state != "online":
                self._become(user, record, "online", "", now)
        elif record.nodes:
            self.due.pop((user, ""), None)
            if record.state == "gone":
                self._become(user, record, "online", "", now)
            if record.state == "online":
                self._become(user, record, "background", "hidden", now)
        elif left and record.state != "gone":
            if record.state == "online":
                self._become(user, record, "background", change.reason, now)
            if change.grace > 0:
                self.due[user, ""] = now + change.grace
            else:
                self._finish(user, record, now)

    def _watch(self, record: Record, node: str, change: Change, now: int) -> None:
        user, channel = change.user, change.channel
        if change.flag:
            record.channels.setdefault(channel, set()).add(node)
            self.due.pop((user, channel), None)
            return
        there = record.channels.get(channel)
        if there and node in there:
            there.discard(node)
            if there:
                return
            if change.grace > 0:
                self.due[user, channel] = now + change.grace
            else:
                self._part(user, record, channel, change.reason, now)

    def _renew(self, node: str, now: int) -> bool:
        """Whether the node had a lease; one that lost it says again who is with it."""
        registered = self.nodes.get(node, 0) > now
        self.nodes[node] = now + self.rules.lease
        return registered

    # ------------------------------------------------------------------ what follows from it
    def _become(self, user: str, record: Record, state: State, reason: str, now: int) -> None:
        before = record.state
        self.counts[before] -= 1
        self.counts[state] += 1
        record.state, record.reason, record.id, record.at = state, reason, self._next_id(now), now
        if before == "gone":
            record.generation = record.id
        elif state == "online" and "background" not in self.rules.wanted:
            return
        self._emit(user, record, _KIND[state], record.id, "", reason, now)

    def _part(self, user: str, record: Record, channel: str, reason: str, now: int) -> None:
        del record.channels[channel]
        self.due.pop((user, channel), None)
        if record.state != "gone":
            self._emit(user, record, "unsubscribe", self._next_id(now), channel, reason, now)

    def _finish(self, user: str, record: Record, now: int) -> None:
        for channel in sorted(record.channels):
            self._part(user, record, channel, record.reason, now)
        self.due.pop((user, ""), None)
        self._become(user, record, "gone", record.reason, now)

    def _emit(
        self, user: str, record: Record, kind: UserEventKind, number: int, channel: str, reason: str, now: int
    ) -> None:
        if kind not in self.rules.wanted:
            return
        why = "" if kind == "online" else reason
        record.queue.append(UserEvent(kind, user, record.generation, number, now, why, channel))
        self.queued += 1
        if self.queued > self.rules.total_limit:
            self._compact(record, squeeze=True)
        elif len(record.queue) > self.rules.user_limit:
            self._compact(record, squeeze=False)
        self._requeue(user, record, now)

    def _compact(self, record: Record, *, squeeze: bool) -> None:
        before = len(record.queue)
        record.queue = compact(
            record.queue, record.taken, record.known, self.rules.user_limit // 2, squeeze=squeeze
        )
        self.collapsed += before - len(record.queue)
        self.queued -= before - len(record.queue)

    def _requeue(self, user: str, record: Record, now: int) -> None:
        if record.queue:
            self.ready.setdefault(user, now)
        else:
            self.ready.pop(user, None)

    def _save(self, user: str, record: Record) -> None:
        if record.is_empty:
            self.users.pop(user, None)

    def _next_id(self, now: int) -> int:
        self.seq = max(self.seq + 1, self._floor + 1, now)
        return self.seq

    # ------------------------------------------------------------------ time
    def sweep(self, node: str, now: int, limit: int, floor: int = 0) -> SweepReply:
        """Renew a node's lease, end up to `limit` graces that are over, bury nodes that are dead."""
        self._floor, collapsed, told = floor, self.collapsed, self.seq
        registered = self._renew(node, now)
        # Nobody has looked for a while, so nobody's news came. No node is blamed for it, and nobody is gone,
        # before all have had the time to say who is with them.
        if self._swept is None or now - self._swept > self.rules.lease / 2:
            self._quiet = now + self.rules.lease
        self._swept = now
        more = now >= self._quiet and (self._end_graces(now, limit) | self._bury(now))
        oldest = min((self.users[user].queue[0].at for user in self.ready), default=now)
        return SweepReply(
            self.epoch,
            told,
            registered,
            self._count_ready(now),
            more,
            self.counts["online"],
            self.counts["background"],
            self.queued,
            now - oldest,
            self.collapsed - collapsed,
            self.seq,
        )

    def _end_graces(self, now: int, limit: int) -> bool:
        over = sorted((at, *key) for key, at in self.due.items() if at <= now)[:limit]
        for _, user, channel in over:
            record = self.users.get(user)
            if self.due.pop((user, channel), None) is None or record is None:
                continue
            if channel:
                if channel in record.channels and not record.channels[channel]:
                    self._part(user, record, channel, record.reason or "lost", now)
            elif record.state != "gone" and not record.nodes:
                self._finish(user, record, now)
            self._save(user, record)
        return len(over) == limit

    def _bury(self, now: int) -> bool:
        dead = [node for node, ends in self.nodes.items() if ends <= now]
        for user, record in list(self.users.items()) if dead else ():
            left = [record.nodes.pop(node) for node in dead if node in record.nodes]
            for channel in list(record.channels):
                for node in dead:
                    change = Change(user, channel, "", "node", max(self.rules.grace, 1))
                    self._watch(record, node, change, now)
            if left:
                self._settle(record, True, Change(user, "", "", "node", self.rules.grace), now)
            self._save(user, record)
        for node in dead:
            del self.nodes[node]
        return False

    # ------------------------------------------------------------------ to the backend
    def take(self, limit: int, now: int) -> list[Taken]:
        """The oldest event of each user whose turn it is; until the claim is over nobody else gets it."""
        turn = sorted((at, user) for user, at in self.ready.items() if at <= now)[:limit]
        taken = []
        for _, user in turn:
            record = self.users[user]
            record.taken = record.queue[0].id
            self.ready[user] = now + self.rules.claim
            taken.append(Taken(record.queue[0], record.failures))
        return taken

    def settle(self, outcomes: Iterable[Outcome], now: int) -> tuple[int, int]:
        """What became of events that were taken; how many were given up, and how many users are ready."""
        dropped = 0
        for outcome in outcomes:
            record = self.users.get(outcome.user)
            if record is None or not record.queue or record.queue[0].id != outcome.id:
                continue
            event = record.queue[0]
            over = not outcome.ok and now - event.at > self.rules.event_ttl
            if outcome.ok or over:
                del record.queue[0], self.ready[outcome.user]
                self.queued -= 1
                record.failures = 0
                dropped += over
                if outcome.ok and event.event != "unsubscribe":
                    record.known = (event.generation, event.event)
            else:
                record.failures += 1
                self.ready[outcome.user] = now + outcome.delay
            self._requeue(outcome.user, record, now)
            self._save(outcome.user, record)
        return dropped, self._count_ready(now)

    def _count_ready(self, now: int) -> int:
        return sum(at <= now for at in self.ready.values())

    # ------------------------------------------------------------------ to whoever asks
    def mark(self, now: int, floor: int = 0) -> int:
        """A position: everything that has happened has a lower id, everything that comes a higher one."""
        self._floor = floor
        return self._next_id(now)

    def states(self, users: Iterable[str]) -> list[Described]:
        """In the order asked."""
        return [_described(user, self.users.get(user, Record())) for user in users]

    def page(self, cursor: str, limit: int) -> tuple[str, list[Described]]:
        """Users who are not gone, and where to go on; empty is both the beginning and the end."""
        names = heapq.nsmallest(limit, (user for user in self.users if user > cursor))
        found = [_described(user, self.users[user]) for user in names]
        return names[-1] if len(names) == limit else "", [each for each in found if each.state != "gone"]


def compact(
    queue: Sequence[UserEvent],
    taken: int,
    known: tuple[int, UserEventKind],
    partings: int,
    *,
    squeeze: bool,
) -> list[UserEvent]:
    """The events that bring the backend from what it knows to what is so, and no more.

    Arguments:
        taken: the id of the event that was taken last: it may be under way, and comes again as it is.
        known: generation and kind of the last event that the backend acknowledged.
        partings: so many `unsubscribe` stay, one for each channel.
        squeeze: a visit of which the backend knows nothing is left out altogether, and so are partings.
    """
    kept = [event for event in queue if event.id <= taken]
    rest = queue[len(kept) :]
    for event in kept:
        if event.event != "unsubscribe":
            known = (event.generation, event.event)
    states = [event for event in rest if event.event != "unsubscribe"]
    if states:
        last = states[-1]
        begin = next((event for event in states if event.id == event.generation == last.generation), None)
        first = begin if known[0] != last.generation else None
        unseen = first is not None and last.event == "disconnect" and known[1] == "disconnect"
        if not (squeeze and unseen):
            kept += [last] if first is None or first is last else [first, last]
    if not squeeze:
        newest = {event.channel: event for event in rest if event.event == "unsubscribe"}
        kept += sorted(newest.values(), key=lambda event: -event.id)[:partings]
    return sorted(kept, key=lambda event: event.id)


def _described(user: str, record: Record) -> Described:
    return Described(user, record.state, record.generation, record.id, record.at)
