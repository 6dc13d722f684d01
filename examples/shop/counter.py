"""The shop itself: what is in stock, who ordered what. Nothing of it knows of phones or of the gateway."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Literal

OrderState = Literal["new", "paid", "ready"]


class Refusal(Exception):
    """The customer cannot have this; `code` is for the phone's program, the text for the customer.

    Codes from 1000 to 1999 are nobody else's. A code means the same in every answer of the shop.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(slots=True)
class Order:
    number: int
    item: str
    buyer: str
    state: OrderState = "new"

    @property
    def channel(self) -> str:
        """Where the buyer's phones hear of it."""
        return f"order:{self.number}"


@dataclass(slots=True)
class Counter:
    """All in memory; a real shop has a database here."""

    stock: dict[str, int] = field(default_factory=lambda: {"tea": 3, "cake": 1})
    orders: dict[int, Order] = field(default_factory=dict)
    numbers: count[int] = field(default_factory=lambda: count(1))

    def order(self, buyer: str, item: str) -> Order:
        """Sell one. Raises Refusal 1000 where it is sold out, 1001 where there is no such thing."""
        if item not in self.stock:
            raise Refusal(1001, "no such item")
        if not self.stock[item]:
            raise Refusal(1000, "sold out")
        self.stock[item] -= 1
        order = Order(next(self.numbers), item, buyer)
        self.orders[order.number] = order
        return order

    def of(self, buyer: str, number: int) -> Order:
        """An order of this buyer. Raises Refusal 1002, also for the orders of others."""
        order = self.orders.get(number)
        if order is None or order.buyer != buyer:
            raise Refusal(1002, "no such order")
        return order

    def pay(self, buyer: str, number: int) -> Order:
        """Paid once, however often the phone sends it. Raises Refusal 1002."""
        order = self.of(buyer, number)
        if order.state == "new":
            order.state = "paid"
        return order

    def owns(self, user: str, channel: str) -> bool:
        """Whether `channel` is that of an order of this user."""
        number = channel.removeprefix("order:")
        return number.isdecimal() and int(number) in self.orders and self.orders[int(number)].buyer == user


def tidy(text: str) -> str:
    """What a customer says in the shop's chat, without the air around it. Raises Refusal 1003."""
    text = " ".join(text.split())
    if not 1 <= len(text) <= 200:
        raise Refusal(1003, "say something in at most 200 characters")
    return text
