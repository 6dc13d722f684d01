"""What is wrong with the configured Redis is said at start, in one line that an operator can act on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gateway.brokers.redis import RedisBroker
from gateway.brokers.redis_handshake import SCRIPT_COMMANDS
from gateway.brokers.redis_server import Tuning
from gateway.errors import UpstreamError
from gateway.publisher_sync import SyncPublisher
from tests.broker_worlds import Recorder
from tests.gateway_process import ROOT, free_port
from tests.redis_server import RedisServer, shared_cluster, shared_servers
from tests.timing import MS

TUNING = Tuning(timeout=500 * MS, connect_timeout=500 * MS)


@pytest.fixture(scope="module")
def guarded() -> Iterator[RedisServer]:
    """A server with a password, and with users who may do less than they need to."""
    users = [
        "user reader on >pw ~* &* +@all -xadd",
        "user deaf on >pw ~* resetchannels &other:* +@all",
        "user noscript on >pw ~* &* +@all -script|load",
        "user narrow on >pw ~wxgw:* &wxgw:* +@all -@admin -@dangerous",
    ]
    options = [word for user in users for word in ("--user", *user.split()[1:])]
    with RedisServer("--save", "", "--requirepass", "sesame", *options) as server:
        yield server


async def refusal(url: str) -> str:
    """The line with which `url` is refused; nothing is left open behind it."""
    broker = RedisBroker([url], tuning=TUNING)
    with pytest.raises(UpstreamError) as caught:
        await broker.start(Recorder())
    assert broker.problem
    assert caught.value.error.temporary
    text = str(caught.value)
    assert "\n" not in text
    assert "sesame" not in text
    return text


async def test_nobody_listens() -> None:
    port = free_port()
    text = await refusal(f"redis://127.0.0.1:{port}")
    assert f"127.0.0.1:{port}" in text
    assert "refused" in text or "Connect call failed" in text


async def test_a_host_that_does_not_exist() -> None:
    assert "no-such-host.invalid" in await refusal("redis://no-such-host.invalid")


async def test_a_socket_that_does_not_exist() -> None:
    assert "/nowhere/redis.sock" in await refusal("unix:///nowhere/redis.sock")


async def test_a_missing_password(guarded: RedisServer) -> None:
    assert "asks for a password" in await refusal(guarded.url)


async def test_a_wrong_password(guarded: RedisServer) -> None:
    assert "wrong user name or password" in await refusal(f"redis://:sesame2@127.0.0.1:{guarded.port}")


async def test_the_right_password_and_a_database(guarded: RedisServer) -> None:
    broker = RedisBroker([f"redis://:sesame@127.0.0.1:{guarded.port}/3"], tuning=TUNING)
    await broker.start(Recorder())
    assert broker.problem == ""
    await broker.close()


async def test_a_user_with_just_enough_permissions(guarded: RedisServer) -> None:
    broker = RedisBroker([f"redis://narrow:pw@127.0.0.1:{guarded.port}"], tuning=TUNING)
    await broker.start(Recorder())
    await broker.close()


@pytest.mark.parametrize(
    ("user", "hint"), [("reader", "XADD"), ("deaf", "channel"), ("noscript", "script|load")]
)
async def test_an_acl_without_a_needed_permission(guarded: RedisServer, user: str, hint: str) -> None:
    text = await refusal(f"redis://{user}:pw@127.0.0.1:{guarded.port}")
    assert f"the ACL of user {user!r} lacks a permission" in text
    assert hint in text


def test_the_hint_names_every_command_of_the_scripts() -> None:
    found = {
        command
        for script in (ROOT / "gateway").rglob("*.lua")
        if script.name != "online.lua"  # off unless wanted; a test of its own names what it needs
        for command in re.findall(r"(?:redis\.call\(|command, from, to = )'([A-Z]+)'", script.read_text())
    }
    assert found | {"PUBLISH"} == set(SCRIPT_COMMANDS.split())
    page = (ROOT / "docs/redis.md").read_text(encoding="utf-8")
    assert SCRIPT_COMMANDS in page.replace("\n  ", " ")


async def test_one_of_several_that_is_not_there(guarded: RedisServer) -> None:
    port = free_port()
    broker = RedisBroker([shared_servers()[0].url, f"redis://127.0.0.1:{port}"], tuning=TUNING)
    with pytest.raises(UpstreamError, match=str(port)):
        await broker.start(Recorder())


async def test_tls(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    files = ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate]
    port = str(free_port())
    with RedisServer("--save", "", "--tls-port", port, *files, "--tls-auth-clients", "no"):
        url = f"rediss://localhost:{port}"
        assert "certificate verify failed" in await refusal(url)
        for good in (f"{url}?ssl_ca_certs={certificate}", f"{url}?ssl_cert_reqs=none"):
            broker = RedisBroker([good], tuning=Tuning())
            await broker.start(Recorder())
            await broker.close()
            await asyncio.to_thread(publish_sync, good)


def publish_sync(url: str) -> None:
    with SyncPublisher(url) as publisher:
        publisher.publish("news", 1)


def make_certificate(directory: Path) -> tuple[str, str]:
    """A certificate for localhost that signs itself, and its key: their paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "certificate.pem", directory / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return str(paths[0]), str(paths[1])


async def test_a_database_that_does_not_exist() -> None:
    assert "no database 99" in await refusal(f"{shared_servers()[0].url}/99")


async def test_a_node_of_a_cluster_given_as_a_single_server() -> None:
    assert "redis+cluster://" in await refusal(shared_cluster()[0].url)


async def test_a_single_server_given_as_a_cluster() -> None:
    port = shared_servers()[0].port
    assert "no Redis Cluster" in await refusal(f"redis+cluster://127.0.0.1:{port}")


async def test_a_single_server_given_as_a_sentinel() -> None:
    port = shared_servers()[0].port
    assert "no Sentinel" in await refusal(f"redis+sentinel://127.0.0.1:{port}/main")


async def test_a_replica() -> None:
    master = shared_servers()[0]
    with RedisServer("--save", "", "--replicaof", f"127.0.0.1 {master.port}") as replica:
        assert "replica" in await refusal(replica.url)


@asynccontextmanager
async def impostor(*answers: bytes) -> AsyncIterator[str]:
    """Something that answers each write with the next of `answers`, and then with silence."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            if not await reader.read(4096):
                break
            writer.write(answer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()


async def test_a_redis_that_does_not_know_hello() -> None:
    async with impostor(b"-ERR unknown command `HELLO`, with args beginning with:\r\n") as url:
        assert "too old" in await refusal(url)


async def test_a_redis_that_is_too_old() -> None:
    answer = b"*4\r\n$7\r\nversion\r\n$5\r\n6.0.9\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n"
    async with impostor(answer) as url:
        assert "version 6.0.9 is too old" in await refusal(url)


async def test_something_that_does_not_speak_redis() -> None:
    async with impostor(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        assert "does not speak Redis" in await refusal(url)


async def test_something_that_says_nothing() -> None:
    async with impostor() as url:
        assert "no answer" in await refusal(url)


async def test_no_url_and_several_clusters() -> None:
    for urls in ([], ["redis://a", "redis+cluster://b"]):
        with pytest.raises(UpstreamError):
            RedisBroker(urls)
