"""What nobody outside may reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from gateway.config.units import parse_address
from gateway.doctor.report import Finding, fail, ok
from gateway.doctor.target import Answer, Target, parse_json

_NEVER: Final = (
    "let nginx pass only /connection/websocket, /wx/ and /files to the gateway, as `gateway nginx` writes it"
)


def _has_keys(*keys: str) -> Callable[[Answer], bool]:
    def look(answer: Answer) -> bool:
        value = parse_json(answer.body)
        return isinstance(value, dict) and all(key in value for key in keys)

    return look


def _is_metrics(answer: Answer) -> bool:
    return answer.status == 200 and b"# HELP" in answer.body


def _is_health(answer: Answer) -> bool:
    return answer.status == 200 and parse_json(answer.body) == {}


def _is_api(answer: Answer) -> bool:
    # Without a key it refuses, with nothing in the body; that it can be asked is the leak.
    return answer.status == 401 and not answer.body


INTERNAL: Final[dict[str, tuple[str, Callable[[Answer], bool]]]] = {
    "/metrics": ("GET", _is_metrics),
    "/healthz": ("GET", _is_health),
    "/readyz": ("GET", _has_keys("ready")),
    "/api/broadcast_all": ("POST", _is_api),
    "/dashboard/config": ("GET", _has_keys("access")),
}
"""Path, method, and how the internal listener's own answer is known: many pages answer 200 to anything."""


def internal_paths(target: Target) -> Iterator[Finding]:
    """Server API, metrics and health are not behind the public name."""
    check = "internal listener"
    leaked = [path for path, (method, is_ours) in INTERNAL.items() if is_ours(target.request(method, path))]
    if leaked:
        yield fail(check, f"{', '.join(leaked)} can be reached from outside", _NEVER)
    else:
        yield ok(check, f"{', '.join(INTERNAL)} are not there")


def internal_ports(target: Target) -> Iterator[Finding]:
    """The gateway's own ports are closed from outside."""
    check, listen = "gateway's own ports", target.settings.listen
    names = {"internal": listen.internal, "websocket": listen.websocket, "http": listen.http}
    ports = {name: parse_address(address)[1] for name, address in names.items()}
    if target.is_loopback:
        yield ok(check, "not tried: this is the machine itself, run the doctor from another one too")
        return
    open_ports = [f"{port} ({name})" for name, port in ports.items() if _answers(target, port)]
    if open_ports:
        yield fail(
            check,
            f"{', '.join(open_ports)} open to the internet",
            "listen on 127.0.0.1 or on an inner address ([listen]), and close them in the security group",
        )
    else:
        yield ok(check, f"{', '.join(map(str, ports.values()))} closed")


def _answers(target: Target, port: int) -> bool:
    try:
        target.tcp(port).close()
    except OSError:
        return False
    return True


def sandbox(target: Target) -> Iterator[Finding]:
    """The stand-in for WeChat signs in anybody as anybody."""
    check = "sandbox"
    if _has_keys("calls", "outcomes")(target.request("GET", "/sandbox/stats")):
        yield fail(
            check, "/sandbox can be reached: anybody is anybody", f"wechat.sandbox = false; and {_NEVER}"
        )
    else:
        yield ok(check, "not there")
