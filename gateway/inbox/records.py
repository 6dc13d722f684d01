"""What is known of one delivery, and how deliveries are named. Pure.

A delivery's id is a word and the user, `k3J9d0aX_1bQ2w-Z.oABC…`: whoever has the id knows whose inbox to look
into, and nobody acknowledges for somebody else.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, replace
from typing import Final, Literal

ID_LIMIT: Final = 320
"""Characters of an id: a word and a user."""
WORD_LIMIT: Final = 64
TAG: Final = "ack"
"""The tag in which a publication carries its id."""

Status = Literal["pending", "delivered", "acknowledged", "expired", "unknown"]
Fallback = Literal["-", "w", "s", "f", "u", "r", "a"]
"""The subscribe message: none, waiting, being sent, sent, nobody knows, refused, not needed."""


@dataclass(slots=True)
class Record:
    """One delivery. Times are milliseconds since 1970, 0: not yet.

    Attributes:
        state: p pending, a acknowledged, x expired.
        seq: orders the deliveries of one user.
        size: bytes of the publication.
        since: when the fallback came to what it is. reason: why it was refused, else "-".
    """

    state: str
    seq: int
    published: int
    delivered: int
    settled: int
    ends: int
    size: int
    fallback: Fallback = "-"
    since: int = 0
    attempts: int = 0
    reason: str = "-"

    @property
    def status(self) -> Status:
        """As the API says it."""
        if self.state == "a":
            return "acknowledged"
        if self.state == "x":
            return "expired"
        return "delivered" if self.delivered else "pending"

    def copy(self) -> Record:
        return replace(self)


def parse_record(text: bytes) -> Record:
    """A record as Redis keeps it (see inbox.lua)."""
    state, seq, published, delivered, settled, ends, size, fallback, since, attempts, reason = (
        text.decode().split(" ")
    )
    return Record(
        state,
        int(seq),
        int(published),
        int(delivered),
        int(settled),
        int(ends),
        int(size),
        fallback,  # type: ignore[arg-type]  # written by our own script
        int(since),
        int(attempts),
        reason,
    )


def word_of_key(channel: str, key: str) -> str:
    """The same word for the same idempotency key: a repeat finds the first delivery."""
    digest = hashlib.sha256(f"{channel}\0{key}".encode(errors="surrogatepass")).digest()
    return base64.urlsafe_b64encode(digest[:18]).decode()


def make_id(word: str, user: str) -> str:
    """The id of a delivery."""
    return f"{word}.{user}"


def split_id(delivery_id: str) -> tuple[str, str]:
    """Word and user of an id; both empty where it is none."""
    word, dot, user = delivery_id.partition(".")
    fits = dot and user and 0 < len(word) <= WORD_LIMIT and len(delivery_id) <= ID_LIMIT
    return (word, user) if fits and word.replace("-", "").replace("_", "").isalnum() else ("", "")
