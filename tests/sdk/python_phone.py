"""centrifuge-python in the loop of the test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import centrifuge  # type: ignore[import-untyped]

from tests.sdk.phone import RECONNECT_DELAY, Phone, PhoneError

SERVER_EVENTS = ("subscribing", "subscribed", "unsubscribed", "publication", "join", "leave")
CLIENT_EVENTS = ("connecting", "connected", "disconnected", "error")


class PythonPhone(Phone):
    """Its client-side subscriptions and its server-side ones report the same kinds of events."""

    def __init__(self) -> None:
        super().__init__()
        self._client: centrifuge.Client | None = None

    async def start(
        self, url: str, *, token: str = "", data: Any = None, tokens: Sequence[str] | None = None
    ) -> None:
        events = centrifuge.ClientEventHandler()
        for name in CLIENT_EVENTS:
            setattr(events, f"on_{name}", self._reporter(name))
        for name in SERVER_EVENTS:
            # Client-side and server-side handlers of one name never meet: subscriptions have their own.
            setattr(events, f"on_{name}", self._reporter(name, server=True))
        self._client = centrifuge.Client(
            url,
            events=events,
            token=token,
            data=data,
            get_token=None if tokens is None else self._dispenser(tokens),
            min_reconnect_delay=RECONNECT_DELAY,
            max_reconnect_delay=10 * RECONNECT_DELAY,
            proxy=None,
        )

    async def act(self, action: str, **fields: Any) -> Any:
        try:
            return plain(await getattr(self, f"_do_{action}")(**fields))
        except centrifuge.ReplyError as error:
            raise PhoneError(error.code, str(error)) from None

    async def stop(self) -> None:
        if self._client is not None:
            await self._client.disconnect()

    # ------------------------------------------------------------------ actions
    @property
    def client(self) -> centrifuge.Client:
        assert self._client is not None
        return self._client

    async def _do_connect(self) -> None:
        await self.client.connect()

    async def _do_disconnect(self) -> None:
        await self.client.disconnect()

    async def _do_set_token(self, token: str) -> None:
        self.client.set_token(token)

    async def _do_subscribe(self, channel: str, token: str = "", tokens: Sequence[str] | None = None) -> None:
        events = centrifuge.SubscriptionEventHandler()
        for name in (*SERVER_EVENTS, "error"):
            setattr(events, f"on_{name}", self._reporter(name, channel=channel))
        dispense = None if tokens is None else self._dispenser(tokens)

        async def get_token(_channel: str) -> str:
            assert dispense is not None
            return await dispense()

        subscription = self.client.new_subscription(
            channel,
            events=events,
            token=token,
            get_token=None if dispense is None else get_token,
            min_resubscribe_delay=RECONNECT_DELAY,
            max_resubscribe_delay=10 * RECONNECT_DELAY,
        )
        await subscription.subscribe()

    async def _do_unsubscribe(self, channel: str) -> None:
        subscription = self.client.get_subscription(channel)
        assert subscription is not None
        await subscription.unsubscribe()

    async def _do_publish(self, channel: str, data: Any) -> Any:
        return await self.client.publish(channel, data)

    async def _do_rpc(self, method: str, data: Any) -> Any:
        return await self.client.rpc(method, data)

    async def _do_history(self, channel: str, limit: int) -> Any:
        return await self.client.history(channel, limit=limit)

    async def _do_presence(self, channel: str) -> Any:
        return await self.client.presence(channel)

    async def _do_presence_stats(self, channel: str) -> Any:
        result = await self.client.presence_stats(channel)
        return {"numClients": result.num_clients, "numUsers": result.num_users}

    # ------------------------------------------------------------------ events
    def _reporter(self, name: str, **fixed: Any) -> Callable[[Any], Awaitable[None]]:
        async def report(context: Any) -> None:
            fields = plain(vars(context))
            publication = fields.pop("pub", None)
            error = getattr(context, "error", None)
            if error is not None:
                fields = {"code": getattr(error, "code", fields["code"])}
            renamed = {"was_recovering": "wasRecovering"}
            named = {renamed.get(key, key): value for key, value in fields.items()}
            await self.hear(name, **{**named, **(publication or {}), **fixed})

        return report

    def _dispenser(self, tokens: Sequence[str]) -> Callable[[], Awaitable[str]]:
        left = list(tokens)

        async def get_token() -> str:
            await self.hear("token_asked")
            if not left:
                raise centrifuge.UnauthorizedError("no token left")
            return left.pop(0)

        return get_token


def plain(value: Any) -> Any:
    """Dataclasses as dictionaries, all the way down."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return value
