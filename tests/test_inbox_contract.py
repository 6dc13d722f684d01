"""What every inbox store promises. A new store joins in `tests/inbox_worlds.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.inbox.base import Bounds
from gateway.inbox.limits import GRANTS, TEMPLATES
from gateway.inbox.tally import Tally
from tests.inbox_worlds import BOUNDS, CHANNEL, STORES, USER, Clock, World, inbox_world, letter
from tests.redis_server import shared_servers
from tests.timing import until

TEMPLATE = "tpl-1"
OTHERS = "#o-somebody-else"


@pytest.fixture(params=STORES)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with inbox_world(request.param) as world:
        yield world


async def words(world: World, channel: str = CHANNEL) -> list[str]:
    return [each.word for each in await world.store.read(channel, 0, 100_000)]


# ---------------------------------------------------------------------------- deliveries
async def test_a_letter_is_published_and_waits(world: World) -> None:
    await world.broker.subscribe(CHANNEL)
    assert await world.store.publish(CHANNEL, letter("a", {"order": 17})) == "kept"
    await until(lambda: bool(world.events.publications), "the publication")
    _, heard, epoch = world.events.publications[0]
    assert (bytes(heard.data), heard.tags, heard.offset, epoch) == (
        b'{"order":17}',
        letter("a").publication.tags,
        0,
        "",
    )
    [waiting] = await world.store.read(CHANNEL, 0, 1)
    assert (waiting.word, waiting.delivered, waiting.publication) == ("a", False, heard)
    assert world.store.may_hold(CHANNEL)


async def test_letters_are_read_in_the_order_in_which_they_were_published(world: World) -> None:
    for word, ttl in (("c", 50.0), ("a", 10.0), ("b", 90.0)):
        await world.store.publish(CHANNEL, letter(word, ttl=ttl))
    assert await words(world) == ["c", "a", "b"]


async def test_a_portion_has_at_least_one_and_the_next_begins_behind_it(world: World) -> None:
    for word in "abc":
        await world.store.publish(CHANNEL, letter(word, "x" * 100))
    first = await world.store.read(CHANNEL, 0, 1)
    assert [each.word for each in first] == ["a"]
    rest = await world.store.read(CHANNEL, first[0].seq, 250)
    assert [each.word for each in rest] == ["b", "c"]
    assert await world.store.read(CHANNEL, rest[-1].seq, 250) == []


async def test_who_acknowledges_has_settled_it_for_all(world: World) -> None:
    await world.store.publish(CHANNEL, letter("a"))
    [(word, before)] = (await world.store.acknowledge(CHANNEL, ["a"])).items()
    assert (word, before.state, before.status) == ("a", "p", "pending")
    assert await words(world) == []
    [again] = (await world.store.acknowledge(CHANNEL, ["a"])).values()
    assert again.state == "a"


async def test_unknown_words_and_other_users_are_no_error_and_change_nothing(world: World) -> None:
    await world.store.publish(CHANNEL, letter("a"))
    assert await world.store.acknowledge(OTHERS, ["a"]) == {}
    assert await world.store.acknowledge(CHANNEL, ["b", "#bytes", "#seq", ""]) == {}
    assert await world.store.deliver(OTHERS, ["a"]) == {}
    assert await words(world) == ["a"]
    assert await world.store.status(OTHERS, ["a"]) == {}


async def test_delivered_is_noted_once_with_its_time(world: World) -> None:
    await world.store.publish(CHANNEL, letter("a"))
    world.clock.now += 2
    [record] = (await world.store.deliver(CHANNEL, ["a", "b"])).values()
    assert record.delivered == round(world.clock.now * 1000)
    world.clock.now += 2
    assert await world.store.deliver(CHANNEL, ["a"]) == {}
    assert [each.delivered for each in await world.store.read(CHANNEL, 0, 1)] == [True]


async def test_the_status_tells_the_whole_way(world: World) -> None:
    begin = round(world.clock.now * 1000)
    await world.store.publish(CHANNEL, letter("a", ttl=60.0))
    assert (await world.store.status(CHANNEL, ["a"]))["a"].status == "pending"
    world.clock.now += 1
    await world.store.deliver(CHANNEL, ["a"])
    assert (await world.store.status(CHANNEL))["a"].status == "delivered"
    world.clock.now += 1
    await world.store.acknowledge(CHANNEL, ["a"])
    record = (await world.store.status(CHANNEL, ["a"]))["a"]
    assert record.status == "acknowledged"
    assert (record.published, record.delivered, record.settled, record.ends) == (
        begin,
        begin + 1000,
        begin + 2000,
        begin + 60_000,
    )


async def test_what_nobody_acknowledges_expires_and_is_forgotten_later(world: World) -> None:
    await world.store.publish(CHANNEL, letter("a", ttl=10.0))
    world.clock.now += 10
    assert await words(world) == []
    assert await world.store.acknowledge(CHANNEL, ["a"]) == {}
    assert (await world.store.status(CHANNEL, ["a"]))["a"].status == "expired"
    world.clock.now += BOUNDS.kept
    assert await world.store.status(CHANNEL, ["a"]) == {}


async def test_a_known_word_publishes_nothing(world: World) -> None:
    await world.broker.subscribe(CHANNEL)
    assert await world.store.publish(CHANNEL, letter("a", 1)) == "kept"
    assert await world.store.publish(CHANNEL, letter("a", 2)) == "known"
    await world.store.acknowledge(CHANNEL, ["a"])
    assert await world.store.publish(CHANNEL, letter("a", 3)) == "known"
    assert await words(world) == []
    await world.store.publish(CHANNEL, letter("b", 4))
    await until(lambda: len(world.events.publications) == 2, "two publications")
    assert world.events.data(CHANNEL) == [b"1", b"4"]


async def test_a_full_inbox_refuses_the_new_and_keeps_the_old(world: World) -> None:
    await world.broker.subscribe(CHANNEL)
    for number in range(BOUNDS.messages):
        assert await world.store.publish(CHANNEL, letter(f"w{number}")) == "kept"
    assert await world.store.publish(CHANNEL, letter("more")) == "too_many"
    assert await world.store.publish(OTHERS, letter("theirs")) == "kept"
    assert len(await words(world)) == BOUNDS.messages
    await world.store.acknowledge(CHANNEL, ["w0"])
    assert await world.store.publish(CHANNEL, letter("more")) == "kept"
    await until(lambda: len(world.events.publications) == BOUNDS.messages + 1, "no refused one was heard")


async def test_bytes_are_bounded_and_come_back(world: World) -> None:
    assert await world.store.publish(CHANNEL, letter("a", "x" * 600)) == "kept"
    assert await world.store.publish(CHANNEL, letter("b", "x" * 600)) == "too_large"
    await world.store.acknowledge(CHANNEL, ["a", "a"])
    assert await world.store.publish(CHANNEL, letter("b", "x" * 600)) == "kept"
    world.clock.now += 60
    assert await world.store.publish(CHANNEL, letter("c", "x" * 900)) == "kept"


async def test_settled_ones_are_bounded_too(world: World) -> None:
    for number in range(BOUNDS.messages * 3):
        await world.store.publish(CHANNEL, letter(f"w{number}"))
        world.clock.now += 1
        await world.store.acknowledge(CHANNEL, [f"w{number}"])
    await world.store.read(CHANNEL, 0, 1)
    known = await world.store.status(CHANNEL)
    assert sorted(known) == sorted(f"w{number}" for number in range(10, 15))


async def test_of_many_who_acknowledge_at_once_one_is_the_first(world: World) -> None:
    await world.store.publish(CHANNEL, letter("a"))
    answers = await asyncio.gather(*(world.store.acknowledge(CHANNEL, ["a"]) for _ in range(10)))
    assert sorted(answer["a"].state for answer in answers) == ["a"] * 9 + ["p"]


async def test_redis_forgets_an_inbox_by_itself() -> None:
    """Nobody may ever come back: each key has an end."""
    async with inbox_world("redis") as world:
        await world.store.publish(CHANNEL, letter("a", ttl=30.0))
        await world.store.publish(CHANNEL, letter("b", ttl=20.0))
        await world.store.acknowledge(CHANNEL, ["a"])
        await world.store.grants(CHANNEL, {TEMPLATE: "+1"})
        client = shared_servers(1)[0].client()
        keys = client.scan_iter(f"{world.prefix}:*{USER}*")
        ends = {key: client.pttl(key) for key in keys}
        assert len(ends) == 5
        boxes = [end for key, end in ends.items() if b":grants:" not in key]
        assert all(0 < end <= 630_000 for end in boxes), ends


# ---------------------------------------------------------------------------- subscribe messages
async def claim(world: World, word: str = "a", strict: bool = True, sender: str = "me") -> tuple[str, str]:
    what, record = await world.store.claim(
        CHANNEL, word, TEMPLATE, strict=strict, patience=60.0, sender=sender
    )
    return what, record.fallback if record else ""


async def granted(world: World, *changes: str | int) -> int:
    known: dict[str, int] | None = {}
    for change in changes:
        known = await world.store.grants(CHANNEL, {TEMPLATE: change})  # type: ignore[dict-item]
    assert known is not None
    return known[TEMPLATE]


async def left(world: World) -> int:
    known = await world.store.grants(CHANNEL, {})
    assert known is not None
    return known[TEMPLATE]


async def test_one_accept_is_one_message(world: World) -> None:
    assert await granted(world, "+1") == 1
    for word in "ab":
        await world.store.publish(CHANNEL, letter(word, fallback="w"))
    assert await claim(world, "a") == ("send", "s")
    assert await left(world) == 0
    assert await claim(world, "b") == ("decided", "r")
    record = await world.store.settle(CHANNEL, "a", TEMPLATE, "f", "-", "spent")
    assert record is not None
    assert record.fallback == "f"
    assert (await world.store.status(CHANNEL, ["b"]))["b"].reason == "no_grant"
    assert await claim(world, "a") == ("done", "f")
    assert await claim(world, "b") == ("done", "r")
    assert await claim(world, "nobody") == ("gone", "")


async def test_an_acknowledgement_in_time_needs_no_message(world: World) -> None:
    await granted(world, "+1")
    await world.store.publish(CHANNEL, letter("a", fallback="w"))
    await world.store.acknowledge(CHANNEL, ["a"])
    assert await claim(world) == ("done", "a")
    assert await left(world) == 1


async def test_of_many_who_claim_one_sends(world: World) -> None:
    await granted(world, 5)
    await world.store.publish(CHANNEL, letter("a", fallback="w"))
    answers = await asyncio.gather(*(claim(world, sender=f"node{number}") for number in range(10)))
    assert sorted(what for what, _ in answers) == ["busy"] * 9 + ["send"]
    assert await left(world) == 4


async def test_who_asks_again_is_still_the_sender(world: World) -> None:
    await granted(world, "+1")
    await world.store.publish(CHANNEL, letter("a", fallback="w"))
    assert await claim(world) == await claim(world) == ("send", "s")
    assert await left(world) == 0


async def test_what_a_dead_node_was_sending_is_not_sent_twice(world: World) -> None:
    await granted(world, 3)
    await world.store.publish(CHANNEL, letter("a", fallback="w", ttl=600.0))
    assert await claim(world, sender="dead") == ("send", "s")
    world.clock.now += 59
    assert await claim(world) == ("busy", "s")
    world.clock.now += 2
    assert await claim(world) == ("decided", "u")
    assert await world.store.settle(CHANNEL, "a", TEMPLATE, "f", "-", "spent") is None
    assert await left(world) == 2


async def test_a_grant_that_was_not_used_goes_back(world: World) -> None:
    await granted(world, 2)
    await world.store.publish(CHANNEL, letter("a", fallback="w"))
    await claim(world)
    await world.store.settle(CHANNEL, "a", TEMPLATE, "w", "-", "back")
    assert await left(world) == 2
    assert await claim(world) == ("send", "s")
    await world.store.settle(CHANNEL, "a", TEMPLATE, "r", "43101", "none")
    assert await left(world) == 0
    record = (await world.store.status(CHANNEL, ["a"]))["a"]
    assert (record.fallback, record.reason, record.attempts) == ("r", "43101", 2)


async def test_an_acknowledgement_while_it_waits_for_another_attempt_is_in_time(world: World) -> None:
    await granted(world, 2)
    await world.store.publish(CHANNEL, letter("a", fallback="w"))
    await claim(world)
    await world.store.acknowledge(CHANNEL, ["a"])
    record = await world.store.settle(CHANNEL, "a", TEMPLATE, "w", "-", "back")
    assert record is not None
    assert record.fallback == "a"


async def test_a_ban_refuses_and_an_accept_lifts_it(world: World) -> None:
    assert await granted(world, "+1", "+1", "ban") == -1
    for word in "ab":
        await world.store.publish(CHANNEL, letter(word, fallback="w"))
    assert await claim(world, "a", strict=False) == ("decided", "r")
    assert (await world.store.status(CHANNEL, ["a"]))["a"].reason == "banned"
    assert await granted(world, "+0") == -1
    assert await granted(world, "+1") == 1
    assert await claim(world, "b") == ("send", "s")


async def test_without_a_ledger_wechat_may_be_asked(world: World) -> None:
    await world.store.publish(CHANNEL, letter("a", fallback="w"))
    assert await claim(world, strict=False) == ("send", "s")
    await world.store.settle(CHANNEL, "a", TEMPLATE, "r", "47003", "back")
    assert await world.store.grants(CHANNEL, {}) == {}


async def test_what_has_expired_is_not_sent(world: World) -> None:
    await granted(world, 1)
    await world.store.publish(CHANNEL, letter("a", fallback="w", ttl=5.0))
    world.clock.now += 6
    assert await claim(world) == ("decided", "r")
    assert (await world.store.status(CHANNEL, ["a"]))["a"].reason == "expired"


async def test_the_ledger_is_bounded(world: World) -> None:
    assert await granted(world, 10**9) == GRANTS
    for number in range(TEMPLATES - 1):
        assert await world.store.grants(CHANNEL, {f"t{number}": "+1"})
    assert await world.store.grants(CHANNEL, {"one-more": "+1"}) is None
    assert len(await world.store.grants(CHANNEL, {}) or {}) == TEMPLATES


# ---------------------------------------------------------------------------- the sum of all
async def test_nodes_know_what_waits_in_all_inboxes(world: World) -> None:
    one, other = (Tally(world.totals, 1000, world.clock) for _ in range(2))
    end = round(world.clock.now * 1000) + 1_800_000
    one.change(end, 700)
    assert not one.has_room(400), "its own are known at once"
    assert other.has_room(400)
    await one.exchange()
    await other.exchange()
    assert not other.has_room(400)
    other.change(end, -700)
    await other.exchange()
    await one.exchange()
    assert (one.size, other.size) == (0, 0)


async def test_sums_go_with_the_hour_in_which_letters_end(world: World) -> None:
    tally = Tally(world.totals, 1000, world.clock)
    tally.change(round(world.clock.now * 1000) + 60_000, 700)
    await tally.exchange()
    assert tally.size == 700
    world.clock.now += 2 * 3600
    await tally.exchange()
    assert tally.size == 0


async def test_a_bound_of_one_byte_more_fits() -> None:
    async with inbox_world("memory", Bounds(messages=1, size=10)) as world:
        assert await world.store.publish(CHANNEL, letter("a", "x" * 8)) == "kept"
    assert isinstance(world.clock, Clock)
