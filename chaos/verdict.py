"""What every client's record must look like, given what was accepted; pure.

A stay is a client's time in a channel from one declared position to the next: a subscribe that did not
recover begins one, a recovery goes on with it. Within a stay every position after its start comes exactly
once, in order and with the number that was accepted there; in the last stay up to the last accepted one.
A stay may end early only where the epoch changed, that is where Redis lost its data: the client was told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Accepted:
    """A publication that was answered with a position, `at` seconds of the checker's clock."""

    channel: str
    number: int
    epoch: str
    offset: int
    at: float


@dataclass(slots=True)
class Stay:
    """What one client heard in one channel since a declared position: offsets and numbers, as they came."""

    epoch: str
    start: int
    at: float
    heard: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class Record:
    """One client's stays in one channel."""

    client: str
    channel: str
    stays: list[Stay] = field(default_factory=list)
    stray: int = 0
    """Publications outside any stay."""

    def subscribed(self, epoch: str, offset: int, recovered: bool, at: float) -> None:
        """A subscribe reply: a new stay, unless it goes on with the present one."""
        if not (recovered and self.stays and self.stays[-1].epoch == epoch):
            self.stays.append(Stay(epoch, offset, at))

    def heard(self, offset: int, number: int) -> None:
        if self.stays:
            self.stays[-1].heard.append((offset, number))
        else:
            self.stray += 1

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Record:
        stays = [
            Stay(stay["epoch"], stay["start"], stay["at"], [(at, number) for at, number in stay["heard"]])
            for stay in content["stays"]
        ]
        return cls(content["client"], content["channel"], stays, content["stray"])

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Problem:
    """`kind`: missing, duplicated, reordered, wrong (another number at that position) or needless (a re-sync
    although Redis had lost nothing)."""

    kind: str
    client: str
    channel: str
    epoch: str
    offset: int


@dataclass(slots=True)
class Verdict:
    """`delivered`: positions that were heard, over all clients. `resyncs`: stays that began anew because the
    epoch had changed."""

    problems: list[Problem] = field(default_factory=list)
    delivered: list[tuple[str, str, int]] = field(default_factory=list)
    resyncs: list[float] = field(default_factory=list)


def judge(accepted: Iterable[Accepted], records: Iterable[Record]) -> Verdict:
    """Compare every record with what was accepted."""
    truth: dict[tuple[str, str], dict[int, int]] = {}
    for each in accepted:
        truth.setdefault((each.channel, each.epoch), {})[each.offset] = each.number
    verdict = Verdict()
    for record in records:
        _judge_record(record, truth, verdict)
    return verdict


def _judge_record(record: Record, truth: dict[tuple[str, str], dict[int, int]], verdict: Verdict) -> None:
    if record.stray or not record.stays:
        verdict.problems.append(Problem("wrong", record.client, record.channel, "", 0))
    for index, stay in enumerate(record.stays):
        numbers = truth.get((record.channel, stay.epoch), {})
        following = record.stays[index + 1] if index + 1 < len(record.stays) else None
        heard = [offset for offset, _ in stay.heard]
        last = max(heard, default=stay.start)
        if following is None:
            last = max(last, max(numbers, default=0))
        elif following.epoch == stay.epoch:
            verdict.problems.append(
                Problem("needless", record.client, record.channel, stay.epoch, following.start)
            )
            last = max(last, following.start)
        else:
            verdict.resyncs.append(following.at)
        found = [*_differences(stay.start, last, heard), *_wrong(stay, numbers)]
        verdict.problems += [Problem(k, record.client, record.channel, stay.epoch, at) for k, at in found]
        verdict.delivered += [(record.channel, stay.epoch, offset) for offset in heard]


def _differences(start: int, last: int, heard: list[int]) -> list[tuple[str, int]]:
    """Where `heard` differs from start + 1, start + 2, …, last."""
    counts = Counter(heard)
    found = [("missing", offset) for offset in range(start + 1, last + 1) if offset not in counts]
    found += [("duplicated", offset) for offset, count in counts.items() if count > 1 or offset <= start]
    top = start
    for offset in dict.fromkeys(heard):
        if offset < top:
            found.append(("reordered", offset))
        top = max(top, offset)
    return found


def _wrong(stay: Stay, numbers: dict[int, int]) -> list[tuple[str, int]]:
    """Positions with another number than was accepted there, and numbers that came at two positions."""
    found = [("wrong", offset) for offset, number in stay.heard if numbers.get(offset, number) != number]
    places: dict[int, int] = {}
    for offset, number in stay.heard:
        if places.setdefault(number, offset) != offset:
            found.append(("duplicated", offset))
    return found
