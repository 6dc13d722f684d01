"""Connections and subscriptions whose time is up, where it is not the client that renews them: the team's
code is asked. What nobody answers for ends.

While the team's code is asked, the deadline is infinite: asking has a time limit of its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any, Final

import structlog

from gateway.backend.base import Backend, Refreshed
from gateway.client import Client, Subscription
from gateway.errors import (
    DISCONNECT_EXPIRED,
    DISCONNECT_SUBSCRIPTION_EXPIRED,
    UNSUBSCRIBE_EXPIRED,
    ClientError,
    Disconnect,
    UpstreamError,
)
from gateway.node.node import Node

RETRY: Final = 60.0
"""Seconds until a backend that could not answer is asked again. Meanwhile the connection stays: a backend
that is down for a minute must not sign everybody out."""

log = structlog.get_logger()


class Expiry:
    """Ends or renews what has expired.

    Arguments:
        clock: monotonic seconds.
    """

    def __init__(self, node: Node, backend: Backend, *, clock: Callable[[], float]) -> None:
        self._node = node
        self._backend = backend
        self._clock = clock

    # ------------------------------------------------------------------ connections
    def connection(self, client: Client) -> None:
        """The connection's time is up, grace included."""
        asked = None if client.client_refresh else self._backend.handle_refresh(client.caller)
        if asked is None:
            client.sink.disconnect(DISCONNECT_EXPIRED)
            return
        client.expires_at = inf
        self._node.spawn(self._renew_connection(client, asked))

    async def _renew_connection(self, client: Client, asked: Coroutine[Any, Any, Refreshed]) -> None:
        try:
            answer = await asked
        except ClientError as error:
            outcome = error.outcome
            client.sink.disconnect(outcome if isinstance(outcome, Disconnect) else DISCONNECT_EXPIRED)
            return
        except UpstreamError as error:
            log.warning("a connection could not be renewed", client=client.id, why=error.detail)
            client.expires_at = self._later()
        else:
            if self._is_over(answer):
                client.sink.disconnect(DISCONNECT_EXPIRED)
                return
            client.expires_at = self._node.deadline(answer.expire_at)
            client.conn_info = answer.info or client.conn_info
            client.meta = answer.meta or client.meta
            client.sign_in(client.user, client.appid, client.session)
        client.sink.reschedule()

    # ------------------------------------------------------------------ subscriptions
    def subscription(self, subscription: Subscription) -> None:
        """The subscription's time is up, grace included."""
        client, channel = subscription.client, subscription.channel
        asked = None
        if not subscription.client_refresh:
            try:
                options = self._node.rules.options(channel)
            except ClientError:  # its namespace is gone since a reload
                options = None
            if options is not None:
                asked = self._backend.handle_sub_refresh(client.caller, channel, options)
        if asked is None:
            self._end(subscription)
            return
        subscription.expires_at = inf
        self._node.spawn(self._renew_subscription(subscription, asked))

    async def _renew_subscription(
        self, subscription: Subscription, asked: Coroutine[Any, Any, Refreshed]
    ) -> None:
        client = subscription.client
        try:
            answer = await asked
        except ClientError as error:
            if isinstance(error.outcome, Disconnect):
                client.sink.disconnect(error.outcome)
            else:
                self._end(subscription)
            return
        except UpstreamError as error:
            log.warning("a subscription could not be renewed", client=client.id, why=error.detail)
            subscription.expires_at = self._later()
        else:
            if self._is_over(answer):
                self._end(subscription)
                return
            subscription.expires_at = self._node.deadline(answer.expire_at)
            subscription.chan_info = answer.info or subscription.chan_info
        client.sink.reschedule()

    def _end(self, subscription: Subscription) -> None:
        client = subscription.client
        if client.subscriptions.get(subscription.channel) is not subscription:
            return
        if subscription.server_side:
            client.sink.disconnect(DISCONNECT_SUBSCRIPTION_EXPIRED)
        else:
            self._node.live.unsubscribe_client(subscription, UNSUBSCRIBE_EXPIRED)

    # ------------------------------------------------------------------ time
    def _is_over(self, answer: Refreshed) -> bool:
        return answer.expired or 0 < self._node.deadline(answer.expire_at) <= self._clock()

    def _later(self) -> float:
        """Spread, so that thousands who expired together do not ask together again."""
        return self._clock() + RETRY * random.uniform(0.5, 1.0)  # noqa: S311
