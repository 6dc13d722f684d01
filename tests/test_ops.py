"""/healthz, /readyz and /metrics, over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.brokers.memory import MemoryBroker
from gateway.metrics import Counts
from tests.http_world import KEY, World, running_world


class BrokenBroker(MemoryBroker):
    """A broker that says what is wrong with it."""

    @property
    def problem(self) -> str:
        return "redis.url: no connection for 3 s"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running_world() as running:
        yield running


@pytest.mark.parametrize("path", ["/healthz", "/health"])
async def test_alive(world: World, path: str) -> None:
    response = await world.http.get(path)
    assert (response.status_code, response.json()) == (200, {})


async def test_ready_and_then_draining(world: World) -> None:
    response = await world.http.get("/readyz")
    assert (response.status_code, response.json()) == (200, {"ready": True})
    assert response.headers["cache-control"] == "no-store"
    world.node.draining = True
    response = await world.http.get("/readyz")
    assert response.status_code == 503
    assert response.json()["ready"] is False
    assert "shutting down" in response.json()["problem"]
    assert (await world.http.get("/healthz")).status_code == 200


async def test_not_ready_names_the_problem() -> None:
    async with running_world(broker=BrokenBroker()) as world:
        response = await world.http.get("/readyz")
        assert response.status_code == 503
        assert response.json() == {"ready": False, "problem": "redis.url: no connection for 3 s"}
        assert (await world.http.get("/healthz")).status_code == 200


async def test_metrics_are_prometheus_text(world: World) -> None:
    world.metrics.watch(lambda: Counts(connections=7))
    response = await world.http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    families = {family.name for family in text_string_to_metric_families(response.text)}
    assert {"gateway_connections", "gateway_api_calls", "gateway_api_seconds"} <= families
    assert "gateway_connections 7.0" in response.text
    assert KEY not in response.text


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_head_get_and_nothing_else(world: World, path: str) -> None:
    response = await world.http.head(path)
    assert (response.status_code, response.content) == (200, b"")
    response = await world.http.post(path)
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")
    assert response.json()["code"] == 104


@pytest.mark.parametrize("path", ["/", "/metrics/", "/readyz/x", "/apix", "/static/app.js", "/%00"])
async def test_anything_else_is_a_404_that_helps(world: World, path: str) -> None:
    response = await world.http.get(path)
    assert response.status_code == 404
    assert response.json()["code"] == 104
    assert "/api/{method}" in response.json()["message"]
