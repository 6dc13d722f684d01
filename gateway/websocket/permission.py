"""Who may subscribe and who may publish, in the order in which that is decided.

A subscribe: a subscription token; the channel's own name (private, personal, user-limited); the team's code;
the namespace's options. A publish: whose personal channel it is; the team's code; the namespace's options.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from msgspec import Struct

from gateway.auth.options import SubscriptionOptions
from gateway.auth.tokens import TokenVerifier
from gateway.backend.base import Backend, Published
from gateway.channels import Access, Channels, Who, has_history, personal_owner
from gateway.client import Client
from gateway.config import ChannelOptions, Settings
from gateway.errors import (
    DISCONNECT_BAD_REQUEST,
    ERROR_BAD_REQUEST,
    ERROR_EXPIRED,
    ERROR_NOT_AVAILABLE,
    ERROR_PERMISSION_DENIED,
    ClientError,
)
from gateway.protocol import PublishRequest, SubscribeRequest


class Grant(Struct, frozen=True):
    """A subscribe that is permitted.

    `expire_at`: unix seconds, 0 is never; `client_refresh`: it is the client that renews it, with a token.
    """

    options: SubscriptionOptions = SubscriptionOptions()
    expire_at: float = 0.0
    client_refresh: bool = False


_PLAIN: Final = Grant()


class Permissions:
    """The rules of one process.

    Arguments:
        wall: unix seconds.
    """

    def __init__(
        self,
        settings: Settings,
        rules: Channels,
        tokens: TokenVerifier,
        backend: Backend,
        *,
        wall: Callable[[], float],
    ) -> None:
        self._insecure = settings.client.insecure
        self._rules = rules
        self._tokens = tokens
        self._backend = backend
        self._wall = wall

    async def subscribe(self, client: Client, request: SubscribeRequest, options: ChannelOptions) -> Grant:
        """Raises ClientError where it may not be, UpstreamError where the team's code cannot say."""
        channel = request.channel
        if request.token:
            claims = await self._tokens.verify_subscription(request.token, client.user, client.id, channel)
            self._check_expiry(claims.expire_at)
            expire_at = 0 if self._insecure else claims.expire_at
            return Grant(claims.options, expire_at, bool(expire_at))
        who = Who(client.user)
        allowed = self._rules.named(channel, options, who)
        if allowed is None:
            asked = self._backend.handle_subscribe(client.caller, channel, request.data, options)
            if asked is not None:
                answer = await asked
                self._check_expiry(answer.expire_at)
                return Grant(answer.options, answer.expire_at)
            allowed = self._rules.may_subscribe(channel, options, who)
        if not allowed:
            raise ClientError(ERROR_PERMISSION_DENIED, "the namespace does not let this client subscribe")
        return _PLAIN

    def _check_expiry(self, expire_at: float) -> None:
        if expire_at and expire_at <= self._wall():
            raise ClientError(ERROR_EXPIRED, "the subscription has expired")

    def publish(self, client: Client, request: PublishRequest) -> Coroutine[Any, Any, Published] | None:
        """What the team's code says, to be awaited; None: the client may, and nobody else is asked.

        Raises ClientError where it may not.
        """
        channel = request.channel
        if not channel:
            raise ClientError(DISCONNECT_BAD_REQUEST, "publish needs a channel")
        options = self._rules.options(channel)
        if not request.data:
            raise ClientError(ERROR_BAD_REQUEST, "publish needs data")
        if personal_owner(channel) in (None, client.user):
            asked = self._backend.handle_publish(client.caller, channel, request.data, options)
            if asked is not None:
                return asked
        self.check("publish", client, channel)
        return None

    def check(self, access: Access, client: Client, channel: str) -> ChannelOptions:
        """The channel's options. Raises ClientError where the client may not do this there."""
        if not channel:
            raise ClientError(DISCONNECT_BAD_REQUEST, f"{access} needs a channel")
        options = self._rules.options(channel)
        if access == "presence" and not options.presence:
            raise ClientError(ERROR_NOT_AVAILABLE, "the channel keeps no presence")
        if access == "history" and not has_history(options):
            raise ClientError(ERROR_NOT_AVAILABLE, "the channel keeps no history")
        subscribed = channel in client.subscriptions
        if not self._rules.may(access, channel, options, Who(client.user, subscribed)):
            detail = f"the namespace does not allow {access} here"
            if not subscribed and self._rules.may(
                access, channel, options, Who(client.user, subscribed=True)
            ):
                detail = f"subscribe first, the namespace allows {access} to subscribers"
            raise ClientError(ERROR_PERMISSION_DENIED, detail)
        return options
