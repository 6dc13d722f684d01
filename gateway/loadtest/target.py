"""What is aimed at: the addresses of a deployment, and whether one may."""

from __future__ import annotations

import ipaddress
import itertools
import secrets
import socket
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from gateway.errors import GatewayException
from gateway.loadtest.plan import Plan
from gateway.loadtest.scenario import Scenario

DEV_URL: Final = "ws://127.0.0.1:8000/connection/websocket"
DEV_HTTP: Final = "http://127.0.0.1:8001"
DEV_API: Final = "http://127.0.0.1:9000/api"
DEV_KEY: Final = "dev"
PATH: Final = "/connection/websocket"
PORTS: Final = 28_000
"""Sockets that one source address has ports for, towards one listener: Linux's default range."""


class TargetError(GatewayException):
    """It cannot be aimed at so; the text says what to write instead."""


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment.

    Attributes:
        url: the socket, ws or wss.
        http: base of the HTTP listener, "" if none is used.
        api, key: the server API, "" if none is used.
        way: sandbox, secret, tokens or anonymous; `secret` and `tokens` belong to it.
        ca: a certificate to trust; `verify` False trusts any.
    """

    url: str = DEV_URL
    http: str = ""
    api: str = ""
    key: str = ""
    way: str = "sandbox"
    secret: str = ""
    tokens: tuple[str, ...] = ()
    ca: str = ""
    verify: bool = True
    sources: tuple[str, ...] = ()


def hosts(target: Target) -> list[str]:
    """The hosts that load goes to."""
    return [urlsplit(each).hostname or "" for each in (target.url, target.http, target.api) if each]


def check(target: Target, *, own: bool) -> None:
    """Refuse what is no address, and every machine but this one unless it is said to be one's own."""
    for url, schemes in (
        (target.url, ("ws", "wss")),
        (target.http, ("http", "https")),
        (target.api, ("http", "https")),
    ):
        parts = urlsplit(url)
        if url and (parts.scheme not in schemes or not parts.hostname):
            raise TargetError(f"{url}: write {schemes[0]}://… or {schemes[1]}://…")
    strangers = sorted({host for host in hosts(target) if not _is_here(host)})
    if strangers and not own:
        raise TargetError(
            f"{', '.join(strangers)} is not this machine. A load test can take a site down; if it is yours, "
            "say so with --yes-this-is-mine"
        )


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def sources_for(target: Target, clients: int) -> list[str]:
    """Addresses to connect from: those given, or as many of 127.0.0.2… as the sockets need."""
    if target.sources or clients <= PORTS:
        return list(target.sources)
    if not _is_here(urlsplit(target.url).hostname or ""):
        raise TargetError(
            f"{clients:,} sockets need {-(-clients // PORTS)} source addresses ({PORTS:,} ports each): give "
            "this machine more addresses and name them with --source"
        )
    return [f"127.0.{number // 250}.{number % 250 + 2}" for number in range(-(-clients // PORTS))]


def plans(target: Target, scenario: Scenario, processes: int) -> list[Plan]:
    """The work of each process."""
    count = scenario.clients.count
    if target.way == "tokens" and len(target.tokens) < count:
        raise TargetError(
            f"the file has {len(target.tokens)} tokens for {count} clients: --clients {len(target.tokens)}"
        )
    parts = urlsplit(target.url)
    tls = parts.scheme == "wss"
    sources = sources_for(target, count)
    run = secrets.token_hex(4)
    edges = [count * number // processes for number in range(processes + 1)]
    return [
        Plan(
            run=run,
            host=parts.hostname or "",
            port=parts.port or (443 if tls else 80),
            authority=parts.netloc.rpartition("@")[2]
            if parts.port
            else f"{parts.netloc}:{443 if tls else 80}",
            path=(parts.path if parts.path not in ("", "/") else PATH)
            + (f"?{parts.query}" if parts.query else ""),
            way=target.way,
            first=first,
            count=last - first,
            per_second=scenario.clients.per_second / processes,
            share=1 / processes,
            scenario=scenario.model_dump(by_alias=True, exclude_none=True),
            tls=tls,
            ca=target.ca,
            verify=target.verify,
            http=target.http,
            secret=target.secret,
            tokens=list(target.tokens[first:last]),
            sign_ins=max(1, 8 // processes),
            sources=sources,
        )
        for first, last in itertools.pairwise(edges)
    ]


def answers(url: str) -> bool:
    """Whether somebody listens at the address of `url`."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=1):
            return True
    except OSError:
        return False
