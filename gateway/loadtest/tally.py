"""What one process saw in a moment, and the same added up: all that processes tell each other."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from gateway.loadtest.histogram import Histogram

Counts = dict[int, int]
"""A histogram's buckets."""


class Tally(Struct):
    """Numbers that add up. Times are histograms of µs.

    Attributes:
        attempts: sockets that were opened or tried; connects: those that signed in and subscribed.
        messages: that arrived live; caught_up: that came with a recovery.
        lost, duplicated, reordered: against the numbers in the messages.
        unrecovered: subscriptions that came back and were told that they had missed too much.
        retries: sign-ins and subscriptions that the server put off with a temporary error.
        slow_closed: clients that read nothing and were closed for it, as they should be.
        latency: from when a message should have been published to when a phone had it.
        lag: how late this process's own loop was: what the load generator adds by itself.
        errors: by what went wrong, "disconnect 3012" for example.
    """

    attempts: int = 0
    connects: int = 0
    messages: int = 0
    caught_up: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    unrecovered: int = 0
    retries: int = 0
    slow_closed: int = 0
    published: int = 0
    rpcs: int = 0
    answers: int = 0
    uploads: int = 0
    downloads: int = 0
    errors: dict[str, int] = {}
    connect: Counts = {}
    latency: Counts = {}
    publish: Counts = {}
    rpc: Counts = {}
    upload: Counts = {}
    download: Counts = {}
    lag: Counts = {}

    def fail(self, what: str, times: int = 1) -> None:
        """Count an error."""
        self.errors[what] = self.errors.get(what, 0) + times

    def add(self, other: Tally) -> None:
        """Take all of `other` in."""
        for name in self.__struct_fields__:
            value, more = getattr(self, name), getattr(other, name)
            if isinstance(value, int):
                setattr(self, name, value + more)
            else:
                for key, count in more.items():
                    value[key] = value.get(key, 0) + count

    def times(self, name: str) -> Histogram:
        """One of the histograms."""
        return Histogram(getattr(self, name))

    @property
    def failures(self) -> int:
        """All errors together."""
        return sum(self.errors.values())


class Told(Struct, omit_defaults=True):
    """One line from a process to the leader.

    Attributes:
        event: sample, connected, back, done or broken.
        tally: what happened since the last line.
        connected: sockets that are signed in now.
        cpu: share of one core that the process used since its last sample.
        personal: the personal channels of the process's clients, with `connected`.
        text: what is broken.
    """

    event: str
    tally: Tally | None = None
    connected: int = 0
    cpu: float = 0.0
    seconds: float = 0.0
    personal: list[str] = []
    text: str = ""


encode_told = msgspec.json.Encoder().encode
decode_told = msgspec.json.Decoder(Told).decode
