"""Names and commands of users' inboxes in Redis; nodes and publishers share them. See inbox.lua."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.brokers.redis_keys import INBOX, Keys, Request, Word, encode_publication, milliseconds
from gateway.protocol import Publication


@dataclass(frozen=True, slots=True)
class Letter:
    """A publication that wants to be acknowledged.

    Attributes:
        word: its name among the user's. now, ends: milliseconds since 1970.
        most: deliveries that may wait. room: bytes that may wait. kept: seconds that a settled one is kept.
        fallback: "w" where a subscribe message may follow, else "-".
    """

    word: str
    now: int
    ends: int
    most: int
    room: int
    kept: float
    fallback: str = "-"


def inbox_keys(keys: Keys, channel: str) -> tuple[str, str, str, str, str]:
    """The keys of one user: all in one slot, that of the personal channel."""
    prefix = keys.prefix
    return (
        f"{prefix}:inbox:{{{channel}}}",
        f"{prefix}:inbox_data:{{{channel}}}",
        f"{prefix}:inbox_waiting:{{{channel}}}",
        f"{prefix}:inbox_settled:{{{channel}}}",
        f"{prefix}:grants:{{{channel}}}",
    )


def publish_letter(keys: Keys, channel: str, publication: Publication, letter: Letter) -> Request:
    """Keep and publish, in one step. It may be repeated: the second time the word is known."""
    words: tuple[Word, ...] = (
        5,
        *inbox_keys(keys, channel),
        "publish",
        letter.now,
        milliseconds(letter.kept),
        letter.most,
        letter.word,
        letter.ends,
        len(bytes(publication.data)),
        letter.room,
        letter.fallback,
        encode_publication(publication),
        keys.broadcast(channel),
        keys.publish_verb,
    )
    return Request(words, True, INBOX)
