"""Phones of each SDK."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.gateway_process import GatewayProcess
from tests.sdk.js_phone import FOLDER, JsPhone
from tests.sdk.phone import Phone
from tests.sdk.proxy import Proxy, proxy_to
from tests.sdk.python_phone import PythonPhone

MakePhone = Callable[..., Awaitable[Phone]]


@pytest.fixture(params=["python", "js"])
async def make_phone(request: pytest.FixtureRequest) -> AsyncIterator[MakePhone]:
    """Makes started, unconnected phones of one SDK, and ends them all."""
    if request.param == "js" and not (shutil.which("node") and (FOLDER / "node_modules/centrifuge").is_dir()):
        missing = "Node with the packages of tests/sdk/js is missing: scripts/test installs them"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    phones: list[Phone] = []

    async def make(url: str, **options: Any) -> Phone:
        phone: Phone = PythonPhone() if request.param == "python" else JsPhone()
        phones.append(phone)
        await phone.start(url, **options)
        return phone

    yield make
    for phone in phones:
        await phone.stop()


@pytest.fixture
async def proxy(gateway: GatewayProcess) -> AsyncIterator[Proxy]:
    """A network in front of the shared gateway that can be cut."""
    async with proxy_to(gateway.websocket_port) as proxy:
        yield proxy
