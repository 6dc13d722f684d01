"""The checker's own test: records that are spoilt a little, so that it must not be content with them."""

from __future__ import annotations

import random
from collections.abc import Callable

from chaos.verdict import Record, Stay


def drop(records: list[Record], chance: random.Random) -> None:
    """One publication in a hundred was never heard."""
    stays = _stays(records)
    for stay in stays:
        stay.heard[:] = [each for each in stay.heard if chance.random() >= 0.01]
    stays[0].heard.pop(0)


def duplicate(records: list[Record], chance: random.Random) -> None:
    """One publication was heard twice."""
    heard = chance.choice(_stays(records)).heard
    heard.append(chance.choice(heard))


def reorder(records: list[Record], chance: random.Random) -> None:
    """Two publications were heard the wrong way round."""
    heard = chance.choice([stay for stay in _stays(records) if len(stay.heard) > 1]).heard
    at = chance.randrange(len(heard) - 1)
    heard[at], heard[at + 1] = heard[at + 1], heard[at]


def lose_tail(records: list[Record], chance: random.Random) -> None:
    """The last publication of one channel was never heard."""
    chance.choice([record for record in records if record.stays[-1].heard]).stays[-1].heard.pop()


def resync(records: list[Record], chance: random.Random) -> None:
    """A gap is passed off as a re-sync, although Redis had lost nothing."""
    record = chance.choice([record for record in records if len(record.stays[-1].heard) > 3])
    stay = record.stays[-1]
    offset = stay.heard[1][0]
    record.stays.append(Stay(stay.epoch, offset, stay.at, stay.heard[2:]))
    del stay.heard[1:]


def _stays(records: list[Record]) -> list[Stay]:
    return [stay for record in records for stay in record.stays if stay.heard]


TAMPER: dict[str, Callable[[list[Record], random.Random], None]] = {
    "drop": drop,
    "duplicate": duplicate,
    "reorder": reorder,
    "lose-tail": lose_tail,
    "resync": resync,
}
