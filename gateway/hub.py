"""Who is here: the clients of this process, by id and by user, and who listens to which channel.

Nothing here waits, and nothing here talks to the broker: `join` says when a subscriber is the first of its
channel, `leave` when it was the last, and the node acts on it.

Positions are kept per channel, not per subscriber. All live subscribers of a channel stand at the same place,
so one comparison per publication finds a gap, however many listen.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.client import Client, Subscription
from gateway.outbox import Sink
from gateway.protocol import Publication


class Channel:
    """A channel as this process sees it.

    Attributes:
        plain, deflated: live subscriptions by connection, one set per wire format.
        settling: subscriptions that are not live: their reply is not out, or it covers publications that
            this process has not seen yet.
        offset, epoch: the last publication handed on; an empty epoch is not known yet.
        missed: publications that wait for a gap before them to be closed; None while there is none.
        touched: when the last publication came or the position was last compared, monotonic seconds.
    """

    __slots__ = (
        "deflated",
        "epoch",
        "missed",
        "name",
        "offset",
        "plain",
        "positioned",
        "settling",
        "subscribed",
        "touched",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.plain: dict[Sink, Subscription] = {}
        self.deflated: dict[Sink, Subscription] | None = None
        self.settling: dict[Sink, Subscription] | None = None
        self.offset = 0
        self.epoch = ""
        self.positioned = 0
        self.missed: list[tuple[Publication, str]] | None = None
        self.subscribed = False
        self.touched = 0.0

    def __len__(self) -> int:
        return len(self.plain) + len(self.deflated or ()) + len(self.settling or ())

    def subscriptions(self) -> Iterable[Subscription]:
        """All of them, also those that settle."""
        for group in (self.plain, self.deflated, self.settling):
            if group:
                yield from group.values()

    def settle(self, subscription: Subscription) -> None:
        """Put a subscription among those that are not live."""
        if self.settling is None:
            self.settling = {}
        self.settling[subscription.client.sink] = subscription

    def go_live(self, subscription: Subscription) -> None:
        """From now on the subscription gets every publication."""
        sink = subscription.client.sink
        if self.settling is not None and self.settling.get(sink) is subscription:
            del self.settling[sink]
            self.settling = self.settling or None
        if subscription.client.deflate:
            if self.deflated is None:
                self.deflated = {}
            self.deflated[sink] = subscription
        else:
            self.plain[sink] = subscription

    def remove(self, subscription: Subscription) -> None:
        """Take a subscription out, wherever it stands."""
        sink = subscription.client.sink
        for group in (self.plain, self.deflated, self.settling):
            if group and group.get(sink) is subscription:
                del group[sink]
        self.settling = self.settling or None


class Hub:
    """The clients and channels of this process."""

    def __init__(self) -> None:
        self.clients: dict[str, Client] = {}
        self.users: dict[str, dict[str, Client]] = {}
        self.channels: dict[str, Channel] = {}
        self.num_subscriptions = 0

    @property
    def num_users(self) -> int:
        return len(self.users)

    @property
    def num_channels(self) -> int:
        return len(self.channels)

    def add(self, client: Client) -> None:
        """A client has signed in. Anonymous clients belong to no user."""
        self.clients[client.id] = client
        if client.user:
            self.users.setdefault(client.user, {})[client.id] = client

    def remove(self, client: Client) -> None:
        """A client is gone; its subscriptions are the caller's to end. Does nothing if it is not here."""
        if self.clients.pop(client.id, None) is None:
            return
        connections = self.users.get(client.user)
        if connections is not None:
            connections.pop(client.id, None)
            if not connections:
                del self.users[client.user]

    def of_user(self, user: str) -> list[Client]:
        """The connections of a user, oldest first."""
        return list(self.users.get(user, {}).values())

    def join(self, client: Client, name: str, *, server_side: bool) -> tuple[Subscription, bool]:
        """A new subscription, not live yet; whether it is the first of its channel in this process."""
        channel = self.channels.get(name)
        first = channel is None
        if channel is None:
            channel = self.channels[name] = Channel(name)
        subscription = Subscription(client, name, server_side=server_side)
        channel.settle(subscription)
        client.subscriptions[name] = subscription
        self.num_subscriptions += 1
        return subscription, first

    def leave(self, subscription: Subscription) -> bool:
        """End a subscription; whether it was the channel's last. Does nothing if it has ended already."""
        client, name = subscription.client, subscription.channel
        if client.subscriptions.get(name) is not subscription:
            return False
        del client.subscriptions[name]
        channel = self.channels[name]
        channel.remove(subscription)
        if subscription.positioned:
            channel.positioned -= 1
        self.num_subscriptions -= 1
        return not len(channel)

    def drop(self, channel: Channel) -> None:
        """Forget a channel that nobody listens to."""
        if not len(channel) and self.channels.get(channel.name) is channel:
            del self.channels[channel.name]
