"""The same shop as a web service: the gateway asks it over HTTP, and it asks the gateway. From the root:

    .venv/bin/uvicorn --port 3000 examples.shop.backend:app
    .venv/bin/gateway dev --config examples/shop/proxies.toml

The JSON is Centrifugo's, so a backend in any language looks like this one.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel

from examples.shop.counter import Counter, Order, Refusal, tidy

API: Final = os.environ.get("SHOP_GATEWAY_API", "http://127.0.0.1:9000/api")
API_KEY: Final = os.environ.get("SHOP_API_KEY", "dev")
SECRET: Final = os.environ.get("SHOP_SECRET", "shared with proxies.toml").encode()
READY_TEMPLATE: Final = "order-is-ready"  # the id of a subscribe message, as mp.weixin.qq.com shows it

counter = Counter()
here: set[str] = set()

Answer = dict[str, Any]


class Call(BaseModel):
    """What the gateway sends, of all events; each has its part of it."""

    user: str = ""
    channel: str = ""
    method: str = ""
    data: Any = None


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with httpx.AsyncClient(base_url=API, headers={"X-API-Key": API_KEY}, trust_env=False) as client:
        app.state.gateway = client
        yield


async def signed(request: Request) -> None:
    """Only the gateway knows the secret: whoever else finds this port can be no user."""
    message = request.headers.get("x-gateway-timestamp", "").encode() + b"." + await request.body()
    expected = hmac.new(SECRET, message, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, request.headers.get("x-gateway-signature", "")):
        raise HTTPException(403, "not signed by the gateway")


app = FastAPI(lifespan=lifespan)
events = FastAPI(dependencies=[Depends(signed)])


def refused(refusal: Refusal) -> Answer:
    return {"error": {"code": refusal.code, "message": str(refusal)}}


def receipt(order: Order) -> Answer:
    return {"order": order.number, "item": order.item, "buyer": order.buyer, "state": order.state}


@events.post("/connect")
async def connect(call: Call) -> Answer:
    return {"result": {"data": {"menu": sorted(counter.stock)}, "channels": ["announcements"]}}


@events.post("/subscribe")
async def subscribe(call: Call) -> Answer:
    if not counter.owns(call.user, call.channel):
        return {"error": {"code": 103, "message": "permission denied"}}
    return {"result": {}}


@events.post("/publish")
async def publish(call: Call) -> Answer:
    try:
        return {"result": {"data": {"text": tidy(str(call.data["text"]))}}}
    except Refusal as refusal:
        return refused(refusal)
    except (KeyError, TypeError):
        return {"error": {"code": 107, "message": "bad request: data.text is missing"}}


@events.post("/rpc")
async def rpc(call: Call) -> Answer:
    try:
        answer = await answer_rpc(call.method, call.user, call.data if isinstance(call.data, dict) else {})
    except Refusal as refusal:
        return refused(refusal)
    except (KeyError, TypeError, ValueError):
        return {"error": {"code": 107, "message": "bad request"}}
    if answer is None:
        return {"error": {"code": 104, "message": "method not found"}}
    return {"result": {"data": answer}}


async def answer_rpc(method: str, user: str, data: Answer) -> Answer | None:
    match method:
        case "stock.list":
            return dict(counter.stock)
        case "order.create":
            return receipt(counter.order(user, str(data["item"])))
        case "order.pay":
            order = counter.pay(user, int(data["order"]))
            await tell(order)
            return receipt(order)
        case "shop.visitors":
            return {"visitors": len(here)}
        case _:
            return None


@events.post("/user_event")
async def user_event(event: dict[str, Any]) -> Answer:
    match event["event"]:
        case "online":
            here.add(event["user"])
        case "disconnect":
            here.discard(event["user"])
    return {"result": {}}


@app.post("/desk/{number}/ready")
async def ready(number: int) -> Answer:
    """The tea is on the counter: the buyer hears of it, by a WeChat message if the phone is away."""
    order = counter.orders.get(number)
    if order is None:
        raise HTTPException(404, "no such order")
    order.state = "ready"
    await tell(order)
    notice = {
        "user": order.buyer,
        "data": receipt(order),
        "idempotency_key": f"ready-{number}",
        "fallback": {
            "template_id": READY_TEMPLATE,
            "page": f"pages/order/order?number={number}",
            "data": {"thing1": {"value": order.item}, "number2": {"value": str(number)}},
            "after": "10s",
        },
    }
    return await ask("notify", notice)


async def tell(order: Order) -> None:
    """All phones of the buyer that look at the order. The key makes a repeated call publish nothing twice."""
    key = f"{order.number}-{order.state}"
    await ask("publish", {"channel": order.channel, "data": receipt(order), "idempotency_key": key})


async def ask(method: str, params: Answer) -> Answer:
    """A call of the server API; its errors are bugs of this shop."""
    response = await app.state.gateway.post(f"/{method}", json=params)
    answer: Answer = response.raise_for_status().json()
    if "error" in answer:
        raise RuntimeError(f"{method}: {answer['error']}")
    return dict(answer["result"])


app.mount("/gateway", events)
