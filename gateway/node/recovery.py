"""Recovery: what a returning subscriber is told, given its position and the channel's history; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.protocol import Publication, StreamPosition


@dataclass(frozen=True, slots=True)
class Recovery:
    """The answer to a subscriber that asked to recover.

    Attributes:
        recovered: nothing is missing: `publications` bring the subscriber from its position to the top.
        publications: in the order of their offsets; empty where nothing was missed or it is not recovered.
    """

    recovered: bool
    publications: tuple[Publication, ...] = ()


def recover_stream(since: StreamPosition, top: StreamPosition, items: Sequence[Publication]) -> Recovery:
    """Every publication since a position.

    Arguments:
        since: where the subscriber stands; an empty epoch is one it never learnt, and matches any.
        items: what the history holds after `since.offset`, oldest first, possibly cut at a limit.
    """
    if since.epoch and since.epoch != top.epoch:
        return Recovery(recovered=False)
    if not items:
        return Recovery(recovered=top.offset == since.offset)
    complete = items[0].offset == since.offset + 1 and items[-1].offset == top.offset
    return Recovery(recovered=True, publications=tuple(items)) if complete else Recovery(recovered=False)


def within(publications: Sequence[Publication], limit: int) -> list[Publication]:
    """The first of `publications` that have no more than `limit` bytes of data together, and at least one."""
    total = 0
    for count, publication in enumerate(publications):
        total += len(publication.data)
        if total > limit and count:
            return list(publications[:count])
    return list(publications)


def recover_cache(since: StreamPosition, top: StreamPosition, newest: Publication | None) -> Recovery:
    """The newest publication alone, unless the subscriber has it already."""
    if newest is None or newest.offset != top.offset:
        return Recovery(recovered=False)
    if since.offset == newest.offset and since.epoch == top.epoch:
        return Recovery(recovered=True)
    return Recovery(recovered=True, publications=(newest,))
