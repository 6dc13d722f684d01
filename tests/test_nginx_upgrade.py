"""An upgrade behind nginx: two gateways on one Redis are restarted in turn, and nobody loses a thing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config import Settings
from gateway.nginx.site import Node
from tests.certificates import Authority
from tests.gateway_process import GatewayProcess, token, unique
from tests.nginx_process import NginxProcess, port_of, render, site_for
from tests.redis_server import RedisServer
from tests.sdk.python_phone import PythonPhone
from tests.timing import MS

MORE = """
[redis]
url = "{url}"
[session]
encryption_key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
"""
PHONES = 6


class Cluster:
    """Two nodes, and the address of the nginx before them."""

    def __init__(self, nodes: list[GatewayProcess], url: str) -> None:
        self.nodes = nodes
        self.url = url


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    authority = Authority(tmp_path)
    pair = authority.issue("127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.root))
    with RedisServer() as redis:
        nodes = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            nodes.append(GatewayProcess(tmp_path / name, more=MORE.format(url=redis.url)))
            nodes[-1].start()
        addresses = tuple(Node("127.0.0.1", node.websocket_port, node.http_port) for node in nodes)
        site = site_for(nodes[0], tmp_path, pair, "local.example.com", nodes=addresses)
        port = port_of(site.listens)
        with NginxProcess(tmp_path / "nginx", [render(site, Settings())], [port]):
            yield Cluster(nodes, f"wss://127.0.0.1:{port}/connection/websocket")
        for node in nodes:
            node.stop()


async def test_a_rolling_upgrade_loses_nothing(cluster: Cluster) -> None:
    phones = [PythonPhone() for _ in range(PHONES)]
    channel = unique("news")
    for phone in phones:
        await phone.start(cluster.url, token=token(unique("user")))
        await phone.connect()
        await phone.subscribe(channel)
    sent = 0
    for node, other in (cluster.nodes, cluster.nodes[::-1]):
        restarting = asyncio.create_task(asyncio.to_thread(_restart, node))
        while not restarting.done():
            await other.publish(channel, sent)
            sent += 1
            await asyncio.sleep(10 * MS)
        await restarting
    await cluster.nodes[0].publish(channel, sent)
    for phone in phones:
        await phone.event("publication", channel=channel, data=sent)
        assert phone.data(channel) == list(range(sent + 1))
        assert all(each["recovered"] for each in phone.seen("subscribed", channel=channel)[1:])
        await phone.stop()
    assert sum(len(phone.seen("connected")) - 1 for phone in phones) >= PHONES, "each was moved once or twice"


def _restart(node: GatewayProcess) -> None:
    node.stop()
    node.start()
