"""Publish from a backend in Python, straight through Redis, without running a gateway.

    async with Publisher("redis://localhost") as publisher:
        await publisher.publish("news", {"title": "Hello"}, history_size=100, history_ttl=300)

`SyncPublisher` is the same for Django, Celery and scripts. Both share keys, payloads and scripts with the
gateway itself; docs/redis.md is for other languages.

Errors: every failure is an UpstreamError with one line. Whether the publication took effect is then unknown;
with an idempotency key it may be published again without harm, and the publisher does that by itself while
its timeout lasts.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any

from msgspec import Raw

from gateway.brokers.base import PublishOptions, PublishResult
from gateway.brokers.redis_connection import CommandFailure
from gateway.brokers.redis_inbox import Letter, publish_letter
from gateway.brokers.redis_keys import Keys, Request, decode_data, publish_result
from gateway.brokers.redis_server import Tuning
from gateway.brokers.redis_topology import make_topology
from gateway.channels import personal_owner
from gateway.config.units import DAY
from gateway.errors import ERROR_LIMIT_EXCEEDED, UpstreamError
from gateway.inbox.records import TAG, make_id, word_of_key
from gateway.inbox.tally import HOUR, SLOT, sums_request
from gateway.protocol import Publication, raw

BATCH = 500
"""Publications that `publish_many` has in flight at once: a few milliseconds of work between two awaits."""


@dataclass(frozen=True, slots=True)
class Message:
    """One publication.

    Attributes:
        channel: where to.
        data: any value with a JSON form; `msgspec.Raw` is taken for JSON that is already encoded.
        history_size: items that the channel keeps; 0: none, and no position. Use what the channel's
            namespace is configured with.
        history_ttl: seconds after which the items of an untouched channel go.
        idempotency_key: within 5 minutes a second publication with this key publishes nothing.
        version: what is not above the channel's version is dropped; 0: no version.
        version_epoch: a new value starts the versions again.
        tags: short texts that go with the publication.
        ack: keep it until one of the user's devices acknowledges it; only for a personal channel. Then it has
            an id, and neither history nor version; a repeat of its idempotency key has the same id.
        ack_ttl: seconds after which it expires.
        inbox_messages, inbox_size, inbox_kept: what the gateway is configured with as `inbox.user_messages`,
            `inbox.user_size` (bytes) and `inbox.status_ttl` (seconds).
    """

    channel: str
    data: Any
    history_size: int = 0
    history_ttl: float = 0.0
    idempotency_key: str = ""
    version: int = 0
    version_epoch: str = ""
    tags: Mapping[str, str] | None = None
    ack: bool = False
    ack_ttl: float = 7 * DAY
    inbox_messages: int = 200
    inbox_size: int = 1024 * 1024
    inbox_kept: float = DAY

    def posting(self, keys: Keys) -> Posting:
        """The command. Raises TypeError where the data has no JSON form, ValueError where Raw is no JSON, or
        where a channel is nobody's personal one."""
        if not self.channel:
            raise ValueError("a publication needs a channel")
        data = decode_data(bytes(self.data)).data if isinstance(self.data, Raw) else raw(self.data)
        tags = dict(self.tags) if self.tags else None
        return (
            self._letter(keys, data, tags)
            if self.ack
            else Posting(self.channel, self._plain(keys, data, tags))
        )

    def _letter(self, keys: Keys, data: Raw, tags: dict[str, str] | None) -> Posting:
        user = personal_owner(self.channel)
        if not user or "," in user:
            raise ValueError(f"ack is for a user's personal channel alone, not for {self.channel!r}")
        key, now = self.idempotency_key, round(time.time() * 1000)
        word = word_of_key(self.channel, key) if key else secrets.token_urlsafe(12)
        delivery, ends = make_id(word, user), now + round(self.ack_ttl * 1000)
        letter = Letter(word, now, ends, self.inbox_messages, self.inbox_size, self.inbox_kept)
        publication = Publication(data, tags={**(tags or {}), TAG: delivery})
        request = publish_letter(keys, self.channel, publication, letter)
        return Posting(self.channel, request, delivery, ends, len(bytes(data)))

    def _plain(self, keys: Keys, data: Raw, tags: dict[str, str] | None) -> Request:
        options = PublishOptions(
            history_size=self.history_size,
            history_ttl=self.history_ttl,
            idempotency_key=self.idempotency_key,
            version=self.version,
            version_epoch=self.version_epoch,
        )
        return keys.publish(self.channel, Publication(data, tags=tags), options)


@dataclass(frozen=True, slots=True)
class Posting:
    """A publication as it goes to Redis. `id`, `ends` (milliseconds) and `size` are those of a letter."""

    channel: str
    request: Request
    id: str = ""
    ends: int = 0
    size: int = 0

    def result(self, reply: list[object] | int) -> PublishResult:
        """What Redis answered. Raises UpstreamError where the user's inbox is full."""
        if not self.id:
            return publish_result(reply)
        if reply in (2, 3):
            raise UpstreamError(ERROR_LIMIT_EXCEEDED, "too much waits for this user's acknowledgement")
        return PublishResult(suppressed=reply == 1, id=self.id)


def sums_of(postings: Iterable[tuple[Posting, PublishResult]], keys: Keys) -> Request | None:
    """What is to be added to the sums of all inboxes; None: nothing."""
    changes: dict[int, int] = {}
    for posting, result in postings:
        if result.id and not result.suppressed:
            hour = posting.ends // HOUR
            changes[hour] = changes.get(hour, 0) + posting.size
    return sums_request(keys, round(time.time() * 1000) // HOUR, changes) if changes else None


def as_message(item: Message | tuple[str, Any]) -> Message:
    """What `publish_many` takes: a message, or a channel and its data."""
    return item if isinstance(item, Message) else Message(*item)


class Publisher:
    """See the module. One publisher serves any number of tasks of one event loop."""

    def __init__(self, url: str | Sequence[str], *, prefix: str = "wxgw", timeout: float = 2.0) -> None:
        """`url` as in the gateway's config, several where it has several; `timeout` in seconds.

        Raises UpstreamError where a URL is wrong.
        """
        urls = [url] if isinstance(url, str) else url
        name = f"publisher-{secrets.token_hex(4)}"
        self._topology = make_topology(urls, prefix, name, Tuning(timeout=timeout, connect_timeout=timeout))
        self._keys = self._topology.keys

    async def connect(self) -> None:
        """Raises UpstreamError where Redis cannot be used. Later losses are mended in the background."""
        try:
            await self._topology.start()
        except BaseException:
            await self._topology.close()
            raise

    async def close(self) -> None:
        await self._topology.close()

    async def __aenter__(self) -> Publisher:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def publish(self, channel: str, data: Any, **options: Any) -> PublishResult:
        """Publish one message; `options` are the fields of Message. Returns its position."""
        posting = Message(channel, data, **options).posting(self._keys)
        result = posting.result(await self._topology.call(channel, posting.request))
        self._count([(posting, result)])
        return result

    async def publish_many(self, messages: Iterable[Message | tuple[str, Any]]) -> list[PublishResult]:
        """Publish in order, hundreds of messages to a round trip. Returns their positions.

        Raises:
            UpstreamError: when all are through, if one or more failed.
        """
        results: list[PublishResult] = []
        failures: list[UpstreamError] = []
        for batch in batches(messages):
            posted = [message.posting(self._keys) for message in batch]
            futures = [self._topology.post(each.channel, each.request) for each in posted]
            done: list[tuple[Posting, PublishResult]] = []
            for posting, future in zip(posted, futures, strict=True):
                try:
                    reply = await future
                    if isinstance(reply, CommandFailure):
                        reply = await self._topology.settle(posting.channel, posting.request, reply)
                    done.append((posting, posting.result(reply)))
                except UpstreamError as error:
                    failures.append(error)
            self._count(done)
            results += [result for _, result in done]
        raise_first(failures, len(results))
        return results

    def _count(self, done: Iterable[tuple[Posting, PublishResult]]) -> None:
        """Add letters to the sums of all inboxes. Nobody waits for it: the sums correct themselves."""
        sums = sums_of(done, self._keys)
        if sums is not None:
            self._topology.post(SLOT, sums)


def batches(messages: Iterable[Message | tuple[str, Any]]) -> Iterator[list[Message]]:
    """The messages, `BATCH` at a time."""
    iterator = iter(messages)
    while batch := [as_message(item) for item in islice(iterator, BATCH)]:
        yield batch


def raise_first(failures: Sequence[Exception], succeeded: int) -> None:
    """Raises UpstreamError if there are failures: how many, and what the first one was."""
    if failures:
        total = len(failures) + succeeded
        raise UpstreamError(detail=f"{len(failures)} of {total} publications failed: {failures[0]}")
