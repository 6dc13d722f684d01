"""The shop's handlers, in the gateway's own process. Run it from the root of the repository:

    .venv/bin/gateway dev examples.shop:gateway

`examples/shop/backend.py` is the same shop as a web service of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from examples.shop.counter import Counter, Order, Refusal, tidy
from gateway import ClientError, Context, Error, Gateway, SyncContext, UserEvent

P = ParamSpec("P")
T = TypeVar("T")

gateway = Gateway(timeout=5)
counter = Counter()
here: set[str] = set()
log = logging.getLogger("shop")


@dataclass
class Wish:
    item: str


@dataclass
class Paid:
    order: int


@dataclass
class Remark:
    text: str


def told(act: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """What the counter refuses, as the phone hears it: an error with the counter's code."""
    try:
        return act(*arguments, **named)
    except Refusal as refusal:
        raise ClientError(Error(refusal.code, str(refusal))) from None


def receipt(order: Order) -> dict[str, Any]:
    return {"order": order.number, "item": order.item, "buyer": order.buyer, "state": order.state}


@gateway.on_connect
async def welcome(ctx: Context) -> dict[str, Any]:
    """Every phone gets the menu with its sign-in, and hears announcements without asking."""
    return {"data": {"menu": sorted(counter.stock)}, "channels": ["announcements"]}


@gateway.on_subscribe("order:*")
async def may_follow(ctx: Context, channel: str) -> bool:
    """An order is its buyer's business. `ctx.user` is the openid, which no client can forge."""
    return counter.owns(ctx.user, channel)


@gateway.on_publish("chat:*")
async def say(ctx: Context, channel: str, remark: Remark) -> dict[str, Any]:
    """What goes out is what the shop makes of it."""
    return {"data": {"text": told(tidy, remark.text)}}


@gateway.rpc("stock.list")
async def list_stock(ctx: Context) -> dict[str, int]:
    """What is left. Whatever has a JSON form can be an answer."""
    return counter.stock


@gateway.rpc("order.create")
async def create_order(ctx: Context, wish: Wish) -> dict[str, Any]:
    """Sell one item. A phone that sends something else than a wish is told which field is wrong."""
    return receipt(told(counter.order, ctx.user, wish.item))


@gateway.rpc("order.pay")
async def pay_order(ctx: Context, paid: Paid) -> dict[str, Any]:
    """All phones of the buyer hear of it at once. The key makes a repeated call publish nothing twice."""
    order = told(counter.pay, ctx.user, paid.order)
    await ctx.publish(order.channel, receipt(order), idempotency_key=f"{order.number}-{order.state}")
    return receipt(order)


@gateway.on_send
def page_opened(ctx: SyncContext, data: Any) -> None:
    """A message that wants no answer. A function without `async` runs in a thread, so it may block."""
    log.info("%s opened %s", ctx.user, data)


@gateway.on_online
async def came(event: UserEvent) -> None:
    """A user is here: their first phone has come."""
    here.add(event.user)


@gateway.on_disconnect
async def left(event: UserEvent) -> None:
    """A user is gone, and not only in the background for a moment."""
    here.discard(event.user)


@gateway.rpc("shop.visitors")
async def visitors(ctx: Context) -> dict[str, int]:
    return {"visitors": len(here)}
