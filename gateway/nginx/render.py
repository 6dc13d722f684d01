"""Settings in, nginx configuration out; pure. The text is in templates/, placeholders are written @name."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from functools import cache
from importlib.resources import files
from string import Template
from typing import Final

from gateway.config import Settings
from gateway.config.units import format_duration, format_size, parse_address
from gateway.errors import ERROR_BAD_REQUEST, ERROR_FILE_RANGE, ERROR_INTERNAL
from gateway.http.app import BODY_LIMIT, ERRORS_OF_STATUS
from gateway.http.listener import KEEP_ALIVE
from gateway.nginx import site as values
from gateway.nginx.site import Node, Site
from gateway.websocket.handshake import PATH

FILES_PATH: Final = "/files"

CONNECTIONS_PER_SOCKET: Final = 2
"""Of a worker: to the phone and to the gateway."""

SPARE_CONNECTIONS: Final = 4096
"""For HTTP, listeners and handshakes that come to nothing."""

SPARE_FILES: Final = 2048
"""For logs, caches and files being sent."""

SESSIONS_PER_MB: Final = 4000
"""Of `ssl_session_cache`: https://nginx.org/en/docs/http/ngx_http_ssl_module.html#ssl_session_cache"""

SESSIONS_PER_PHONE: Final = 2
"""A TLS 1.3 handshake hands out two (OpenSSL's default)."""

MESSAGES: Final = {
    400: "bad request",
    403: "forbidden",
    404: "nothing here",
    405: "method not allowed",
    408: "request timeout",
    411: "length required",
    414: "address too long",
    416: "range not satisfiable",
    429: "too many requests from this address, try again later",
    500: "internal server error",
    501: "not implemented",
    502: "the gateway is restarting or down, try again",
    503: "the gateway is busy, try again",
    504: "the gateway did not answer in time, try again",
}


class _Text(Template):
    # nginx's own variables start with a dollar.
    delimiter = "@"


@cache
def _template(name: str) -> _Text:
    return _Text((files("gateway.nginx") / "templates" / f"{name}.conf").read_text(encoding="utf-8"))


def render_site(site: Site, settings: Settings) -> str:
    """The site: what goes to /etc/nginx/conf.d/. Raises SiteError."""
    values.check(site, settings)
    words = {**_addresses(site), **_numbers(site, settings), **_blocks(site, settings)}
    names = ["http", *(["redirect", "tls"] if site.tls == "here" else ["behind"]), "server"]
    return "".join(_template(name).substitute(words) for name in names)


def render_main(site: Site, settings: Settings) -> str:
    """The main file for a machine that is nothing else."""
    return _template("main").substitute({**_limits(site, settings), "logs": site.logs})


def render_sysctl(site: Site, settings: Settings) -> str:
    """Kernel limits."""
    return _template("sysctl").substitute(_limits(site, settings))


def render_limits(site: Site, settings: Settings) -> str:
    """The drop-in for nginx's systemd unit."""
    return _template("limits").substitute(_limits(site, settings))


PARTS: Final[dict[str, Callable[[Site, Settings], str]]] = {
    "site": render_site,
    "main": render_main,
    "sysctl": render_sysctl,
    "limits": render_limits,
}


# ---------------------------------------------------------------------------- words
def _addresses(site: Site) -> dict[str, str]:
    return {
        "domain": site.domain,
        "cert": site.cert,
        "key": site.key,
        "www": site.www,
        "logs": site.logs,
        "h5_directory": site.h5,
        "written_by": f"# {site.written_by}" if site.written_by else "#",
        "websocket_path": f"{PATH}",
        "files_path": f"~ ^{FILES_PATH}(/|$)",
        "tls_protocols": " ".join(values.TLS_PROTOCOLS),
        "ciphers": ":".join(values.CIPHERS),
    }


def _numbers(site: Site, settings: Settings) -> dict[str, str]:
    client = settings.client
    return {
        "body_limit": str(BODY_LIMIT),
        "upload_limit": str(values.upload_limit(settings)),
        "multipart_overhead": format_size(values.MULTIPART_OVERHEAD),
        "ping_interval": format_duration(client.ping_interval).removesuffix("s"),
        "pong_timeout": format_duration(client.pong_timeout).removesuffix("s"),
        "read_timeout": str(values.read_timeout(settings)),
        "http_timeout": str(math.ceil(settings.wechat.timeout + values.HTTP_MARGIN)),
        "gateway_keepalive": str(KEEP_ALIVE),
        "upstream_keepalive": str(KEEP_ALIVE - values.KEEPALIVE_MARGIN),
        "connections_per_ip": str(site.connections_per_ip),
        "requests_per_second": str(site.requests_per_second),
        "burst": str(site.burst),
        "max_fails": str(values.MAX_FAILS),
        "fail_timeout": str(values.FAIL_TIMEOUT),
        "session_cache": str(math.ceil(site.connections * SESSIONS_PER_PHONE / SESSIONS_PER_MB)),
    }


def _limits(site: Site, settings: Settings) -> dict[str, str]:
    worker_connections = CONNECTIONS_PER_SOCKET * site.connections + SPARE_CONNECTIONS
    nofile = worker_connections + SPARE_FILES
    listen = settings.listen
    ports = sorted({parse_address(each)[1] for each in (listen.websocket, listen.http, listen.internal)})
    return {
        "connections": f"{site.connections:,}",
        "worker_connections": str(worker_connections),
        "nofile": str(nofile),
        "nr_open": str(max(1024 * 1024, nofile)),
        "file_max": str(max(1024 * 1024, 2 * CONNECTIONS_PER_SOCKET * site.connections)),
        "conntrack": str(max(262_144, 3 * site.connections)),
        "backlog": str(listen.backlog),
        "somaxconn": str(listen.backlog),
        "gateway_ports": ",".join(str(port) for port in ports),
    }


# ---------------------------------------------------------------------------- blocks
def _blocks(site: Site, settings: Settings) -> dict[str, str]:
    nodes = site.nodes or values.own_nodes(settings)
    backlog = settings.listen.backlog
    protocol = " ssl http2" if site.tls == "here" else ""
    accel = settings.files.accel_location
    words = {
        "accel_location": f"^~ {accel}",
        "files_directory": values.accel_directory(settings),
        "h5_directory": site.h5,
    }
    return {
        "listen": _lines(f"listen {each}{protocol} backlog={backlog};" for each in site.listens),
        "http_listen": _lines(f"listen {each};" for each in site.http_listen),
        "socket_nodes": _lines(f"server {node.socket_address} max_fails=0;" for node in nodes),
        "http_nodes": _lines(_http_server(node.http_address) for node in nodes),
        "trusted": _lines(f"set_real_ip_from {each};" for each in values.load_balancers(settings)),
        "trusted_geo": _lines(f"{each} 0;" for each in values.load_balancers(settings)),
        "sources": _sources(site),
        "proxy_bind": _proxy_bind(site, nodes),
        "error_pages": _error_pages(settings),
        "docs": _template("docs").substitute() if settings.http.docs else "",
        "accel": _template("accel").substitute(words) if accel else "",
        "h5": _template("h5" if site.h5 else "no_h5").substitute(words).rstrip(),
    }


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)


def _http_server(address: str) -> str:
    return f"server {address} max_fails={values.MAX_FAILS} fail_timeout={values.FAIL_TIMEOUT}s;"


def _sources(site: Site) -> str:
    if len(site.sources) < 2:
        return ""
    share = 100 // len(site.sources)
    shares = [f"{share}% {each};" for each in site.sources[:-1]] + [f"* {site.sources[-1]};"]
    return (
        "\n# Connections to the gateway start at several addresses of this machine: each has ports of "
        "its own.\n"
        f'split_clients "$connection" $wx_source {{\n{_lines(shares)}\n}}\n'
    )


def _proxy_bind(site: Site, nodes: tuple[Node, ...]) -> str:
    if not site.sources:
        sockets = f"{64_512 * len(nodes):,}"
        return (
            f"        # One source address reaches {sockets} sockets here ({len(nodes)} x 64,512 ports).\n"
            "        # For more: --node again, or `--source 127.0.0.1 --source 127.0.0.2 …`."
        )
    return f"        proxy_bind {'$wx_source' if len(site.sources) > 1 else site.sources[0]};"


def _error_pages(settings: Settings) -> str:
    file, other = format_size(settings.files.max_upload_size), format_size(BODY_LIMIT)
    messages = {**MESSAGES, 413: f"too large: files may have {file}, other requests {other}"}
    lines = []
    for status, message in sorted(messages.items()):
        body = json.dumps({"code": _code(status), "message": message}, separators=(",", ":"))
        # Not a named location: where the request line itself is broken, nginx has no way into one.
        lines.append(f"error_page {status} /.wx-error/{status};")
        lines.append(f"location = /.wx-error/{status} {{ internal; return {status} '{body}'; }}")
    # A request head that does not fit.
    lines.append("error_page 494 =400 /.wx-error/400;")
    return _lines(lines)


def _code(status: int) -> int:
    """The code in the registry of reply errors, as the gateway itself would answer."""
    if status == 416:
        return ERROR_FILE_RANGE.code
    other = ERROR_INTERNAL if status >= 500 else ERROR_BAD_REQUEST
    return ERRORS_OF_STATUS.get(status, other).code
