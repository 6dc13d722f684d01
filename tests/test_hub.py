"""The hub against a model: who is here, who is first and who is last, whatever happens in which order."""

from __future__ import annotations

import ast
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway import hub as hub_module
from gateway.client import Client, Subscription
from gateway.hub import Channel, Hub
from tests.rooms import LIMITS, Phone

USERS = ["ann", "ann", "ann", "bob", "bob", "", ""]
CHANNELS = ["news", "chat", "#ann"]

who = st.integers(0, len(USERS) - 1)
where = st.sampled_from(CHANNELS)


def make_client(name: str, user: str = "", *, deflate: bool = False) -> Client:
    client = Client(name, Phone(), LIMITS, ip="", now=0.0)
    client.user, client.deflate = user, deflate
    return client


class HubMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.hub = Hub()
        self.here: list[int] = []
        self.clients = [make_client(f"c{n}", user, deflate=bool(n % 2)) for n, user in enumerate(USERS)]
        self.stands: dict[tuple[int, str], str] = {}
        self.positioned: set[tuple[int, str]] = set()
        self.ended: list[Subscription] = []

    @rule(who=who)
    def add(self, who: int) -> None:
        if who not in self.here:
            self.here.append(who)
            self.hub.add(self.clients[who])

    @rule(who=who)
    def remove(self, who: int) -> None:
        """As a connection that ends: its subscriptions first."""
        for name in list(self.clients[who].subscriptions):
            self.leave(who, name)
        self.hub.remove(self.clients[who])
        if who in self.here:
            self.here.remove(who)

    @rule(who=who, where=where)
    def join(self, who: int, where: str) -> None:
        if (who, where) in self.stands:
            return
        known = where in self.hub.channels
        subscription, first = self.hub.join(self.clients[who], where, server_side=False)
        assert first is not known
        assert (subscription.client, subscription.channel) == (self.clients[who], where)
        self.stands[who, where] = "settling"

    @rule(who=who, where=where)
    def go_live(self, who: int, where: str) -> None:
        if (who, where) in self.stands:
            client = self.clients[who]
            self.hub.channels[where].go_live(client.subscriptions[where])
            self.stands[who, where] = "deflated" if client.deflate else "plain"

    @rule(who=who, where=where)
    def position(self, who: int, where: str) -> None:
        if (who, where) in self.stands.keys() - self.positioned:
            self.clients[who].subscriptions[where].positioned = True
            self.hub.channels[where].positioned += 1
            self.positioned.add((who, where))

    @rule(who=who, where=where)
    def leave(self, who: int, where: str) -> None:
        if (who, where) not in self.stands:
            return
        subscription = self.clients[who].subscriptions[where]
        del self.stands[who, where]
        self.positioned.discard((who, where))
        nobody_left = all(name != where for _, name in self.stands)
        assert self.hub.leave(subscription) is nobody_left
        self.ended.append(subscription)

    @precondition(lambda self: self.ended)
    @rule(data=st.data())
    def leave_again(self, data: st.DataObject) -> None:
        assert not self.hub.leave(data.draw(st.sampled_from(self.ended)))

    @rule(where=where)
    def drop(self, where: str) -> None:
        channel = self.hub.channels.get(where)
        if channel is not None:
            self.hub.drop(channel)
            occupied = any(name == where for _, name in self.stands)
            assert (where in self.hub.channels) is occupied

    @invariant()
    def agrees_with_the_model(self) -> None:
        if not hasattr(self, "hub"):
            return
        assert list(self.hub.clients) == [f"c{n}" for n in self.here]
        by_user: dict[str, list[Client]] = {}
        for n in self.here:
            if USERS[n]:
                by_user.setdefault(USERS[n], []).append(self.clients[n])
        assert self.hub.num_users == len(by_user)
        for user in ("ann", "bob", "", "nobody"):
            assert self.hub.of_user(user) == by_user.get(user, [])
        assert self.hub.num_subscriptions == len(self.stands)
        assert self.hub.num_channels == len(self.hub.channels)

    @invariant()
    def every_subscription_stands_in_one_place(self) -> None:
        if not hasattr(self, "hub"):
            return
        for name, channel in self.hub.channels.items():
            places = {
                "plain": channel.plain,
                "deflated": channel.deflated or {},
                "settling": channel.settling or {},
            }
            for place, group in places.items():
                expected = {
                    self.clients[n].sink
                    for (n, where), at in self.stands.items()
                    if (where, at) == (name, place)
                }
                assert set(group) == expected
                for sink, subscription in group.items():
                    assert subscription.client.sink is sink
                    assert subscription.client.subscriptions[name] is subscription
            assert len(channel) == sum(where == name for _, where in self.stands)
            assert sorted(map(id, channel.subscriptions())) == sorted(
                id(each) for group in places.values() for each in group.values()
            )
            assert channel.positioned == sum(where == name for _, where in self.positioned)
        assert {where for _, where in self.stands} <= set(self.hub.channels)


TestTheHubAgreesWithAModel = HubMachine.TestCase
TestTheHubAgreesWithAModel.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


def test_first_and_last_are_said_once() -> None:
    hub, ann, bob = Hub(), make_client("a", "ann"), make_client("b", "bob")
    of_ann, first = hub.join(ann, "news", server_side=False)
    of_bob, second = hub.join(bob, "news", server_side=True)
    assert (first, second) == (True, False)
    assert (hub.leave(of_ann), hub.leave(of_bob), hub.leave(of_bob)) == (False, True, False)


def test_a_channel_without_subscribers_stays_until_it_is_dropped() -> None:
    """It is still subscribed at the broker: the next one in is not the first."""
    hub, ann = Hub(), make_client("a", "ann")
    subscription, _ = hub.join(ann, "news", server_side=False)
    hub.leave(subscription)
    channel = hub.channels["news"]
    assert hub.join(ann, "news", server_side=False)[1] is False
    hub.drop(channel)
    assert hub.channels["news"] is channel, "somebody came back meanwhile"


def test_an_old_channel_does_not_take_its_successor_along() -> None:
    hub = Hub()
    old = Channel("news")
    hub.channels["news"] = Channel("news")
    hub.drop(old)
    assert "news" in hub.channels


def test_an_old_subscription_of_a_connection_does_not_take_its_new_one_along() -> None:
    hub, ann = Hub(), make_client("a", "ann")
    old, _ = hub.join(ann, "news", server_side=False)
    hub.leave(old)
    new, _ = hub.join(ann, "news", server_side=False)
    hub.channels["news"].go_live(new)
    hub.channels["news"].remove(old)
    assert list(hub.channels["news"].subscriptions()) == [new]
    assert not hub.leave(old)
    assert ann.subscriptions["news"] is new


def test_removing_a_client_that_is_not_here_does_nothing() -> None:
    hub, ann = Hub(), make_client("a", "ann")
    hub.add(ann)
    hub.remove(make_client("b", "ann"))
    assert hub.of_user("ann") == [ann]


def test_the_hub_never_waits() -> None:
    tree = ast.parse(Path(hub_module.__file__).read_text())
    waiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    assert not [node for node in ast.walk(tree) if isinstance(node, waiting)]
