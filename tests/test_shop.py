"""The example shop, as handlers and as a web service: phones cannot tell which one is behind the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.dev_gateway import DevGateway, dev_gateway
from tests.gateway_process import ROOT, free_port
from tests.sdk.phone import PhoneError
from tests.sdk.python_phone import PythonPhone
from tests.timing import MS

PATIENCE = 20_000 * MS
PROXIES = ROOT / "examples/shop/proxies.toml"


@dataclass(frozen=True)
class Shop:
    """`desk`: the web service, where there is one."""

    gateway: DevGateway
    desk: str = ""


@contextlib.contextmanager
def web_service(port: int, gateway: DevGateway) -> Iterator[None]:
    command = [sys.executable, "-m", "uvicorn", "--port", str(port), "--log-level", "warning"]
    environment = os.environ | {"SHOP_GATEWAY_API": f"http://127.0.0.1:{gateway.ports[2]}/api"}
    process = subprocess.Popen([*command, "examples.shop.backend:app"], cwd=ROOT, env=environment)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)
                break
            assert process.poll() is None and time.monotonic() < deadline, "the web service does not start"
            time.sleep(20 * MS)
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


@pytest.fixture(params=["handlers", "web service"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    dev = (sys.executable, "-m", "gateway", "dev")
    if request.param == "handlers":
        with dev_gateway(tmp_path, (*dev, "examples.shop:gateway")) as gateway:
            yield Shop(gateway)
        return
    port = free_port()
    config = tmp_path / "proxies.toml"
    config.write_text(PROXIES.read_text("utf-8").replace(":3000/", f":{port}/"), "utf-8")
    with dev_gateway(tmp_path, (*dev, "--config", str(config))) as gateway:
        with web_service(port, gateway):
            yield Shop(gateway, f"http://127.0.0.1:{port}")


@pytest.fixture
async def phones(shop: Shop) -> AsyncIterator[list[PythonPhone]]:
    """Alice's and Bob's, signed in; each has what the shop gave it on the way."""
    phones = []
    for name in ("alice", "bob"):
        phone = PythonPhone()
        login = httpx.post(f"{shop.gateway.http_url}/sandbox/login", json={"user": name}, trust_env=False)
        url = f"ws://127.0.0.1:{shop.gateway.ports[0]}/connection/websocket"
        await phone.start(url, data=login.json())
        await phone.act("connect")
        phones.append(phone)
    yield phones
    for phone in phones:
        await phone.stop()


async def refusal(phone: PythonPhone, method: str, data: Any) -> int:
    with pytest.raises(PhoneError) as refused:
        await phone.act("rpc", method=method, data=data)
    return refused.value.code


async def test_a_day_in_the_shop(shop: Shop, phones: list[PythonPhone]) -> None:
    alice, bob = phones
    welcome = await alice.event("connected")
    assert welcome["data"]["menu"] == ["cake", "tea"]
    assert welcome["data"]["token"], "the sign-in's own answer is there too"
    await alice.event("subscribed", server=True, channel="announcements")

    order = (await alice.act("rpc", method="order.create", data={"item": "cake"}))["data"]
    assert await refusal(bob, "order.create", {"item": "cake"}) == 1000, "the last one is sold"
    assert await refusal(bob, "order.create", {"item": "gold"}) == 1001
    assert await refusal(bob, "order.create", {}) == 107
    assert await refusal(bob, "order.cancel", {}) == 104

    channel = f"order:{order['order']}"
    await alice.act("subscribe", channel=channel)
    await alice.event("subscribed", channel=channel)
    await bob.act("subscribe", channel=channel)
    assert (await bob.event("unsubscribed", channel=channel))["code"] == 103, "somebody else's order"
    assert await refusal(bob, "order.pay", {"order": order["order"]}) == 1002

    for _ in range(2):  # a phone that repeats itself
        await alice.act("rpc", method="order.pay", data={"order": order["order"]})
    await alice.event("publication", channel=channel, data={**order, "state": "paid"})

    for phone in phones:
        await phone.act("subscribe", channel="chat:counter")
        await phone.event("subscribed", channel="chat:counter")
    await bob.act("publish", channel="chat:counter", data={"text": "  more \n cake? "})
    assert (await alice.event("publication", channel="chat:counter"))["data"] == {"text": "more cake?"}
    with pytest.raises(PhoneError) as refused:
        await bob.act("publish", channel="chat:counter", data={"text": "?" * 201})
    assert refused.value.code == 1003

    await until_both_are_here(bob)
    if shop.desk:
        await at_the_desk(shop.desk, order, alice)
    heard = [each for each in alice.events if each["event"] == "publication" and each["channel"] == channel]
    assert [each["data"]["state"] for each in heard].count("paid") == 1, "told once"


async def until_both_are_here(phone: PythonPhone) -> None:
    deadline = time.monotonic() + PATIENCE
    while (await phone.act("rpc", method="shop.visitors", data={}))["data"]["visitors"] != 2:
        assert time.monotonic() < deadline
        await asyncio.sleep(20 * MS)


async def at_the_desk(desk: str, order: dict[str, Any], buyer: PythonPhone) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{desk}/desk/{order['order']}/ready")
        unsigned = await http.post(f"{desk}/gateway/rpc", json={"method": "stock.list"})
    assert answer.status_code == 200
    assert answer.json()["id"], "of the notification"
    assert unsigned.status_code == 403, "only the gateway asks"
    await buyer.event("publication", channel=f"order:{order['order']}", data={**order, "state": "ready"})
