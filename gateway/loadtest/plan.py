"""What a process is told: where to connect to, as whom, and which of the clients are its own."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct


class Plan(Struct):
    """One process's share of a load test. Times are seconds.

    Attributes:
        run: the run's name, which all its messages carry.
        host, port, path: of the WebSocket listener; `authority` is what goes into the Host header.
        tls: wss; `ca` is a file to trust, `verify` False trusts anybody.
        http: base of the HTTP listener, "" if there is none: for the sandbox and for files.
        way: sandbox, secret, tokens or anonymous.
        sign_ins: codes that the process may have in flight.
        first, count: its clients, by number.
        per_second: connects.
        share: its part of what all processes do together.
        sources: addresses to connect from, by turns; none: the system's choice.
        scenario: raw values.
    """

    run: str
    host: str
    port: int
    authority: str
    path: str
    way: str
    first: int
    count: int
    per_second: float
    share: float
    scenario: dict[str, Any]
    tls: bool = False
    ca: str = ""
    verify: bool = True
    http: str = ""
    secret: str = ""
    tokens: list[str] = []
    sign_ins: int = 4
    sources: list[str] = []


class Order(Struct, omit_defaults=True):
    """What the leader says to a process: connect, go, drop or end.

    Attributes:
        until: with `go`, µs of the monotonic clock at which calls and files stop.
        published: with `end`, the last number of each channel; `unsure`: numbers that may not be out.
    """

    do: str
    until: int = 0
    published: dict[str, int] = {}
    unsure: dict[str, list[int]] = {}


encode = msgspec.json.Encoder().encode
decode_plan = msgspec.json.Decoder(Plan).decode
decode_order = msgspec.json.Decoder(Order).decode
