"""`gateway serve` with a Redis that it cannot use: one line that an operator can act on, and exit code 1."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from chaos.team import Team, gateway_toml
from tests.gateway_process import free_port
from tests.redis_server import RedisServer, shared_cluster
from tests.test_redis_startup import impostor
from tests.worker_world import refusal

pytestmark = pytest.mark.timeout(90)

OLD = b"*4\r\n$7\r\nversion\r\n$5\r\n6.0.9\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n"


@pytest.fixture(scope="module")
def guarded() -> Iterator[RedisServer]:
    """A server with a password, and with a user who may not write into streams."""
    user = "reader on >pw ~* &* +@all -xadd".split()
    with RedisServer("--save", "", "--requirepass", "sesame", "--user", *user) as server:
        yield server


@contextmanager
def old_redis() -> Iterator[str]:
    """Something that says it is Redis 6.0."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    world = impostor(OLD)
    try:
        yield asyncio.run_coroutine_threadsafe(world.__aenter__(), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(world.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def redis_refusal(folder: Path, url: str, workers: int) -> str:
    """The same, where Redis is the reason."""
    line = refusal(Team(folder, gateway_toml(url), workers=workers))
    assert line.startswith("gateway cannot start: Redis at ")
    assert "sesame" not in line
    return line


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[str], str]:
    """By the supervisor, before it starts anybody."""
    return lambda url: redis_refusal(tmp_path, url, 2)


def test_one_process_alone(guarded: RedisServer, tmp_path: Path) -> None:
    line = redis_refusal(tmp_path, f"redis://:sesame2@127.0.0.1:{guarded.port}", 1)
    assert "wrong user name or password" in line


def test_nobody_listens(refused: Callable[[str], str]) -> None:
    port = free_port()
    assert f"127.0.0.1:{port}" in refused(f"redis://127.0.0.1:{port}")


def test_a_wrong_password(guarded: RedisServer, refused: Callable[[str], str]) -> None:
    line = refused(f"redis://:sesame2@127.0.0.1:{guarded.port}")
    assert "wrong user name or password" in line


def test_an_acl_without_a_needed_command(guarded: RedisServer, refused: Callable[[str], str]) -> None:
    line = refused(f"redis://reader:pw@127.0.0.1:{guarded.port}")
    assert "the ACL of user 'reader' lacks a permission" in line
    assert "XADD" in line


def test_a_redis_that_is_too_old(refused: Callable[[str], str]) -> None:
    with old_redis() as url:
        assert "version 6.0.9 is too old: 6.2 or newer is needed" in refused(url)


def test_a_node_of_a_cluster_given_as_a_single_server(refused: Callable[[str], str]) -> None:
    assert "redis+cluster://" in refused(shared_cluster()[0].url)
