"""What is published, and what is kept of it: by the rules of each channel, into the broker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from msgspec import Raw

from gateway.brokers.base import Broker, History, HistoryFilter, PublishOptions, PublishResult
from gateway.channels import Channels, has_history
from gateway.config.channels import ChannelOptions
from gateway.config.channels import Channels as ChannelSettings
from gateway.errors import (
    ERROR_BAD_REQUEST,
    ERROR_NOT_AVAILABLE,
    ERROR_UNRECOVERABLE_POSITION,
    ClientError,
)
from gateway.node.latency import LatencySampler
from gateway.protocol import ClientInfo, Publication


@dataclass(frozen=True, slots=True)
class PublishRequestOptions:
    """How to publish; see `brokers.PublishOptions` for the keys and versions."""

    info: ClientInfo | None = None
    tags: dict[str, str] | None = None
    skip_history: bool = False
    idempotency_key: str = ""
    version: int = 0
    version_epoch: str = ""


_PLAIN: Final = PublishRequestOptions()


class Publications:
    """The publications of one node, on their way into the broker, and the histories that are read there."""

    def __init__(
        self, settings: ChannelSettings, rules: Channels, broker: Broker, latency: LatencySampler
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._broker = broker
        self._latency = latency
        self._publish_options: dict[int, tuple[ChannelOptions, PublishOptions]] = {}

    async def publish(
        self, channel: str, data: bytes, options: PublishRequestOptions = _PLAIN
    ) -> PublishResult:
        """Publish JSON without raw newlines (see `protocol.one_line`).

        Raises:
            ClientError: 107 for a channel name or data that cannot be, 102 for an unknown namespace.
            UpstreamError: the broker could not.
        """
        rules = self._rules.options(channel)
        if len(data) > self._settings.max_publication_size:
            raise ClientError(
                ERROR_BAD_REQUEST, f"publication data has at most {self._settings.max_publication_size} bytes"
            )
        if self._latency.wanted:
            self._latency.published(channel, data)
        publication = Publication(Raw(data), info=options.info, tags=options.tags)
        return await self._broker.publish(channel, publication, self._options_for(rules, options))

    def _options_for(self, rules: ChannelOptions, options: PublishRequestOptions) -> PublishOptions:
        known = self._publish_options.get(id(rules))
        if known is None:
            kept = PublishOptions(rules.history_size, rules.history_ttl, self._settings.history_meta_ttl)
            if not has_history(rules):
                kept = PublishOptions()
            known = self._publish_options[id(rules)] = (rules, kept)
        if not (options.skip_history or options.idempotency_key or options.version):
            return known[1]
        kept = PublishOptions() if options.skip_history else known[1]
        return PublishOptions(
            kept.history_size,
            kept.history_ttl,
            kept.meta_ttl,
            options.idempotency_key,
            options.version,
            options.version_epoch,
        )

    async def history(self, channel: str, query: HistoryFilter) -> History:
        """Raises ClientError: 108 where the channel keeps none, 112 where `since` is of a lost stream."""
        if not has_history(self._rules.options(channel)):
            raise ClientError(ERROR_NOT_AVAILABLE, "the channel keeps no history")
        if query.reverse and query.since is not None and not query.since.offset:
            raise ClientError(ERROR_BAD_REQUEST, "nothing is before offset 0")
        history = await self._broker.history(channel, query, self._settings.history_meta_ttl)
        if query.since is not None and query.since.epoch and query.since.epoch != history.top.epoch:
            raise ClientError(ERROR_UNRECOVERABLE_POSITION, "the stream has another epoch by now")
        return history

    async def history_remove(self, channel: str) -> None:
        """Drop a channel's history; its position stays."""
        if not has_history(self._rules.options(channel)):
            raise ClientError(ERROR_NOT_AVAILABLE, "the channel keeps no history")
        await self._broker.remove_history(channel)
