"""Handlers in Python beside the gateway: a shop that counts its stock.

Run it from the root of the repository:

    .venv/bin/gateway dev examples.shop:gateway
"""

from __future__ import annotations

import logging
from itertools import count
from typing import Any

from gateway import Caller, ClientError, Error, Gateway

gateway = Gateway(timeout=5)

# Codes from 1000 to 1999 are nobody else's; a code means the same in every handler.
SOLD_OUT = Error(1000, "sold out")
NO_SUCH_ITEM = Error(1001, "no such item")

stock = {"tea": 3, "cake": 1}
order_numbers = count(1)
log = logging.getLogger("shop")


@gateway.rpc("stock.list")
async def list_stock(caller: Caller, data: Any) -> dict[str, int]:
    """What is left. Whatever has a JSON form can be an answer."""
    return stock


@gateway.rpc("order.create")
async def create_order(caller: Caller, data: Any) -> dict[str, Any]:
    """Sell one item to the user who asks. `caller.user` is the openid, which no client can forge."""
    item = data.get("item") if isinstance(data, dict) else None
    if item not in stock:
        raise ClientError(NO_SUCH_ITEM)
    if not stock[item]:
        raise ClientError(SOLD_OUT)
    stock[item] -= 1
    return {"order": next(order_numbers), "item": item, "buyer": caller.user}


@gateway.on_send
def page_opened(caller: Caller, data: Any) -> None:
    """A message that wants no answer. A function without `async` runs in a thread, so it may block."""
    log.info("%s opened %s", caller.user, data)
