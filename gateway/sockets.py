"""Listening sockets: bound before anything else starts, so that a clash is the first thing to be told."""

from __future__ import annotations

import resource
import socket

from gateway.config import Settings
from gateway.config.units import parse_address
from gateway.errors import GatewayError

RESERVED_FILES = 64
"""Files that are no client's: listeners, Redis, WeChat, HTTP requests, logs."""
MAX_FILES = 2_000_000
"""What stands for a hard limit that is none."""
LISTENERS = ("http", "websocket", "internal")


def bind_all(settings: Settings, names: tuple[str, ...] = LISTENERS) -> dict[str, socket.socket]:
    """The sockets of the named listeners.

    Raises:
        GatewayError: each address that cannot be had, and what to do.
    """
    sockets: dict[str, socket.socket] = {}
    problems: list[str] = []
    for name in names:
        try:
            sockets[name] = bind(getattr(settings.listen, name), settings.listen.backlog, f"listen.{name}")
        except GatewayError as error:
            problems.append(str(error))
    if problems:
        for sock in sockets.values():
            sock.close()
        raise GatewayError("\n  ".join(problems))
    return sockets


def bind(address: str, backlog: int, setting: str, *, shared: bool = False) -> socket.socket:
    """One listening socket.

    Arguments:
        shared: other sockets may listen on the same port; the kernel spreads new connections over them.
    """
    host, port = parse_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named: asyncio turns Nagle's delay off only where it sees TCP.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise GatewayError(
            f'{setting} = "{address}": {error.strerror}; end the program that has it, or choose another '
            f"address: GATEWAY_{setting.upper().replace('.', '__')}={host}:{port + 100 if port else 8000}"
        ) from None
    sock.listen(backlog)
    sock.setblocking(False)
    return sock


def connections_possible() -> int:
    """How many sockets this process may have beside its own files; raises the soft limit to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(1, min(hard, MAX_FILES) - RESERVED_FILES)


def port_of(sock: socket.socket) -> int:
    """The port that a socket is bound to."""
    return int(sock.getsockname()[1])


def url_of(sock: socket.socket) -> str:
    """How a program on this machine reaches a listener."""
    host, port = sock.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
