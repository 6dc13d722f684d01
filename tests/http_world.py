"""A real node with the memory broker behind the real HTTP apps, on real sockets in the test's loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx

from gateway.brokers.memory import MemoryBroker, MemoryPresenceStore
from gateway.config import Settings, load
from gateway.http.dashboard import Dashboard
from gateway.http.internal import InternalApp
from gateway.http.listener import HTTPListener
from gateway.http.ops import OpsApp
from gateway.http.server_api import ServerAPI
from gateway.metrics import Metrics
from gateway.node.node import Node
from gateway.outbox import Outboxes

KEY = "the key of the tests"
OTHER_KEY = "another key"
CHANNELS: dict[str, Any] = {
    "history_size": 100,
    "history_ttl": "1m",
    "presence": True,
    "namespaces": {"plain": {}},
}


def settings_for(**tables: Any) -> Settings:
    """Settings with the keys and channels of these tests; `tables` replace whole tables."""
    overrides = {"api": {"keys": [KEY, OTHER_KEY]}, "channels": CHANNELS} | tables
    return load(None, {}, overrides)


def build_node(settings: Settings, metrics: Metrics, broker: MemoryBroker | None = None) -> Node:
    loop = asyncio.get_running_loop()
    return Node(
        settings,
        broker or MemoryBroker(),
        MemoryPresenceStore(),
        Outboxes(loop.call_soon, time.monotonic, metrics),
        metrics,
        node_id="node-1",
        name="test",
    )


@dataclass
class World:
    """What a test of the internal listener needs."""

    node: Node
    metrics: Metrics
    dashboard: Dashboard
    url: str
    http: httpx.AsyncClient

    async def call(self, method: str, body: object = None, **headers: str) -> httpx.Response:
        """`POST /api/{method}` with the key."""
        fields = {"X-API-Key": KEY} | {name.replace("_", "-"): value for name, value in headers.items()}
        content = {"content": body} if isinstance(body, bytes) else {"json": {} if body is None else body}
        return await self.http.post(f"/api/{method}", headers=fields, **content)

    async def result(self, method: str, body: object = None) -> Any:
        """The result of a call that must succeed."""
        response = await self.call(method, body)
        assert response.status_code == 200, response.text
        assert "result" in response.json(), response.text
        return response.json()["result"]

    async def error(self, method: str, body: object = None) -> dict[str, Any]:
        """The error of a call that must fail with 200."""
        response = await self.call(method, body)
        assert response.status_code == 200, response.text
        assert response.json().keys() == {"error"}
        error: dict[str, Any] = response.json()["error"]
        assert error["message"]
        return error


@contextlib.asynccontextmanager
async def running_world(
    settings: Settings | None = None, broker: MemoryBroker | None = None
) -> AsyncIterator[World]:
    """A node behind the internal listener, with `broker` instead of a working one."""
    settings = settings or settings_for()
    metrics = Metrics()
    node = build_node(settings, metrics, broker)
    await node.start()
    api = ServerAPI(node, settings, metrics)
    dashboard = Dashboard(settings, api)
    app = InternalApp(api, OpsApp(node, metrics), dashboard=dashboard)
    listener = HTTPListener(app, "127.0.0.1", 0, setting="listen.internal")
    url = f"http://127.0.0.1:{await listener.start()}"
    try:
        async with httpx.AsyncClient(base_url=url) as client:
            yield World(node, metrics, dashboard, url, client)
    finally:
        await listener.stop(grace=1)
        await node.close()
