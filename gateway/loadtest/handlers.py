"""A handler for the scenarios `rpc` and `mixed`: `gateway dev gateway.loadtest.handlers`."""

from __future__ import annotations

from typing import Any

from gateway.backend.app import Gateway

gateway = Gateway()


@gateway.rpc("echo")
async def echo(caller: Any, data: Any) -> Any:
    """What was asked is the answer."""
    return data
