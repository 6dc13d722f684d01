"""Who asks, and what they may do with a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.auth.credentials import Authenticator
from gateway.channels import Access, Who
from gateway.errors import (
    ERROR_FILE_NOT_FOUND,
    ERROR_NOT_AVAILABLE,
    ERROR_PERMISSION_DENIED,
    ERROR_UNAUTHORIZED,
    ClientError,
    Disconnect,
    UpstreamError,
)
from gateway.files.links import Links
from gateway.node.node import Node
from gateway.storage.base import Meta

TOKEN_LIMIT: Final = 8192
"""Characters of a token: a JWT with many claims."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A signed-in user. The appid is empty for users of a JWT."""

    user: str
    appid: str = ""
    session: str = ""

    def owns(self, meta: Meta) -> bool:
        return (meta.user, meta.appid) == (self.user, self.appid)


class FileAccess:
    """The rules. `wall`: unix seconds."""

    def __init__(
        self,
        node: Node,
        authenticator: Authenticator,
        links: Links,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._node = node
        self._authenticator = authenticator
        self._links = links
        self._wall = wall

    # ------------------------------------------------------------------ who
    async def owner(self, headers: Mapping[str, str], token: str = "") -> Owner:
        """The user of a token: a session's, or a JWT. It comes in `Authorization: Bearer` or `X-WX-Token`, or
        as `token` from a form; never in a query, which ends up in logs.

        Raises:
            ClientError: 101 without a token, or with one that is not good; 109 where it has expired.
        """
        token = token_of(headers) or token
        if not token or len(token) > TOKEN_LIMIT:
            raise ClientError(ERROR_UNAUTHORIZED, "send your token as Authorization: Bearer or X-WX-Token")
        try:
            credentials = await self._authenticator.token(token)
        except ClientError as error:
            if isinstance(error.outcome, Disconnect):
                raise ClientError(ERROR_UNAUTHORIZED, "this token is not valid here") from None
            raise
        if not credentials.user:
            raise ClientError(ERROR_UNAUTHORIZED, "files need a signed-in user")
        return Owner(credentials.user, credentials.appid, credentials.session)

    # ------------------------------------------------------------------ what
    async def check_publish(self, owner: Owner, channel: str) -> None:
        """Whether the owner may publish there. Raises ClientError: 102, 103, 107 as on the socket."""
        await self._check("publish", owner, channel)

    async def _check(self, access: Access, owner: Owner, channel: str) -> None:
        options = self._node.rules.options(channel)
        if self._node.rules.may(access, channel, options, Who(owner.user)):
            return
        if not (
            await self._subscribed(owner, channel)
            and self._node.rules.may(access, channel, options, Who(owner.user, subscribed=True))
        ):
            raise ClientError(ERROR_PERMISSION_DENIED, f"the namespace does not allow {access} here")

    async def _subscribed(self, owner: Owner, channel: str) -> bool:
        """On this node, or anywhere according to the channel's presence list."""
        here = (
            client
            for client in self._node.hub.of_user(owner.user)
            if client.appid == owner.appid and channel in client.subscriptions
        )
        if any(here):
            return True
        try:
            present = await self._node.presence(channel)
        except ClientError as error:
            if error.outcome is ERROR_NOT_AVAILABLE:
                return False
            raise
        return any(info.user == owner.user for info in present.values())

    async def check_read(self, meta: Meta, headers: Mapping[str, str], expires: str, signature: str) -> None:
        """Whether the request may read the file: by its link, or as a user. Raises ClientError: 422 where the
        file is not the asker's to see - as if there were none -, 101 and 109 without a good token."""
        if signature:
            if not self._links.holds(meta.id, expires, signature, self._wall()):
                raise ClientError(ERROR_PERMISSION_DENIED, "this link has expired or is not ours")
            return
        owner = await self.owner(headers)
        if not await self.may_read(owner, meta):
            raise ClientError(ERROR_FILE_NOT_FOUND)

    async def may_read(self, owner: Owner, meta: Meta) -> bool:
        """Whether a user may read a file without a link."""
        if owner.owns(meta) or meta.visibility == "signed_in":
            return True
        if meta.visibility != "channel":
            return False
        try:
            options = self._node.rules.options(meta.channel)
            allowed = self._node.rules.may_subscribe(meta.channel, options, Who(owner.user))
            return allowed or await self._subscribed(owner, meta.channel)
        except (ClientError, UpstreamError):
            return False  # the channel's namespace is gone, or nobody can tell


def token_of(headers: Mapping[str, str]) -> str:
    """The token that a request brings in its head; empty where it brings none."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-wx-token", "").strip()
