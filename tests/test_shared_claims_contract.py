"""What nodes share beside sessions: claims on wx.login codes, access tokens, quotas. One contract each."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from gateway.auth.access_tokens_redis import RedisTokenStorage
from gateway.auth.claims_redis import RedisCodeClaims
from gateway.auth.sessions import SessionKeyCipher
from gateway.auth.signin import CodeClaims, MemoryCodeClaims
from gateway.brokers.redis_server import Tuning
from gateway.brokers.redis_topology import make_topology
from gateway.errors import ClientError
from gateway.files.ledger import RedisLedger
from gateway.files.quotas import Allowance, Quotas
from gateway.wechat.access_token import AccessToken, MemoryTokenStorage, TokenStorage
from tests.broker_worlds import RedisWorld
from tests.redis_server import shared_cluster, shared_servers

APP = "wx0000000000000001"
TOKEN = "an access token that nobody may read"


@dataclass
class World:
    """Both stores, as each of two nodes has them, and all that lies in Redis."""

    claims: list[CodeClaims]
    tokens: list[TokenStorage]
    dump: Callable[[], str]


@contextlib.asynccontextmanager
async def memory() -> AsyncIterator[World]:
    claims, tokens = MemoryCodeClaims(now=time.time), MemoryTokenStorage()
    yield World([claims, claims], [tokens, tokens], lambda: "")


@contextlib.asynccontextmanager
async def shared(where: RedisWorld) -> AsyncIterator[World]:
    topologies = [make_topology(where.urls, where.prefix, f"node{n}", Tuning()) for n in range(2)]
    for topology in topologies:
        await topology.start()
    cipher = SessionKeyCipher("encryption key")

    def dump() -> str:
        redis = shared_servers()[0].client()
        return f"{[(key, redis.dump(key)) for key in redis.scan_iter(f'{where.prefix}:*')]!r}"

    yield World(
        [RedisCodeClaims(each, where.prefix) for each in topologies],
        [RedisTokenStorage(each, cipher, where.prefix, time.time) for each in topologies],
        dump,
    )
    for topology in topologies:
        await topology.close()


def redis() -> contextlib.AbstractAsyncContextManager[World]:
    return shared(RedisWorld([shared_servers()[0].url]))


def redis_cluster() -> contextlib.AbstractAsyncContextManager[World]:
    return shared(RedisWorld([f"redis+cluster://127.0.0.1:{shared_cluster()[0].port}"]))


WORLDS = {"memory": memory, "redis": redis, "redis-cluster": redis_cluster}


@pytest.fixture(params=list(WORLDS))
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with WORLDS[request.param]() as world:
        yield world


async def test_of_all_nodes_one_may_exchange_a_code(world: World) -> None:
    got = await asyncio.gather(*(world.claims[n % 2].claim("one code") for n in range(20)))
    assert sorted(got) == [False] * 19 + [True]


async def test_a_claim_that_was_given_back_can_be_made_again(world: World) -> None:
    assert await world.claims[0].claim("code")
    await world.claims[0].release("code")
    assert await world.claims[1].claim("code")


async def test_codes_do_not_stand_in_each_others_way(world: World) -> None:
    assert await world.claims[0].claim("a")
    assert await world.claims[1].claim("b")


async def test_a_token_that_one_node_saved_is_found_by_the_others(world: World) -> None:
    assert await world.tokens[1].load(APP) is None
    token = AccessToken(TOKEN, time.time() + 7200)
    await world.tokens[0].save(APP, token)
    assert await world.tokens[1].load(APP) == token
    assert await world.tokens[1].load("wx0000000000000002") is None


async def test_a_newer_token_replaces_the_older(world: World) -> None:
    for value in ("first", "second"):
        await world.tokens[0].save(APP, AccessToken(value, time.time() + 7200))
    found = await world.tokens[1].load(APP)
    assert found is not None
    assert found.value == "second"


async def test_of_all_nodes_one_may_force_a_new_token(world: World) -> None:
    got = await asyncio.gather(*(world.tokens[n % 2].claim_force(APP, 30.0) for n in range(10)))
    assert sorted(got) == [False] * 9 + [True]


async def test_what_lies_in_redis_tells_no_token(world: World) -> None:
    await world.tokens[0].save(APP, AccessToken(TOKEN, time.time() + 7200))
    assert TOKEN not in world.dump()


async def test_what_users_uploaded_is_known_to_all_processes_and_after_a_restart() -> None:
    where = RedisWorld([shared_servers()[0].url])
    topologies = [make_topology(where.urls, where.prefix, f"http{n}", Tuning()) for n in range(2)]
    for topology in topologies:
        await topology.start()
    first, second = (RedisLedger(each, where.prefix) for each in topologies)
    assert await second.used(APP, "ann", 20_000) == (0, 0)
    await first.add(APP, "ann", 20_000, 60)
    await second.add(APP, "ann", 20_000, 30)
    assert await first.used(APP, "ann", 20_000) == await second.used(APP, "ann", 20_000) == (2, 90)
    for other in ((APP, "bob", 20_000), (APP, "ann", 20_001), ("wx0000000000000002", "ann", 20_000)):
        assert await first.used(*other) == (0, 0)
    quotas = Quotas(Allowance(bytes_per_day=100, files_per_day=3, at_a_time=2), lambda: 20_000 * 86400.0)
    with quotas.begin(APP, "ann", await first.used(APP, "ann", quotas.today)) as lease:
        with pytest.raises(ClientError):
            lease.grow(11)
        lease.grow(10)
        lease.keep()
    with pytest.raises(ClientError):
        quotas.begin(APP, "ann")
    for topology in topologies:
        await topology.close()


async def test_under_another_secret_a_token_is_as_good_as_none() -> None:
    where = RedisWorld([shared_servers()[0].url])
    topology = make_topology(where.urls, where.prefix, "node", Tuning())
    await topology.start()
    for secret, found in (("one", True), ("other", False)):
        storage = RedisTokenStorage(topology, SessionKeyCipher(secret), where.prefix, time.time)
        if found:
            await storage.save(APP, AccessToken(TOKEN, time.time() + 7200))
        assert (await storage.load(APP) is not None) is found
    await topology.close()
