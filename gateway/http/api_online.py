"""The methods of the server API about users over all nodes: who is online, and everybody, page by page."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from gateway.errors import ERROR_BAD_REQUEST, ClientError
from gateway.http.api_methods import ID_SIZE, Method
from gateway.online.contract import Described, State
from gateway.online.service import Online

USERS_LIMIT: Final = 1000
"""Users of one question."""
PAGE_LIMIT: Final = 5000
"""Users of one page of a snapshot, roughly: Redis hands them out in small heaps."""


class Users(Struct, frozen=True):
    users: list[str] = []


class ReadSnapshot(Struct, frozen=True):
    cursor: str = ""
    limit: Annotated[int, Meta(ge=1, le=PAGE_LIMIT)] = 1000


class UserState(Struct, frozen=True, omit_defaults=True):
    """`id` and `at` (unix milliseconds) are those of the last change; left out for who was never seen."""

    state: State
    generation: int = 0
    id: int = 0
    at: int = 0


class UsersResult(Struct, frozen=True):
    users: dict[str, UserState]


class SnapshotUser(Struct, frozen=True):
    user: str
    state: State
    generation: int
    id: int
    at: int


class SnapshotResult(Struct, frozen=True, omit_defaults=True):
    """`cursor`: for the next page, left out on the last. `position`: events up to it are in the snapshot."""

    users: list[SnapshotUser]
    position: int
    cursor: str = ""


class OnlineMethods:
    """The methods; `table` is like that of `api_methods.Methods`."""

    def __init__(self, online: Online) -> None:
        self._online = online
        self.table: dict[str, Method] = {
            "online": (msgspec.json.Decoder(Users), self._users),
            "online_snapshot": (msgspec.json.Decoder(ReadSnapshot), self._snapshot),
        }

    async def _users(self, request: Users) -> Struct:
        if not request.users or len(request.users) > USERS_LIMIT:
            raise ClientError(ERROR_BAD_REQUEST, f"users has 1 to {USERS_LIMIT} of them")
        if any(len(user) > ID_SIZE for user in request.users):
            raise ClientError(ERROR_BAD_REQUEST, f"a user has more than {ID_SIZE} characters")
        return UsersResult({each.user: _state(each) for each in await self._online.states(request.users)})

    async def _snapshot(self, request: ReadSnapshot) -> Struct:
        if len(request.cursor) > ID_SIZE * 2:
            raise ClientError(ERROR_BAD_REQUEST, "this is no cursor of a snapshot")
        cursor, position, users = await self._online.snapshot(request.cursor, request.limit)
        return SnapshotResult([SnapshotUser(*each) for each in users], position, cursor)


def _state(described: Described) -> UserState:
    return UserState(described.state, described.generation, described.id, described.at)
