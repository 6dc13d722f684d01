"""The contract between the gateway and the team's own code."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from msgspec import Raw, Struct

from gateway.client import Caller
from gateway.wechat.callback import WeChatEvent


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


class Backend(Protocol):
    """What the team's code may answer. A method that returns None is not handled."""

    @property
    def user_events(self) -> frozenset[UserEventKind]:
        """Which events of users are handled; none: the gateway need not keep track of them."""

    def handle_rpc(self, caller: Caller, method: str, data: Raw) -> Coroutine[Any, Any, Raw] | None:
        """The result of an rpc as JSON.

        None: no handlers at all (error 108). The coroutine raises ClientError for an answer that is an error
        or a disconnect (104 for a method that nobody handles), UpstreamError where the handler failed.
        """

    def handle_send(self, caller: Caller, data: Raw) -> Coroutine[Any, Any, None] | None:
        """A message that wants no answer. None: nobody handles them (disconnect 3508)."""

    def handle_wechat_event(self, event: WeChatEvent) -> Coroutine[Any, Any, None] | None:
        """A message that WeChat's servers pushed. None: nobody handles them.

        WeChat has its answer already, and pushes nothing again: the coroutine raises UpstreamError or
        ClientError where the handler failed, for the log.
        """

    def handle_upload(self, caller: Caller, file: UploadedFile) -> Coroutine[Any, Any, None] | None:
        """Whether a file may be kept: a content-safety check, for example. None: nobody minds.

        The coroutine raises ClientError where the file is refused, UpstreamError where the handler failed:
        either way nothing is left of it. `caller.client` is empty: an upload is no connection.
        """

    def handle_user_event(self, event: UserEvent) -> Coroutine[Any, Any, None] | None:
        """One of `user_events`; None: this one is not handled.

        The coroutine returns where the event was taken, and raises UpstreamError or ClientError where it was
        not: then the same event comes again, and no later one of this user before it.
        """


class NoBackend:
    """No code of the team's runs here."""

    user_events: frozenset[UserEventKind] = frozenset()

    def handle_rpc(self, caller: Caller, method: str, data: Raw) -> Coroutine[Any, Any, Raw] | None:
        """See `Backend`."""
        return None

    def handle_send(self, caller: Caller, data: Raw) -> Coroutine[Any, Any, None] | None:
        """See `Backend`."""
        return None

    def handle_wechat_event(self, event: WeChatEvent) -> Coroutine[Any, Any, None] | None:
        """See `Backend`."""
        return None

    def handle_upload(self, caller: Caller, file: UploadedFile) -> Coroutine[Any, Any, None] | None:
        """See `Backend`."""
        return None

    def handle_user_event(self, event: UserEvent) -> Coroutine[Any, Any, None] | None:
        """See `Backend`."""
        return None
