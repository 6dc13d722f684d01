"""The node: hub, broker and presence joined. Everything that is done to channels, users and connections -
by a client, by the server API, by the team's own code - is done here.

What concerns the connections of a user goes to all nodes over the control channel, and each node acts on its
own connections; this one too, and by the same way.
"""

from __future__ import annotations

import asyncio
import fnmatch
import math
import re
import time
from collections.abc import Awaitable, Callable

import msgspec
import structlog
from msgspec import Raw, Struct

from gateway.brokers.base import (
    Broker,
    PresenceStats,
    PresenceStore,
)
from gateway.channels import Channels
from gateway.config import Settings
from gateway.errors import (
    ERROR_NOT_AVAILABLE,
    UNSUBSCRIBE_SERVER,
    ClientError,
    Disconnect,
    Unsubscribe,
    UpstreamError,
)
from gateway.hub import Hub
from gateway.metrics import Metrics
from gateway.node.background import Background
from gateway.node.cluster import (
    HELLO_INTERVAL,
    Cluster,
    DisconnectUser,
    Message,
    MessageAll,
    NodeInfo,
    Notice,
    RefreshUser,
    SubscribeUser,
    Target,
    UnsubscribeUser,
)
from gateway.node.delivery import Delivery, Letters
from gateway.node.lingering import LeaveStore, MemoryLeaves
from gateway.node.live import LiveConnections
from gateway.node.membership import Membership
from gateway.node.publications import Publications
from gateway.node.stats import NodeStats, StatsReport
from gateway.node.user_connections import UserConnections
from gateway.outbox import Outboxes
from gateway.protocol import (
    EMPTY_RAW,
    ClientInfo,
    StreamPosition,
)
from gateway.version import __version__

log = structlog.get_logger()


class SubscribeOptions(Struct, frozen=True):
    """A server-side subscription for live connections; `expire_at` in unix seconds, 0 is never."""

    info: Raw = EMPTY_RAW
    data: Raw = EMPTY_RAW
    expire_at: int = 0
    recover_since: StreamPosition | None = None
    override: dict[str, bool] | None = None


class Node:
    """One process of the gateway.

    Arguments:
        node_id: unique among the nodes that share the broker.
        leaves: where leaves wait that a return may undo; None: in this process.
        clock: monotonic seconds. wall: unix seconds.

    Attributes:
        notices: for rooms above: what to do with the messages of other nodes (and of this one) on a topic.
        on_loss: called whenever messages of other nodes may have been missed; returns at once.
        spawn: does work in the background; an error in it is logged once.
        publish, history, history_remove: see `Publications`.
    """

    def __init__(
        self,
        settings: Settings,
        broker: Broker,
        presence: PresenceStore,
        outboxes: Outboxes,
        metrics: Metrics,
        *,
        node_id: str,
        name: str,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        leaves: LeaveStore | None = None,
    ) -> None:
        self.id = node_id
        self.name = name
        self.rules = Channels(settings)
        self.hub = Hub()
        self.draining = False
        self.notices: dict[str, Callable[[Raw], None]] = {}
        self.on_loss: list[Callable[[], None]] = []
        self.wall = wall
        self._settings = settings.channels
        self._broker = broker
        self._presence = presence
        self._clock = clock
        self._started = clock()
        self._background = Background()
        self.spawn = self._background.spawn
        self._delivery = Delivery(
            self.hub,
            broker,
            outboxes,
            metrics,
            meta_ttl=settings.channels.history_meta_ttl,
            clock=clock,
            spawn=self.spawn,
            insufficient=lambda subscription: self.live.insufficient(subscription),
        )
        self.membership = Membership(
            self.hub,
            broker,
            presence,
            self._delivery,
            metrics,
            recovery_limit=settings.channels.recovery_limit,
            leaves=leaves or MemoryLeaves(),
            clock=clock,
            spawn=self.spawn,
        )
        self.live = LiveConnections(
            self.hub,
            self.rules,
            outboxes,
            self.membership,
            metrics,
            clock=clock,
            wall=wall,
            spawn=self.spawn,
        )
        self.user_connections = UserConnections(
            settings.client,
            self.hub,
            presence if settings.redis.url else None,
            wall=wall,
            disconnect=lambda user, client, why: self.disconnect(Target(user, client), why, []),
            spawn=self.spawn,
        )
        self._cluster = Cluster(
            node_id, broker, clock, describe=self._describe, answer=self._answer, act=self._act
        )
        stats = StatsReport(self._describe, self.hub, metrics, self._delivery.latency, clock=clock, wall=wall)
        self.questions: dict[str, Callable[[str], bytes | Awaitable[bytes]]] = {
            "info": lambda _: msgspec.json.encode(self._describe()),
            "channels": self._list_channels,
            "stats": stats.answer,
        }
        """What nodes may ask each other (`survey`): from the argument to the answer, in JSON."""
        publications = Publications(settings.channels, self.rules, broker, self._delivery.latency)
        self.publish = publications.publish
        self.history = publications.history
        self.history_remove = publications.history_remove
        # The broker's events go straight to those who act on them.
        self.on_publication = self._delivery.on_publication
        self.on_join = self._delivery.on_join
        self.on_leave = self._delivery.on_leave
        self.on_control = self._cluster.on_control

    def on_gap(self, channel: str | None) -> None:
        """See `BrokerEvents`."""
        self._delivery.on_gap(channel)
        for hear in self.on_loss:
            hear()

    def show_letters(self, letters: Letters) -> None:
        """Publications with tags are shown to `letters` from now on."""
        self._delivery.letters = letters

    # ------------------------------------------------------------------ life
    async def start(self) -> None:
        """Connect to the broker and begin what happens from time to time."""
        await self._broker.start(self)
        await self._cluster.hello()
        self._delivery.latency.start(asyncio.get_running_loop().call_later)
        every, repeat = self._settings, self._background.repeat
        repeat(HELLO_INTERVAL, self._cluster.hello)
        repeat(1.0, self._tidy_up)
        repeat(every.presence_interval, self.membership.refresh_presence)
        repeat(every.presence_interval, self.user_connections.refresh)
        repeat(every.position_check_interval / 4, self._check_positions)

    async def close(self) -> None:
        """Leave the other nodes and the broker. The clients are gone by now."""
        self._delivery.latency.stop()
        await self._background.close()
        await self.membership.publish_leaves(math.inf)
        try:
            await self._cluster.bye()
        except UpstreamError as error:
            log.info("the other nodes could not be told that this one leaves", problem=error.detail)
        await self._broker.close()

    @property
    def problem(self) -> str:
        """Why this node should get no new clients; empty: it should."""
        return "draining: the node is shutting down" if self.draining else self._broker.problem

    async def _tidy_up(self) -> None:
        now = self._clock()
        self._broker.sweep(now)
        self._presence.sweep(now)
        await self.membership.close_idle(now)
        await self.membership.publish_leaves(now)

    async def _check_positions(self) -> None:
        await self._delivery.check_positions(self._clock() - self._settings.position_check_interval)

    # ------------------------------------------------------------------ presence
    async def presence(self, channel: str) -> dict[str, ClientInfo]:
        """Who is in a channel, by client id. Raises ClientError 108 where the channel does not say."""
        self._need_presence(channel)
        return await self._presence.get(channel)

    async def presence_stats(self, channel: str) -> PresenceStats:
        self._need_presence(channel)
        return await self._presence.stats(channel)

    def _need_presence(self, channel: str) -> None:
        if not self.rules.options(channel).presence:
            raise ClientError(ERROR_NOT_AVAILABLE, "the channel keeps no presence")

    # ------------------------------------------------------------------ connections, on all nodes
    async def subscribe(self, target: Target, channel: str, options: SubscribeOptions) -> None:
        """Add a server-side subscription to live connections."""
        self.rules.options(channel)
        since = options.recover_since
        message = SubscribeUser(
            target,
            channel,
            # Left out of the message by identity: an empty Raw of somebody else's would be written.
            options.info or EMPTY_RAW,
            options.data or EMPTY_RAW,
            options.expire_at,
            since.offset if since else -1,
            since.epoch if since else "",
            options.override or {},
        )
        await self._cluster.tell(message)

    async def unsubscribe(
        self, target: Target, channel: str, unsubscribe: Unsubscribe = UNSUBSCRIBE_SERVER
    ) -> None:
        """End subscriptions to `channel`, or to all channels where it is empty."""
        if channel:
            self.rules.options(channel)
        await self._cluster.tell(UnsubscribeUser(target, channel, unsubscribe.code, unsubscribe.reason))

    async def disconnect(self, target: Target, disconnect: Disconnect, whitelist: list[str]) -> None:
        """Close connections, except the clients in `whitelist`."""
        await self._cluster.tell(DisconnectUser(target, disconnect.code, disconnect.reason, whitelist))

    async def refresh(self, target: Target, expired: bool, expire_at: int, info: Raw) -> None:
        """Move the expiry (unix seconds, 0: none), or end connections as expired."""
        await self._cluster.tell(RefreshUser(target, expired, expire_at, info or EMPTY_RAW))

    async def broadcast_all(self, data: bytes, appid: str) -> None:
        """A message to every client, or to every client of one mini-program."""
        await self._cluster.tell(MessageAll(Raw(data), appid))

    async def channels(self, pattern: str) -> tuple[dict[str, int], list[str]]:
        """Channels that match the glob `pattern` (empty: all) with their subscribers on all nodes; and the
        ids of the nodes that did not answer."""
        answers, missing = await self.survey("channels", pattern)
        total: dict[str, int] = {}
        for answer in answers.values():
            for name, count in msgspec.json.decode(answer, type=dict[str, int]).items():
                total[name] = total.get(name, 0) + count
        return total, missing

    async def info(self) -> tuple[list[NodeInfo], list[str]]:
        """The nodes as they are now, this one first; and the ids of those that did not answer."""
        answers, missing = await self.survey("info")
        nodes = [msgspec.json.decode(answer, type=NodeInfo) for answer in answers.values()]
        return sorted(nodes, key=lambda info: (info.uid != self.id, info.name, info.uid)), missing

    async def stats(self) -> tuple[list[NodeStats], list[str]]:
        """The figures of all nodes, in the same order whoever is asked; and who did not answer."""
        answers, missing = await self.survey("stats")
        known = [answer for answer in answers.values() if answer != b"{}"]  # else of an older version
        nodes = [msgspec.json.decode(answer, type=NodeStats) for answer in known]
        return sorted(nodes, key=lambda stats: (stats.name, stats.uid)), missing

    async def tell(self, topic: str, content: bytes, node: str = "") -> None:
        """JSON for the `notices` of all nodes, or of one. Raises UpstreamError where the broker cannot."""
        await self._cluster.tell(Notice(topic, Raw(content)), node)

    async def survey(self, question: str, argument: str = "") -> tuple[dict[str, bytes], list[str]]:
        """Ask every node one of `questions`: the answers in JSON by node id, `{}` from a node that does not
        know the question; and the ids of the nodes that did not answer."""
        return await self._cluster.survey(question, argument)

    def deadline(self, expire_at: float) -> float:
        """Unix seconds as monotonic ones; 0 stays 0."""
        return self.live.deadline(expire_at)

    # ------------------------------------------------------------------ for the other nodes
    def _describe(self) -> NodeInfo:
        hub = self.hub
        return NodeInfo(
            uid=self.id,
            name=self.name,
            version=__version__,
            num_clients=len(hub.clients),
            num_users=hub.num_users,
            num_subs=hub.num_subscriptions,
            num_channels=hub.num_channels,
            uptime=int(self._clock() - self._started),
        )

    def _act(self, message: Message) -> None:
        if not isinstance(message, Notice):
            self.live.act(message)
        elif (hear := self.notices.get(message.topic)) is not None:
            hear(message.content)

    async def _answer(self, question: str, argument: str) -> bytes:
        asked = self.questions.get(question)
        answer = asked(argument) if asked is not None else b"{}"
        return answer if isinstance(answer, bytes) else await answer

    def _list_channels(self, pattern: str) -> bytes:
        matches = re.compile(fnmatch.translate(pattern or "*")).match
        channels = self.hub.channels.items()
        return msgspec.json.encode(
            {name: len(each) for name, each in channels if len(each) and matches(name)}
        )
