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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any

from msgspec import Raw

from gateway.brokers.base import PublishOptions, PublishResult
from gateway.brokers.redis_connection import CommandFailure
from gateway.brokers.redis_keys import Keys, Request, decode_data, publish_result
from gateway.brokers.redis_server import Tuning
from gateway.brokers.redis_topology import make_topology
from gateway.errors import UpstreamError
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
    """

    channel: str
    data: Any
    history_size: int = 0
    history_ttl: float = 0.0
    idempotency_key: str = ""
    version: int = 0
    version_epoch: str = ""
    tags: Mapping[str, str] | None = None

    def request(self, keys: Keys) -> Request:
        """The command. Raises TypeError where the data has no JSON form, ValueError where Raw is no JSON."""
        if not self.channel:
            raise ValueError("a publication needs a channel")
        data = decode_data(bytes(self.data)).data if isinstance(self.data, Raw) else raw(self.data)
        tags = dict(self.tags) if self.tags else None
        options = PublishOptions(
            history_size=self.history_size,
            history_ttl=self.history_ttl,
            idempotency_key=self.idempotency_key,
            version=self.version,
            version_epoch=self.version_epoch,
        )
        return keys.publish(self.channel, Publication(data, tags=tags), options)


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
        message = Message(channel, data, **options)
        return publish_result(await self._topology.call(channel, message.request(self._keys)))

    async def publish_many(self, messages: Iterable[Message | tuple[str, Any]]) -> list[PublishResult]:
        """Publish in order, hundreds of messages to a round trip. Returns their positions.

        Raises:
            UpstreamError: when all are through, if one or more failed.
        """
        results: list[PublishResult] = []
        failures: list[UpstreamError] = []
        for batch in batches(messages):
            posted = [(message.channel, message.request(self._keys)) for message in batch]
            futures = [self._topology.post(channel, request) for channel, request in posted]
            for (channel, request), future in zip(posted, futures, strict=True):
                try:
                    reply = await future
                    if isinstance(reply, CommandFailure):
                        reply = await self._topology.settle(channel, request, reply)
                    results.append(publish_result(reply))
                except UpstreamError as error:
                    failures.append(error)
        raise_first(failures, len(results))
        return results


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
