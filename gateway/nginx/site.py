"""What a site is made of: the values that its templates take, from a setting where there is one."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import PurePosixPath
from typing import Final, Literal

from gateway.config import Settings
from gateway.config.units import MB, SECOND, parse_address
from gateway.errors import GatewayError

Tls = Literal["here", "upstream"]

TLS_PROTOCOLS: Final = ("TLSv1.2", "TLSv1.3")
CIPHERS: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
"""TLS 1.2 suites with forward secrecy and an AEAD. The GCM ones are what Apple's App Transport Security takes
(NSAppTransportSecurity, "Requirements for Connecting Using ATS"); CHACHA20 is for phones that have no AES in
hardware. Those of TLS 1.3 are all good, and not configured here."""

MULTIPART_OVERHEAD: Final = 1 * MB
"""Room for the parts of a form around its file, as files.max_upload_size promises: fields such as the token,
and enough that a file just over the limit is refused by the gateway, which can say why."""

HTTP_MARGIN: Final = 10 * SECOND
"""What nginx waits longer than the gateway waits for WeChat: the gateway's own answer is the better one."""

KEEPALIVE_MARGIN: Final = 15
"""Seconds by which nginx closes idle connections before the gateway does."""

MAX_FAILS: Final = 3
FAIL_TIMEOUT: Final = 5
"""Seconds; a gateway restarts in about one."""

_DOMAIN: Final = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]"
)
_PATH: Final = re.compile(r"/[\w.+/@=-]*")
_LISTEN: Final = re.compile(r"(?:[0-9.]{7,15}:|\[[0-9a-fA-F:.]{2,45}\]:)?[0-9]{1,5}")


class SiteError(GatewayError):
    """The site cannot be rendered; one line that says what to change."""


@dataclass(frozen=True, slots=True)
class Node:
    """One gateway process, or several behind one port, as nginx reaches it."""

    host: str
    websocket: int
    http: int

    @property
    def socket_address(self) -> str:
        return f"{_literal(self.host)}:{self.websocket}"

    @property
    def http_address(self) -> str:
        return f"{_literal(self.host)}:{self.http}"


@dataclass(frozen=True, slots=True)
class Site:
    """One front.

    Attributes:
        tls: "here", or "upstream" where a load balancer before nginx ends it.
        listen: addresses of the server block; http_listen: those of port 80, only with TLS here.
        nodes: of the gateway; empty: the listeners of the settings.
        sources: local addresses to connect to the nodes from; each is good for 64,512 sockets per node.
        h5: directory of an H5 build, empty: none.
        www: directory with `acme/` and `verify/`.
        connections: sockets that one machine is to hold.
        connections_per_ip, requests_per_second: limits of one address; burst: requests it may send at once.
    """

    domain: str
    cert: str = ""
    key: str = ""
    tls: Tls = "here"
    listen: tuple[str, ...] = ()
    http_listen: tuple[str, ...] = ("80", "[::]:80")
    nodes: tuple[Node, ...] = ()
    sources: tuple[str, ...] = ()
    h5: str = ""
    www: str = "/var/www/wx-gateway"
    logs: str = "/var/log/nginx"
    connections: int = 100_000
    connections_per_ip: int = 2_000
    requests_per_second: int = 100
    burst: int = 400
    written_by: str = field(default="", compare=False)

    @property
    def listens(self) -> tuple[str, ...]:
        """Where the server block listens."""
        port = "443" if self.tls == "here" else "80"
        return self.listen or (port, f"[::]:{port}")


def parse_node(text: str, settings: Settings) -> Node:
    """`host`, `host:8000` (its socket port) or `host:8000,8001` (HTTP, too); the rest as in [listen]."""
    address, _, http = text.partition(",")
    websocket_port = parse_address(settings.listen.websocket)[1]
    http_port = parse_address(settings.listen.http)[1]
    try:
        if re.search(r":[0-9]+\Z", address) and not address.endswith("]"):
            host, websocket_port = parse_address(address)
        else:
            host, _ = parse_address(f"{address}:0")
        if http:
            http_port = parse_address(f"h:{http}")[1]
    except ValueError:
        raise SiteError(f'--node {text}: write "10.0.0.5", "10.0.0.5:8000" or "10.0.0.5:8000,8001"') from None
    return Node(host, websocket_port, http_port)


def own_nodes(settings: Settings) -> tuple[Node, ...]:
    """The gateway of these settings, on the same machine as nginx."""
    host, websocket = parse_address(settings.listen.websocket)
    http_host, http = parse_address(settings.listen.http)
    if {host, http_host} <= {"0.0.0.0", "::"}:  # noqa: S104 (compared, not bound)
        host = "127.0.0.1"
    elif host != http_host:
        raise SiteError("listen.websocket and listen.http are on different hosts: name them with --node")
    return (Node(host, websocket, http),)


def check(site: Site, settings: Settings) -> None:
    """Refuse what would end up as a broken or an unsafe file. Raises SiteError."""
    if not _DOMAIN.fullmatch(site.domain):
        raise SiteError(
            f"--domain {site.domain}: write a name such as api.example.com, in lower case, no port"
        )
    if site.tls == "here" and not (site.cert and site.key):
        raise SiteError("--cert and --key are needed, or --tls upstream where a load balancer has them")
    paths = (site.cert, site.key, site.h5, site.www, site.logs, *_file_paths(settings))
    for path in filter(None, paths):
        if not _PATH.fullmatch(path):
            raise SiteError(f"{path}: write an absolute path of letters, digits and . _ + = @ -")
    for address in (*site.listens, *site.http_listen):
        if not _LISTEN.fullmatch(address):
            raise SiteError(f'--listen {address}: write "443", "10.0.0.5:443" or "[::]:443"')
    _check_sources(site, settings)
    if site.tls == "upstream" and not load_balancers(settings):
        raise SiteError(
            "--tls upstream believes X-Forwarded-For of your load balancer: name its networks in "
            'websocket.trusted_proxies, for example ["127.0.0.1/32", "::1/128", "10.0.0.0/16"]'
        )


def _check_sources(site: Site, settings: Settings) -> None:
    for source in site.sources:
        try:
            address = ip_address(source)
        except ValueError:
            raise SiteError(
                f"--source {source}: write an address of this machine, such as 127.0.0.2"
            ) from None
        if not any(address in ip_network(each) for each in settings.websocket.trusted_proxies):
            raise SiteError(
                f"--source {source}: the gateway does not trust it, see websocket.trusted_proxies"
            )


def load_balancers(settings: Settings) -> tuple[str, ...]:
    """The networks of websocket.trusted_proxies that are not this machine itself."""
    networks: list[IPv4Network | IPv6Network] = [
        ip_network(each) for each in settings.websocket.trusted_proxies
    ]
    return tuple(str(each) for each in networks if not each.is_loopback)


# ---------------------------------------------------------------------------- numbers derived from settings
def read_timeout(settings: Settings) -> int:
    """Seconds of silence on a socket before nginx cuts it: two pings and the wait for the last answer."""
    return math.ceil(2 * settings.client.ping_interval + settings.client.pong_timeout)


def upload_limit(settings: Settings) -> int:
    """Bytes of a whole upload request."""
    return settings.files.max_upload_size + MULTIPART_OVERHEAD


def accel_directory(settings: Settings) -> str:
    """What the location of X-Accel-Redirect is an alias of."""
    return f"{settings.files.directory.rstrip('/')}/files"


def _file_paths(settings: Settings) -> tuple[str, ...]:
    if not settings.files.accel_location:
        return ()
    directory = settings.files.directory
    if not PurePosixPath(directory).is_absolute():
        raise SiteError(f'files.directory = "{directory}": nginx needs an absolute path for X-Accel-Redirect')
    return settings.files.accel_location, directory


def _literal(host: str) -> str:
    return f"[{host}]" if ":" in host else host
