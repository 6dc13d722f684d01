"""What holds for every test: product code blocks no loop, and no test leaves a task behind."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings

from tests import gateway_process
from tests.gateway_process import GatewayProcess
from tests.timing import MS

# How long one example takes says something of the machine, and nothing of the product.
settings.register_profile("gateway", deadline=None)
settings.load_profile("gateway")


@pytest.fixture(scope="session", autouse=True)
def blocking_call_guard() -> Iterator[None]:
    """A blocking call with `gateway` on the stack and a running loop raises BlockingError."""
    with blockbuster_ctx("gateway"):
        yield


@pytest.fixture(autouse=True)
def no_leaked_tasks(request: pytest.FixtureRequest) -> None:
    """Only for async tests: a sync one has no loop to leave anything in."""
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        request.getfixturevalue("_leaked_task_check")


@pytest.fixture
async def _leaked_task_check() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    deadline = asyncio.get_running_loop().time() + 200 * MS
    while left := asyncio.all_tasks() - before - {asyncio.current_task()}:
        # A task that was cancelled last thing may need some turns of the loop to end.
        assert asyncio.get_running_loop().time() < deadline, f"the test left tasks behind: {left}"
        await asyncio.sleep(MS)


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Ports of 127.0.0.1 that nobody listens to."""
    return gateway_process.free_port


@pytest.fixture(scope="session")
def shared_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One running gateway for all tests that leave nothing behind in it but channels of their own."""
    process = GatewayProcess(Path(tmp_path_factory.mktemp("gateway")))
    process.start()
    yield process
    process.stop()


@pytest.fixture
def gateway(shared_gateway: GatewayProcess) -> Iterator[GatewayProcess]:
    """The shared gateway; after each test it is still alive and has no traceback in its log."""
    yield shared_gateway
    shared_gateway.check_health()
