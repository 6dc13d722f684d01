"""A gateway with one more built-in rpc method, `echo`: what an rpc costs without the team's code."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from gateway.assembly import sockets
from gateway.cli import main
from gateway.client import Client
from gateway.websocket.commands import Commands


async def echo(client: Client, data: Raw) -> Raw:
    return data


class WithEcho(Commands):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        named["builtins"] = {**named["builtins"], "echo": echo}
        super().__init__(*arguments, **named)


if __name__ == "__main__":
    setattr(sockets, "Commands", WithEcho)  # noqa: B010 (it is not exported)
    main()
