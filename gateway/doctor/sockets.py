"""The socket: does it open, does it talk, does it stay open, and does it say goodbye."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final

from gateway.auth.token_maker import make_token
from gateway.doctor.report import Finding, fail, ok, warn
from gateway.doctor.target import CannotGoOn, Target, parse_json
from gateway.doctor.wire import Refused, Wire
from gateway.nginx.site import read_timeout

FORGED: Final = "192.0.2.66"
"""An address of nobody (RFC 5737), put into X-Forwarded-For."""

CLIENT_IP_HEADER: Final = "x-client-ip"
"""In the gateway's answer to a request that is no WebSocket."""

PROXY_DEFAULT: Final = 60.0
"""Seconds after which nginx and most carriers cut a silent connection."""

USER: Final = "gateway-doctor"

_NO_PONG: Final = 3012

_LET_UPGRADE: Final = (
    "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection with "
    "the map of "
    "`gateway nginx`"
)


def answers_without_upgrade(target: Target) -> Iterator[Finding]:
    """A plain GET is told what this is: 426, or 400 as other servers say."""
    check = "plain GET on the socket"
    answer = target.request("GET", target.options.path)
    if answer.status in (400, 426):
        yield ok(check, f"{answer.status}, as it should")
    elif answer.status in (502, 503, 504):
        yield fail(
            check, answer.kind, "start the gateway; is `--node`, or [listen] websocket, where it listens?"
        )
    elif answer.status == 404:
        yield fail(
            check,
            "404",
            f"let nginx pass {target.options.path} to the gateway (`gateway nginx`), or give --path",
        )
    else:
        yield warn(check, answer.kind, "426 is expected of a socket; is another server behind this path?")


def upgrades(target: Target) -> Iterator[Finding]:
    """101 through everything on the way."""
    check = "upgrade to a socket"
    try:
        with Wire(target):
            yield ok(check, "101")
    except Refused as refused:
        if refused.status in (400, 426):
            yield fail(check, f"HTTP {refused.status}: the Upgrade header is lost on the way", _LET_UPGRADE)
        else:
            yield fail(check, str(refused), "see the line above; phones show `Invalid HTTP status`")
        raise CannotGoOn from None


def first_message(target: Target) -> Iterator[Finding]:
    """Something comes back to the first command."""
    check = "first message"
    with Wire(target) as wire:
        if wire.ask({"id": 1, "connect": {}}, target.options.timeout) is None:
            yield warn(
                check,
                f"no answer in {target.options.timeout:g} s",
                "is it a server of the Centrifuge protocol? Else make sure that it answers the first "
                "message at once",
            )
        else:
            yield ok(check, "answered")


def says_goodbye(target: Target) -> Iterator[Finding]:
    """Before it closes, it says why: close codes do not reach mini-programs."""
    check = "reason before close"
    with Wire(target) as wire:
        wire.send("not json")
        told: dict[str, Any] | None = None
        while (event := wire.next(target.options.timeout)) is not None and event.kind != "end":
            told = _disconnect(event.text) or told
        if event is None:
            yield warn(
                check, "a broken message does not end the connection", "close it, with a message before that"
            )
        elif told is None:
            yield warn(
                check,
                f"closed with {event.code} and no message before",
                "send a message that says why before closing: mini-programs see 1006 or nothing of a "
                "close code",
            )
        else:
            yield ok(check, f"disconnect push {told.get('code')}, then close {event.code}")


def _disconnect(text: str) -> dict[str, Any] | None:
    value = parse_json(text)
    push = value.get("push") if isinstance(value, dict) else None
    disconnect = push.get("disconnect") if isinstance(push, dict) else None
    return disconnect if isinstance(disconnect, dict) else None


# ---------------------------------------------------------------------------- who is it
def client_address(target: Target) -> Iterator[Finding]:
    """The gateway sees the phone's address, and believes no forged one."""
    check = "real client IP"
    with target.tls() as sock:
        own = str(sock.getsockname()[0])
    answer = target.request("GET", target.options.path, {"X-Forwarded-For": FORGED})
    seen = answer.headers.get(CLIENT_IP_HEADER, "")
    if not seen:
        yield warn(check, "this server does not say which it sees", "compare your own address with its log")
    elif seen == FORGED:
        yield fail(
            check,
            "a forged X-Forwarded-For is believed: limits per address are no limits",
            "proxy_set_header X-Forwarded-For $remote_addr; it replaces what the client sent",
        )
    elif seen == own or (ip_address(seen).is_global and not target.is_loopback):
        yield ok(check, f"{seen}; a forged X-Forwarded-For is dropped")
    else:
        yield fail(
            check,
            f"the gateway sees {seen}, the proxy, and takes all phones for one",
            "proxy_set_header X-Forwarded-For $remote_addr; and the proxy's address in "
            "websocket.trusted_proxies",
        )


# ---------------------------------------------------------------------------- staying
@dataclass(slots=True)
class Silence:
    """What happened on a connection that only answered pings."""

    lasted: float = 0.0
    pings: list[float] = field(default_factory=list)
    end: str = ""
    code: int = 0


def stays_open(target: Target) -> Iterator[Finding]:
    """Pings come, and in time."""
    check, idle = "idle connection", target.options.idle
    with Wire(target) as wire:
        interval = _sign_in(target, wire)
        if interval is None and not idle:
            yield warn(
                check,
                "not looked at without a user",
                "give --token, or --config of the gateway, and --idle 75",
            )
            return
        if not idle:
            yield _announced(check, interval or 0.0)
            return
        yield _judge(check, _be_silent(wire, idle), idle, interval, target)


def _announced(check: str, interval: float) -> Finding:
    if 0 < interval < PROXY_DEFAULT:
        return ok(check, f"a ping every {interval:g} s is announced; `--idle 75` waits for them")
    return warn(
        check, f"pings announced: {interval:g} s", "ping every 25 s: proxies and carriers cut after 60 s"
    )


def _sign_in(target: Target, wire: Wire) -> float | None:
    """Sign in as best we can; the seconds between pings, None where nobody was let in."""
    reply = wire.ask({"id": 1, "connect": _credentials(target)}, target.options.timeout)
    result = reply.get("connect") if reply else None
    if not isinstance(result, dict):
        return None
    return float(result.get("ping") or 0)


def _credentials(target: Target) -> dict[str, Any]:
    token = target.options.token or own_token(target)
    return {"token": token} if token else {}


def own_token(target: Target) -> str:
    """A token of our own making, where the configuration of the gateway is at hand; else empty."""
    client = target.settings.client
    secret = client.token_hmac_secret.get_secret_value()
    if not secret:
        return ""
    claims: dict[str, Any] = {"sub": USER, "exp": int(target.now() + target.options.idle + 300)}
    claims |= {"aud": client.token_audience} if client.token_audience else {}
    claims |= {"iss": client.token_issuer} if client.token_issuer else {}
    return make_token(secret, claims)


def _be_silent(wire: Wire, seconds: float) -> Silence:
    silence, start = Silence(), time.monotonic()
    while (passed := time.monotonic() - start) < seconds:
        event = wire.next(seconds - passed)
        silence.lasted = time.monotonic() - start
        if event is None:
            break
        if event.kind == "end":
            silence.end, silence.code = event.reason or "closed", event.code
            break
        if event.kind == "ping" or event.text == "{}":
            silence.pings.append(silence.lasted)
        if event.text == "{}":
            wire.send("{}")
    return silence


def _judge(check: str, silence: Silence, idle: float, interval: float | None, target: Target) -> Finding:
    lasted = f"{silence.lasted:.3g} s"
    if silence.end and silence.code == _NO_PONG:
        return fail(
            check,
            f"the server's pings do not arrive: it gave up after {lasted} (3012 no pong)",
            "something on the way holds messages back: proxy_buffering off, no compressing or "
            "inspecting proxy",
        )
    if silence.end and interval is None:
        return warn(
            check, f"closed after {lasted}, nobody was signed in", "give --token, or --config of the gateway"
        )
    if silence.end:
        return fail(
            check,
            f"cut after {lasted} of silence ({silence.code} {silence.end})",
            "raise proxy_read_timeout, and the idle timeout of a load balancer, to "
            f"{read_timeout(target.settings)} s "
            "or more (two pings and an answer), or ping more often: client.ping_interval",
        )
    if not silence.pings:
        return fail(
            check,
            f"no ping in {idle:g} s",
            "the server must send something every 25 s: proxies and carriers cut a silent connection "
            "after 60 s",
        )
    longest = max(b - a for a, b in zip([0.0, *silence.pings], [*silence.pings, silence.lasted], strict=True))
    return ok(check, f"open after {lasted}, {len(silence.pings)} pings, at most {longest:.3g} s of silence")
