"""The handler that the RPC measurement calls: gives back what it got."""

from __future__ import annotations

from typing import Any

from gateway import Caller, Gateway

gw = Gateway()


@gw.rpc("echo")
async def echo(caller: Caller, data: Any) -> Any:
    return data
