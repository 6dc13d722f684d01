"""Builds the team's side: its handlers, what they may do, and what is kept for them."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from gateway.backend.app import Gateway
from gateway.backend.base import Backend, FileOperations, Operations, Published
from gateway.backend.mixed import Mixed
from gateway.backend.proxies import Proxies
from gateway.brokers.base import PublishResult
from gateway.config import Settings
from gateway.errors import Disconnect
from gateway.files.service import Files
from gateway.metrics import Metrics
from gateway.node.cluster import Target
from gateway.node.node import Node
from gateway.node.publications import PublishRequestOptions


def build_backend(settings: Settings, handlers: Backend, metrics: Metrics) -> Backend:
    """The Python handlers, the HTTP backends of the settings, or both. Raises GatewayError."""
    rows = settings.backend
    if isinstance(handlers, Gateway):
        handlers.resize(rows.threads)
    if not rows.proxies:
        return handlers
    proxies = Proxies(rows, metrics)
    return Mixed(handlers, proxies) if isinstance(handlers, Gateway) else proxies


def kept_headers(settings: Settings) -> frozenset[str]:
    """Names of the handshake's headers that somebody wants to see, in lower case."""
    rows = settings.backend
    return frozenset(rows.keep_headers).union(*(proxy.headers for proxy in rows.proxies))


def attach(backend: Backend, node: Node, files: Files) -> None:
    """Let handlers publish, disconnect and link to files."""
    backend.attach(NodeOperations(node, files))


class NodeOperations(Operations):
    """What handlers may do, done by this node."""

    def __init__(self, node: Node, files: Files) -> None:
        self._node = node
        self._files = _Files(files)

    @property
    def files(self) -> FileOperations:
        """See `Operations`."""
        return self._files

    async def publish(self, channel: str, data: Raw, how: Published) -> PublishResult:
        """See `Operations`."""
        options = PublishRequestOptions(
            tags=how.tags,
            skip_history=how.skip_history,
            idempotency_key=how.idempotency_key,
            version=how.version,
            version_epoch=how.version_epoch,
        )
        return await self._node.publish(channel, bytes(data), options)

    async def disconnect(self, user: str, client: str, disconnect: Disconnect) -> None:
        """See `Operations`."""
        await self._node.disconnect(Target(user, client), disconnect, [])


class _Files(FileOperations):
    def __init__(self, files: Files) -> None:
        self._files = files

    def link(self, file_id: str, ttl: float = 0.0) -> str:
        return self._files.link(file_id, ttl)

    async def describe(self, file_id: str) -> dict[str, Any]:
        return self._files.describe(await self._files.find(file_id))

    async def delete(self, file_id: str) -> bool:
        return await self._files.storage.delete(file_id)
