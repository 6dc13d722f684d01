"""Methods of the server API about what waits for users: deliveries."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from gateway.errors import ERROR_BAD_REQUEST, ClientError
from gateway.http.api_methods import ID_SIZE, Handler, Method
from gateway.inbox.records import ID_LIMIT
from gateway.inbox.service import Delivery, Inbox


class OneDelivery(Struct, frozen=True):
    id: str = ""


class OfUser(Struct, frozen=True):
    user: str = ""


class Deliveries(Struct, frozen=True):
    deliveries: list[Delivery]


def table_of(methods: Mapping[str, tuple[type[Struct], Handler]]) -> dict[str, Method]:
    """Methods with the decoders of their parameters."""
    return {name: (msgspec.json.Decoder(kind), handler) for name, (kind, handler) in methods.items()}


def inbox_methods(inbox: Inbox) -> dict[str, Method]:
    """`delivery` and `deliveries`."""

    async def delivery(request: OneDelivery) -> Struct:
        if not request.id or len(request.id) > ID_LIMIT:
            raise ClientError(ERROR_BAD_REQUEST, "id is missing or too long")
        return await inbox.delivery(request.id)

    async def deliveries(request: OfUser) -> Struct:
        return Deliveries(await inbox.deliveries(checked_user(request.user)))

    return table_of({"delivery": (OneDelivery, delivery), "deliveries": (OfUser, deliveries)})


def checked_user(user: str) -> str:
    """A user's name; raises ClientError where there is none."""
    if not user or len(user) > ID_SIZE:
        raise ClientError(ERROR_BAD_REQUEST, f"user is missing, or has more than {ID_SIZE} characters")
    return user
