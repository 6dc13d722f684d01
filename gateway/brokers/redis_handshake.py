"""Entering a Redis server: connect, sign in, and find out whether it is the server that the URL promises.

Every way to fail ends as one line that an operator can act on, without the password.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from gateway.brokers.redis_connection import CommandFailure, Connection
from gateway.brokers.redis_url import Endpoint
from gateway.errors import UpstreamError

MIN_VERSION: Final = (6, 2)
"""XRANGE with exclusive bounds is the newest thing that the scripts need."""

SCRIPT_COMMANDS: Final = (
    "DEL GET HDEL HEXISTS HGET HGETALL HINCRBY HKEYS HLEN HMGET HSET INCR PEXPIRE PTTL PUBLISH RPUSH SET "
    "TIME XADD XRANGE XREVRANGE ZADD ZCARD ZCOUNT ZRANGE ZRANGEBYSCORE ZREM"
)

C = TypeVar("C", bound=Connection)


async def open_connection(
    endpoint: Endpoint, make: Callable[[], C], client_name: str, timeout: float
) -> tuple[C, dict[str, str]]:
    """Connect and sign in; also what HELLO says of the server.

    Raises:
        UpstreamError: with one line that names the server and what is wrong.
    """
    loop = asyncio.get_running_loop()
    connection = make()
    try:
        async with asyncio.timeout(timeout):
            if endpoint.path:
                await loop.create_unix_connection(lambda: connection, endpoint.path)
            else:
                tls = endpoint.tls.context if endpoint.tls else None
                await loop.create_connection(lambda: connection, endpoint.host, endpoint.port, ssl=tls)
            return connection, await _sign_in(connection, endpoint, client_name)
    except TimeoutError:
        reason = f"no answer within {timeout:g} s"
    except OSError as error:
        reason = str(error) or type(error).__name__
    except CommandFailure as failure:
        reason = explain(failure, endpoint)
    except BaseException:
        connection.abort("cancelled")
        raise
    connection.abort(reason)
    raise UpstreamError(detail=f"Redis at {endpoint}: {reason}")


async def _sign_in(connection: Connection, endpoint: Endpoint, client_name: str) -> dict[str, str]:
    words: list[str] = ["HELLO", "2"]
    credentials = endpoint.credentials
    if credentials.password:
        words += ["AUTH", credentials.username or "default", credentials.password]
    reply = await connection.command(*words, "SETNAME", client_name)
    if endpoint.db:
        await connection.command("SELECT", endpoint.db)
    pairs = zip(reply[::2], reply[1::2], strict=False)
    return {name.decode(): value.decode() for name, value in pairs if isinstance(value, bytes)}


def explain(failure: CommandFailure, endpoint: Endpoint) -> str:
    """What the operator can do about an error reply, in one line."""
    text = str(failure)
    if text.startswith("WRONGPASS"):
        return "wrong user name or password"
    if text.startswith("NOAUTH"):
        return "it asks for a password: redis://:password@host or redis://user:password@host"
    if text.startswith(("NOPERM", "ERR The user executing the script")):
        user = endpoint.credentials.username or "default"
        # For a command in a script Redis does not say which one it was.
        needed = f" (the scripts need {SCRIPT_COMMANDS})" if text.startswith("ERR") else ""
        return f"the ACL of user {user!r} lacks a permission that the gateway needs{needed}: {text}"
    if text.startswith(("ERR unknown command `HELLO`", "ERR unknown command 'HELLO'")):
        return f"too old: {MIN_VERSION[0]}.{MIN_VERSION[1]} or newer is needed"
    if "DB index is out of range" in text:
        return f"it has no database {endpoint.db}"
    return text


def check_server(hello: dict[str, str], endpoint: Endpoint, mode: str) -> None:
    """Whether this is the server that the URL promises. Raises UpstreamError with one line."""
    version = hello.get("version", "0")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    found = hello.get("mode", mode)
    reason = ""
    if numbers < MIN_VERSION:
        reason = f"version {version} is too old: {MIN_VERSION[0]}.{MIN_VERSION[1]} or newer is needed"
    elif found == "sentinel":
        reason = "this is a Sentinel: redis+sentinel://host:port/master_name"
    elif found == "cluster" and mode != "cluster":
        reason = "this is a node of a Redis Cluster: redis+cluster://host:port"
    elif found == "standalone" and mode == "cluster":
        reason = "this is no Redis Cluster: redis://host:port"
    elif hello.get("role") in ("replica", "slave") and mode != "cluster":
        reason = "this is a replica: give the address of its master, or of the Sentinels"
    if reason:
        raise UpstreamError(detail=f"Redis at {endpoint}: {reason}")
