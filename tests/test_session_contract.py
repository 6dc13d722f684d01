"""What every session store promises. A new store joins by adding its maker to `STORES`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from gateway.auth.sessions import (
    COLLECT_BATCH,
    MAX_SESSIONS_PER_USER,
    SLIDE_INTERVAL,
    MemorySessionStore,
    SessionKeyCipher,
    SessionStore,
    is_session_token,
    token_hash,
)
from gateway.auth.sessions_redis import RedisSessionStore
from gateway.brokers.redis_server import Tuning
from gateway.brokers.redis_topology import make_topology
from tests.broker_worlds import RedisWorld
from tests.redis_server import shared_cluster, shared_servers

TTL = 3600.0
APP = "wx0000000000000001"
OTHER_APP = "wx0000000000000002"
OPENID = "o9AgO5Kd5ggOC-bXrbNODIiE3bGY"
KEY = "HyVFkGl5F5OQWJZZaNzBBg=="


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """A store, its clock, and how to read everything it stores."""

    store: SessionStore
    clock: Clock
    dump: Callable[[], str]


@contextlib.asynccontextmanager
async def memory() -> AsyncIterator[World]:
    clock = Clock()
    store = MemorySessionStore(SessionKeyCipher("encryption key"), ttl=TTL, now=clock)

    def dump() -> str:
        return f"{vars(store)!r} {[user.sealed_key for user in store._users.values()]!r}"

    yield World(store, clock, dump)


@contextlib.asynccontextmanager
async def shared(broker_world: RedisWorld) -> AsyncIterator[World]:
    """In Redis: `dump` shows every key and value under the prefix of this test."""
    clock = Clock()
    topology = make_topology(broker_world.urls, broker_world.prefix, "sessions", Tuning())
    await topology.start()
    store = RedisSessionStore(topology, SessionKeyCipher("encryption key"), ttl=TTL, now=clock)

    def dump() -> str:
        keys = list(servers[0].client().scan_iter(f"{broker_world.prefix}:*"))
        return f"{[(key, servers[0].client().dump(key)) for key in keys]!r}"

    servers = shared_servers()
    await store.check()
    assert not list(servers[0].client().scan_iter(f"{broker_world.prefix}:*")), (
        "a check leaves nothing behind"
    )
    yield World(store, clock, dump)
    await topology.close()


def redis() -> contextlib.AbstractAsyncContextManager[World]:
    return shared(RedisWorld([shared_servers()[0].url]))


def redis_cluster() -> contextlib.AbstractAsyncContextManager[World]:
    return shared(RedisWorld([f"redis+cluster://127.0.0.1:{shared_cluster()[0].port}"]))


STORES = {"memory": memory, "redis": redis, "redis-cluster": redis_cluster}


@pytest.fixture(params=list(STORES))
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with STORES[request.param]() as world:
        yield world


async def create(world: World, openid: str = OPENID, appid: str = APP, key: str = KEY) -> str:
    token, _ = await world.store.create(appid, openid, None, key)
    return token


async def test_a_token_finds_its_session(world: World) -> None:
    token, made = await world.store.create(APP, OPENID, "oUnion", KEY)
    found = await world.store.lookup(token)
    assert found == made
    assert (made.user, made.appid, made.unionid) == (OPENID, APP, "oUnion")
    assert made.expires_at == world.clock.now + TTL


async def test_tokens_are_random_and_not_jwts(world: World) -> None:
    tokens = {await create(world) for _ in range(20)}
    assert len(tokens) == 20
    assert all(is_session_token(token) and len(token) == 43 and "." not in token for token in tokens)


async def test_the_session_id_is_the_start_of_the_hash(world: World) -> None:
    token, session = await world.store.create(APP, OPENID, None, KEY)
    assert session.session_id == token_hash(token)[:16]


@pytest.mark.parametrize("token", ["", "x" * 43, "a.b.c", "\0", "密码", "\ud800", "x" * 100_000])
async def test_anything_else_is_not_found(world: World, token: str) -> None:
    await create(world)
    assert await world.store.lookup(token) is None
    assert await world.store.revoke(token) is None


async def test_neither_token_nor_session_key_is_stored_or_shown(world: World) -> None:
    token, session = await world.store.create(APP, OPENID, None, KEY)
    await world.store.lookup(token)
    shown = f"{world.dump()} {world.store!r} {session!r}"
    assert token not in shown
    assert KEY not in shown


async def test_a_session_ends_after_its_ttl(world: World) -> None:
    token = await create(world)
    world.clock.now += TTL
    assert await world.store.lookup(token) is None
    assert await world.store.revoke(token) is None


async def test_a_session_that_has_ended_cannot_be_revoked(world: World) -> None:
    token = await create(world)
    world.clock.now += TTL
    assert await world.store.revoke(token) is None


async def test_of_many_sessions_that_ended_at_once_none_is_found(world: World) -> None:
    tokens = [await create(world, openid=f"o{number}") for number in range(COLLECT_BATCH + 10)]
    world.clock.now += TTL
    assert await world.store.lookup(tokens[-1]) is None


async def test_use_slides_the_expiry(world: World) -> None:
    token = await create(world)
    for _ in range(3):
        world.clock.now += TTL - SLIDE_INTERVAL
        session = await world.store.lookup(token)
        assert session is not None
        assert session.expires_at == world.clock.now + TTL


async def test_a_session_lives_for_its_ttl_after_its_last_use_less_the_slide_interval(world: World) -> None:
    token = await create(world)
    world.clock.now += SLIDE_INTERVAL - 1  # too early for a write
    assert await world.store.lookup(token) is not None
    world.clock.now += TTL - SLIDE_INTERVAL
    assert await world.store.lookup(token) is not None


async def test_revoke_ends_one_session(world: World) -> None:
    first, second = await create(world), await create(world)
    ended = await world.store.revoke(first)
    assert ended is not None
    assert ended.session_id == token_hash(first)[:16]
    assert await world.store.lookup(first) is None
    assert await world.store.lookup(second) is not None
    assert await world.store.revoke(first) is None


async def test_revoke_user_ends_all_of_that_user_in_that_app(world: World) -> None:
    mine = [await create(world) for _ in range(3)]
    others = [await create(world, openid="oOther"), await create(world, appid=OTHER_APP)]
    assert await world.store.revoke_user(APP, OPENID) == 3
    assert [await world.store.lookup(token) for token in mine] == [None] * 3
    assert None not in [await world.store.lookup(token) for token in others]
    assert await world.store.session_key(APP, OPENID) is None
    assert await world.store.session_key(OTHER_APP, OPENID) == KEY
    assert await world.store.revoke_user(APP, OPENID) == 0


async def test_revoke_user_counts_only_sessions_that_still_live(world: World) -> None:
    await create(world)
    world.clock.now += TTL - 1
    await world.store.lookup("x" * 43)
    second = await create(world)
    world.clock.now += 1
    assert await world.store.revoke_user(APP, OPENID) == 1
    assert await world.store.lookup(second) is None


async def test_a_newer_login_replaces_the_session_key_for_all_sessions(world: World) -> None:
    first = await create(world, key="old")
    await create(world, key="new")
    assert await world.store.session_key(APP, OPENID) == "new"
    assert await world.store.lookup(first) is not None


async def test_a_login_without_a_session_key_leaves_the_old_one(world: World) -> None:
    await create(world)
    await create(world, key="")
    assert await world.store.session_key(APP, OPENID) == KEY


async def test_the_session_key_is_gone_with_the_last_session(world: World) -> None:
    first, second = await create(world), await create(world)
    await world.store.revoke(first)
    assert await world.store.session_key(APP, OPENID) == KEY
    await world.store.revoke(second)
    assert await world.store.session_key(APP, OPENID) is None
    await create(world)
    world.clock.now += TTL
    assert await world.store.session_key(APP, OPENID) is None


async def test_a_session_key_is_replaced_for_a_user_with_a_session_only(world: World) -> None:
    token = await create(world)
    assert await world.store.replace_session_key(APP, OPENID, "fresh")
    assert await world.store.session_key(APP, OPENID) == "fresh"
    assert not await world.store.replace_session_key(OTHER_APP, OPENID, "fresh")
    assert await world.store.session_key(OTHER_APP, OPENID) is None
    assert "fresh" not in world.dump()
    await world.store.revoke(token)
    assert not await world.store.replace_session_key(APP, OPENID, "later")
    assert await world.store.session_key(APP, OPENID) is None
    await create(world)
    world.clock.now += TTL
    assert not await world.store.replace_session_key(APP, OPENID, "later")


async def test_an_unknown_user_has_no_session_key(world: World) -> None:
    assert await world.store.session_key(APP, OPENID) is None


async def test_a_user_has_a_bounded_number_of_sessions_and_the_least_recently_used_goes(world: World) -> None:
    tokens = [await create(world) for _ in range(MAX_SESSIONS_PER_USER)]
    assert await world.store.lookup(tokens[0]) is not None  # used: now the second one is the oldest
    await create(world)
    alive = [await world.store.lookup(token) is not None for token in tokens]
    assert alive == [True, False] + [True] * (MAX_SESSIONS_PER_USER - 2)
    assert await world.store.revoke_user(APP, OPENID) == MAX_SESSIONS_PER_USER


# Beyond the contract: this process's memory, and the cipher.


async def test_expired_sessions_leave_the_memory() -> None:
    clock = Clock()
    store = MemorySessionStore(SessionKeyCipher.random(), ttl=TTL, now=clock)
    for number in range(COLLECT_BATCH * 2):
        await store.create(APP, f"o{number}", None, KEY)
    clock.now += TTL
    await store.lookup("x" * 43)
    assert len(store) == COLLECT_BATCH, "one operation pays for one batch"
    await store.lookup("x" * 43)
    assert (len(store), len(store._users)) == (0, 0)


async def test_a_session_that_slides_is_not_collected_before_those_that_did_not() -> None:
    clock = Clock()
    store = MemorySessionStore(SessionKeyCipher.random(), ttl=TTL, now=clock)
    used, _ = await store.create(APP, "oUsed", None, KEY)
    await store.create(APP, "oIdle", None, KEY)
    clock.now += TTL / 2
    await store.lookup(used)
    clock.now += TTL / 2
    await store.lookup("x" * 43)
    assert len(store) == 1
    assert await store.lookup(used) is not None


async def test_a_short_ttl_still_slides() -> None:
    clock = Clock()
    store = MemorySessionStore(SessionKeyCipher.random(), ttl=10, now=clock)
    token, _ = await store.create(APP, OPENID, None, KEY)
    for _ in range(5):
        clock.now += 8
        assert await store.lookup(token) is not None


def test_a_sealed_key_opens_for_its_own_user_only() -> None:
    cipher = SessionKeyCipher("encryption key")
    sealed = cipher.seal(APP, OPENID, KEY)
    assert cipher.open(APP, OPENID, sealed) == KEY
    assert cipher.open(OTHER_APP, OPENID, sealed) is None
    assert cipher.open(APP, "oOther", sealed) is None
    assert SessionKeyCipher("another key").open(APP, OPENID, sealed) is None


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 12, b"x" * 60])
def test_a_damaged_sealed_key_is_no_key(damage: bytes) -> None:
    assert SessionKeyCipher("encryption key").open(APP, OPENID, damage) is None


def test_the_same_key_is_never_sealed_alike() -> None:
    cipher = SessionKeyCipher("encryption key")
    assert cipher.seal(APP, OPENID, KEY) != cipher.seal(APP, OPENID, KEY)


def test_an_empty_encryption_key_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        SessionKeyCipher("")
