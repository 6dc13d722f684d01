"""The contract between the gateway and the team's own code, whether it is Python beside the gateway or HTTP.

Every method of `Backend` says at once whether anybody handles the event: None, and the command that asked has
lost nothing. Otherwise it returns what has to be awaited for the answer. An answer is

    a result     one of the structs below
    an error     ClientError with an Error: the code and message that the client is told
    the end      ClientError with a Disconnect
    a failure    UpstreamError: no answer in time, overload, a bug; its error is what the client is told
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from msgspec import Raw, Struct

from gateway.auth.options import SubscriptionOptions
from gateway.brokers.base import PublishResult
from gateway.client import Caller
from gateway.config import ChannelOptions
from gateway.errors import Disconnect
from gateway.protocol import EMPTY_RAW
from gateway.wechat.callback import WeChatEvent


# ---------------------------------------------------------------------------- what is asked
class ConnectEvent(Struct, frozen=True):
    """A client connects. The caller's user is the one who signed in; empty where nobody did.

    Attributes:
        signed_in: the gateway knows who it is: the answer may refuse this user, and name no other one.
        data: what the client sent; never with the `wx.login` code.
        token: a token that is not the gateway's to judge; see `backend.foreign_tokens`.
        name, version: of the client's library.
        channels: server-side subscriptions that the client had before.
    """

    signed_in: bool = False
    data: Raw = EMPTY_RAW
    token: str = ""
    name: str = ""
    version: str = ""
    channels: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file that has come and that nobody can see yet.

    Attributes:
        type: found in the content. size: bytes. sha256: hex.
        read: its content, piece by piece: `async for piece in file.read()`.
    """

    id: str
    name: str
    type: str
    size: int
    sha256: str
    channel: str
    visibility: str
    read: Callable[[], AsyncGenerator[bytes, None]]


UserEventKind = Literal["online", "background", "disconnect", "unsubscribe"]
USER_EVENTS: Final[tuple[UserEventKind, ...]] = ("online", "background", "disconnect", "unsubscribe")


class UserEvent(Struct, frozen=True, omit_defaults=True):
    """A user came, went to the background, is gone, or left a channel; its JSON is what a proxy posts.

    It comes at least once, and in order for each user: two events of a user with the same `id` are one, and
    one with a lower `id` than was seen before is old news.

    Attributes:
        id: grows with each event of the user.
        generation: the same from a coming online to the `disconnect` that ends it; a later one is higher.
        at: unix milliseconds at which it became so.
        reason: why the user is away: `hidden`, `left`, `lost`, `ended` or `node`.
        channel: of an `unsubscribe`.
    """

    event: UserEventKind
    user: str
    generation: int
    id: int
    at: int
    reason: str = ""
    channel: str = ""


# ---------------------------------------------------------------------------- what is answered
class Connected(Struct, frozen=True):
    """The client may connect.

    Attributes:
        user: who it is, where it did not sign in with the gateway; empty: an anonymous client.
        expire_at: unix seconds at which the refresh hook is asked; 0: never.
        info: shown in presence, joins and publications. data: for the connect reply. meta: for the hooks.
        subs: server-side subscriptions, besides those that the client has anyway.
    """

    user: str = ""
    expire_at: float = 0.0
    info: Raw = EMPTY_RAW
    data: Raw = EMPTY_RAW
    meta: Raw = EMPTY_RAW
    subs: Mapping[str, SubscriptionOptions] = {}


class Refreshed(Struct, frozen=True):
    """What becomes of a connection, or of a subscription, whose time is up.

    `expire_at` in unix seconds, 0: never again. Empty `info` and `meta` leave what there is.
    """

    expired: bool = False
    expire_at: float = 0.0
    info: Raw = EMPTY_RAW
    meta: Raw = EMPTY_RAW


class Subscribed(Struct, frozen=True):
    """The client may subscribe. `expire_at`: unix seconds at which sub_refresh is asked; 0: never."""

    options: SubscriptionOptions = SubscriptionOptions()
    expire_at: float = 0.0


class Published(Struct, frozen=True):
    """The client's publication may go out; `data` replaces it, where it is not empty."""

    data: Raw = EMPTY_RAW
    skip_history: bool = False
    tags: dict[str, str] | None = None
    idempotency_key: str = ""
    version: int = 0
    version_epoch: str = ""


# ---------------------------------------------------------------------------- what handlers may do
class FileOperations(Protocol):
    """What a handler may do with files."""

    def link(self, file_id: str, ttl: float = 0.0) -> str:
        """An address at which anybody may read the file for `ttl` seconds (0: `files.link_ttl`)."""

    async def describe(self, file_id: str) -> dict[str, Any]:
        """What clients are told of a file. Raises ClientError 422 where there is none."""

    async def delete(self, file_id: str) -> bool:
        """Remove a file; whether there was one."""


class Operations(Protocol):
    """What a handler may do with the gateway; given to the backend by `attach`."""

    @property
    def files(self) -> FileOperations: ...

    async def publish(self, channel: str, data: Raw, how: Published) -> PublishResult:
        """Publish JSON, whoever may publish there. `how.data` is not looked at."""

    async def disconnect(self, user: str, client: str, disconnect: Disconnect) -> None:
        """Close the connections of `user` on all nodes, or the one that is `client`."""


# ---------------------------------------------------------------------------- the contract
class Backend(Protocol):
    """What the team's code may answer; each method here says that it is not handled."""

    def attach(self, operations: Operations) -> None:
        """What handlers may do from now on. Called once, before the first event."""
        return None

    @property
    def user_events(self) -> frozenset[UserEventKind]:
        """Which events of users are handled; none: the gateway need not keep track of them."""
        return frozenset()

    async def close(self) -> None:
        """End what is in flight: connections, threads. No event comes after it."""
        return None

    def handle_connect(
        self, caller: Caller, event: ConnectEvent
    ) -> Coroutine[Any, Any, Connected | None] | None:
        """Who a client is, and what it has from the start. Its answer None: no opinion."""
        return None

    def handle_refresh(self, caller: Caller) -> Coroutine[Any, Any, Refreshed] | None:
        """The time of a connection is up. None: it ends (disconnect 3005)."""
        return None

    def handle_subscribe(
        self, caller: Caller, channel: str, data: Raw, options: ChannelOptions
    ) -> Coroutine[Any, Any, Subscribed] | None:
        """Whether a client may subscribe. None: the namespace's options decide."""
        return None

    def handle_sub_refresh(
        self, caller: Caller, channel: str, options: ChannelOptions
    ) -> Coroutine[Any, Any, Refreshed] | None:
        """The time of a subscription is up. None: it ends (unsubscribe 2501)."""
        return None

    def handle_publish(
        self, caller: Caller, channel: str, data: Raw, options: ChannelOptions
    ) -> Coroutine[Any, Any, Published] | None:
        """Whether a client may publish, and what. None: the namespace's options decide."""
        return None

    def handle_rpc(self, caller: Caller, method: str, data: Raw) -> Coroutine[Any, Any, Raw] | None:
        """The result of an rpc as JSON.

        None: no handlers at all (error 108). The coroutine raises ClientError with error 104 for a method
        that nobody handles.
        """
        return None

    def handle_send(self, caller: Caller, data: Raw) -> Coroutine[Any, Any, None] | None:
        """A message that wants no answer. None: nobody handles them (disconnect 3508)."""
        return None

    def handle_wechat_event(self, event: WeChatEvent) -> Coroutine[Any, Any, None] | None:
        """A message that WeChat's servers pushed. None: nobody handles them.

        WeChat has its answer already, and pushes nothing again: the coroutine raises UpstreamError or
        ClientError where the handler failed, for the log.
        """
        return None

    def handle_upload(self, caller: Caller, file: UploadedFile) -> Coroutine[Any, Any, None] | None:
        """Whether a file may be kept: a content-safety check, for example. None: nobody minds.

        The coroutine raises ClientError where the file is refused, UpstreamError where the handler failed:
        either way nothing is left of it. `caller.client` is empty: an upload is no connection.
        """
        return None

    def handle_user_event(self, event: UserEvent) -> Coroutine[Any, Any, None] | None:
        """One of `user_events`; None: this one is not handled.

        The coroutine returns where the event was taken, and raises UpstreamError or ClientError where it was
        not: then the same event comes again, and no later one of this user before it.
        """
        return None


class NoBackend(Backend):
    """No code of the team's runs here."""
