"""What the node asks of a broker and of a presence store; one contract test runs over every implementation.

A broker carries publications between nodes and keeps the history of channels.

Positions
    A position is `(offset, epoch)`. The first publication of a stream has offset 1. The epoch changes
    whenever the stream's identity was lost, so that a loss is always seen. When items expire or are removed
    the offset does not start again: the top outlives the items by `meta_ttl`.

Delivery
    Publish is at-least-once into history and at-most-once on the wire; history closes the gap. Append to
    history and publish are one atomic step for a channel: whoever reads a position from `publish` may rely on
    the history holding it, and the events of one channel arrive in the order of their offsets on every node.
    The publisher's own node hears of its publications in the same way as every other node.

Failure
    An operation that the broker cannot do within its time limit raises `UpstreamError` with a temporary
    error. Whether the operation took effect is then unknown; an idempotency key makes repeating it safe.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from gateway.protocol import ClientInfo, Publication, StreamPosition


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """How one publication is kept.

    Attributes:
        history_size: items to keep in the channel's stream; 0: no history, so no offset.
        history_ttl: seconds after which the items of an untouched stream go.
        meta_ttl: seconds that the top of a stream outlives its last publication.
        idempotency_key: within 5 minutes a second publication with the same key into the same channel
            publishes nothing and answers the first one's position.
        version: a publication whose version is not above the channel's stored one is dropped; 0: none.
        version_epoch: a new value starts the versions of the channel again.
    """

    history_size: int = 0
    history_ttl: float = 0.0
    meta_ttl: float = 30 * 86400.0
    idempotency_key: str = ""
    version: int = 0
    version_epoch: str = ""


@dataclass(frozen=True, slots=True)
class PublishResult:
    """Where the publication stands; `suppressed`: a repeat or an old version, so nobody was told. `id`: of a
    delivery that somebody has to acknowledge."""

    offset: int = 0
    epoch: str = ""
    suppressed: bool = False
    id: str = ""


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """Which items of a stream.

    Attributes:
        limit: at most so many; 0 asks for the position only, below 0 for all.
        since: only items after this offset (before it, if `reverse`); None starts at an end.
        reverse: newest first.
    """

    limit: int = 0
    since: StreamPosition | None = None
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """Items in the asked order, and the top of the stream."""

    top: StreamPosition
    publications: list[Publication] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PresenceStats:
    num_clients: int
    num_users: int


class BrokerEvents(Protocol):
    """What a broker tells its node. Every call is made in the node's event loop and returns at once."""

    def on_publication(self, channel: str, publication: Publication, epoch: str) -> None:
        """A publication; `epoch` is empty and the offset 0 where the channel keeps no history."""

    def on_join(self, channel: str, info: ClientInfo) -> None: ...

    def on_leave(self, channel: str, info: ClientInfo) -> None: ...

    def on_control(self, message: bytes) -> None:
        """A message between nodes; a node hears its own, too."""

    def on_gap(self, channel: str | None) -> None:
        """Publications of `channel` (None: of any channel) may have been missed: the connection to the
        broker was away. The node reads the history of what it is subscribed to and closes the gap."""


class Broker(Protocol):
    """Publications and history. See the module for what is promised."""

    async def start(self, events: BrokerEvents) -> None:
        """Connect. Raises UpstreamError with one clear line where that is impossible."""

    async def close(self) -> None:
        """Leave; idempotent."""

    async def subscribe(self, channel: str) -> None:
        """From its return on, publications of `channel` reach `on_publication`."""

    async def unsubscribe(self, channel: str) -> None: ...

    async def publish(self, channel: str, publication: Publication, options: PublishOptions) -> PublishResult:
        """Append (where a history is kept) and tell every node; the given publication's offset is ignored."""

    async def publish_join(self, channel: str, info: ClientInfo) -> None: ...

    async def publish_leave(self, channel: str, info: ClientInfo) -> None: ...

    async def history(self, channel: str, query: HistoryFilter, meta_ttl: float) -> History:
        """Read. A stream that never was gets an epoch here, so that a position taken now is valid later."""

    async def remove_history(self, channel: str) -> None:
        """Drop the items, keep the top."""

    async def publish_control(self, message: bytes, node: str = "") -> None:
        """To every node (this one too), or to the node with that id alone."""

    def sweep(self, now: float) -> None:
        """Collect what has expired, a bounded amount; called once a second with monotonic seconds."""

    @property
    def problem(self) -> str:
        """Why publishing would fail now, in a sentence for `/readyz`; empty: nothing is wrong."""


class PresenceStore(Protocol):
    """Who is in which channel, over all nodes. Entries that are not refreshed within the TTL age out."""

    async def add(self, channel: str, client: str, info: ClientInfo) -> None:
        """Add or refresh."""

    async def remove(self, channel: str, client: str, user: str) -> None: ...

    async def get(self, channel: str) -> dict[str, ClientInfo]:
        """By client id."""

    async def stats(self, channel: str) -> PresenceStats: ...

    def sweep(self, now: float) -> None:
        """See `Broker.sweep`."""
