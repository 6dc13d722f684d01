"""The publisher for code without an event loop: Django, Celery, scripts. See `gateway.publisher`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from gateway.brokers.base import PublishResult
from gateway.brokers.redis_keys import Keys, Request, shard_of
from gateway.brokers.redis_url import Endpoint, RedisURL, parse_url
from gateway.errors import UpstreamError
from gateway.inbox.tally import SLOT
from gateway.publisher import Message, Posting, batches, raise_first, sums_of


class SyncPublisher:
    """Connects when it is first used. One publisher serves any number of threads, also after a fork."""

    def __init__(self, url: str | Sequence[str], *, prefix: str = "wxgw", timeout: float = 2.0) -> None:
        """`url` as in the gateway's config, several where it has several; `timeout` in seconds.

        Raises UpstreamError where a URL is wrong.
        """
        parsed = [parse_url(text) for text in ([url] if isinstance(url, str) else url)]
        self._clustered = parsed[0].kind == "cluster"
        self._keys = Keys(prefix, sharded=self._clustered)
        self._clients = [_client(item, timeout) for item in parsed]

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def __enter__(self) -> SyncPublisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def publish(self, channel: str, data: Any, **options: Any) -> PublishResult:
        """Publish one message; `options` are the fields of Message. Returns its position."""
        posting = Message(channel, data, **options).posting(self._keys)
        try:
            result = posting.result(self._send(self._client(channel), posting.request))
            self._count([(posting, result)])
            return result
        except RedisError as error:
            raise UpstreamError(detail=f"Redis: {error}") from None

    def publish_many(self, messages: Iterable[Message | tuple[str, Any]]) -> list[PublishResult]:
        """Publish in order, hundreds of messages to a round trip. Returns their positions.

        Raises:
            UpstreamError: when all are through, if one or more failed.
        """
        results: list[PublishResult] = []
        failures: list[Exception] = []
        for batch in batches(messages):
            posted = [message.posting(self._keys) for message in batch]
            replies = self._send_all([(each.channel, each.request) for each in posted])
            done: list[tuple[Posting, PublishResult]] = []
            for posting, reply in zip(posted, replies, strict=True):
                try:
                    if isinstance(reply, Exception):
                        raise reply
                    done.append((posting, posting.result(reply)))
                except (RedisError, UpstreamError) as error:
                    failures.append(error)
            try:
                self._count(done)
            except RedisError as error:
                failures.append(error)
            results += [result for _, result in done]
        raise_first(failures, len(results))
        return results

    def _count(self, done: Iterable[tuple[Posting, PublishResult]]) -> None:
        """Add letters to the sums of all inboxes."""
        sums = sums_of(done, self._keys)
        if sums is not None:
            self._send(self._client(SLOT), sums)

    def _client(self, channel: str) -> Any:
        count = len(self._clients)
        return self._clients[shard_of(channel, count) if count > 1 else 0]

    def _send(self, client: Any, request: Request) -> Any:
        if request.script is None:
            # A cluster client does not know by itself that the name decides where SPUBLISH goes.
            target = {"target_nodes": client.get_node_from_key(request.words[1])} if self._clustered else {}
            return client.execute_command(*request.words, **target)
        try:
            return client.execute_command("EVALSHA", request.script.sha, *request.words)
        except NoScriptError:
            return client.execute_command("EVAL", request.script.source, *request.words)

    def _send_all(self, posted: list[tuple[str, Request]]) -> list[Any]:
        """Replies and exceptions, in the order of `posted`."""
        if self._clustered:
            return [self._attempt(self._clients[0], request) for _, request in posted]
        replies: list[Any] = [None] * len(posted)
        for client in self._clients:
            indexes = [index for index, (channel, _) in enumerate(posted) if self._client(channel) is client]
            for index, reply in zip(indexes, _pipeline(client, [posted[i][1] for i in indexes]), strict=True):
                forgotten = isinstance(reply, NoScriptError)
                replies[index] = self._attempt(client, posted[index][1]) if forgotten else reply
        return replies

    def _attempt(self, client: Any, request: Request) -> Any:
        try:
            return self._send(client, request)
        except RedisError as error:
            return error


def _pipeline(client: Any, requests: list[Request]) -> list[Any]:
    if not requests:
        return []
    with client.pipeline(transaction=False) as pipeline:
        for request in requests:
            head = () if request.script is None else ("EVALSHA", request.script.sha)
            pipeline.execute_command(*head, *request.words)
        try:
            return list(pipeline.execute(raise_on_error=False))
        except RedisError as error:
            return [error] * len(requests)


def _client(url: RedisURL, timeout: float) -> Any:
    endpoint = url.endpoints[0]
    # No retries of the client's own: publishing twice is for those to decide who gave an idempotency key.
    retry = Retry(NoBackoff(), 0)
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": retry,
    }
    if url.kind == "cluster":
        return redis.RedisCluster(host=endpoint.host, port=endpoint.port, **_enter(endpoint), **options)
    if url.kind == "sentinel":
        sentinels = [(item.host, item.port) for item in url.endpoints]
        sentinel = Sentinel(sentinels, sentinel_kwargs={**_enter(endpoint), **options})  # type: ignore[no-untyped-call]
        entry = {"db": url.master.db, **_enter(url.master), **options}
        return sentinel.master_for(url.master_name, **entry)  # type: ignore[no-untyped-call]
    if endpoint.path:
        options["unix_socket_path"] = endpoint.path
    return redis.Redis(host=endpoint.host, port=endpoint.port, db=endpoint.db, **_enter(endpoint), **options)


def _enter(endpoint: Endpoint) -> dict[str, Any]:
    """Credentials and TLS as redis-py names them."""
    options: dict[str, Any] = {}
    if endpoint.credentials.password:
        options |= {
            "username": endpoint.credentials.username or None,
            "password": endpoint.credentials.password,
        }
    if endpoint.tls is not None:
        options |= {"ssl": True, **endpoint.tls.parameters}
        options["ssl_check_hostname"] = endpoint.tls.context.check_hostname
    return options
