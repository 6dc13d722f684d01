"""The contract between the gateway and the team's own code."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from msgspec import Raw

from gateway.client import Caller


class Backend(Protocol):
    """What the team's code may answer. A method that returns None is not handled."""

    def handle_rpc(self, caller: Caller, method: str, data: Raw) -> Coroutine[Any, Any, Raw] | None:
        """The result of an rpc as JSON.

        None: no handlers at all (error 108). The coroutine raises ClientError for an answer that is an error
        or a disconnect (104 for a method that nobody handles), UpstreamError where the handler failed.
        """

    def handle_send(self, caller: Caller, data: Raw) -> Coroutine[Any, Any, None] | None:
        """A message that wants no answer. None: nobody handles them (disconnect 3508)."""


class NoBackend:
    """No code of the team's runs here."""

    def handle_rpc(self, caller: Caller, method: str, data: Raw) -> Coroutine[Any, Any, Raw] | None:
        """See `Backend`."""
        return None

    def handle_send(self, caller: Caller, data: Raw) -> Coroutine[Any, Any, None] | None:
        """See `Backend`."""
        return None
