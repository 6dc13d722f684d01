"""Redis URLs: which servers, which of three topologies, with which credentials.

    redis://[user[:password]@]host[:6379][/db]          rediss:// is the same over TLS
    unix://[user[:password]@]/path/to/socket[?db=0]
    redis+sentinel://[user[:password]@]host:26379,host:26379/master_name[?db=0]
    redis+cluster://[user[:password]@]host:6379,host:6379

`rediss+sentinel` and `rediss+cluster` speak TLS. Parameters: `db`, `ssl_ca_certs`, `ssl_certfile`,
`ssl_keyfile`, `ssl_cert_reqs` (`required`, or `none` for a certificate that nobody checks), and
`sentinel_username`, `sentinel_password` where the Sentinels have credentials of their own.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

from gateway.errors import UpstreamError

Kind = Literal["single", "sentinel", "cluster"]

_SCHEMES: dict[str, tuple[Kind, bool, int]] = {
    "redis": ("single", False, 6379),
    "rediss": ("single", True, 6379),
    "unix": ("single", False, 0),
    "redis+sentinel": ("sentinel", False, 26379),
    "rediss+sentinel": ("sentinel", True, 26379),
    "redis+cluster": ("cluster", False, 6379),
    "rediss+cluster": ("cluster", True, 6379),
}
_PARAMETERS = frozenset(
    {
        "db",
        "ssl_ca_certs",
        "ssl_certfile",
        "ssl_keyfile",
        "ssl_cert_reqs",
        "sentinel_username",
        "sentinel_password",
    }
)


@dataclass(frozen=True, slots=True)
class Credentials:
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class TLS:
    """`parameters` are the ones of the URL, for clients that make a context of their own."""

    context: ssl.SSLContext
    parameters: dict[str, str]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server: where it is and how to enter. `path` is a unix socket and excludes host and port."""

    host: str = ""
    port: int = 0
    path: str = ""
    db: int = 0
    credentials: Credentials = Credentials()
    tls: TLS | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def at(self, host: str, port: int) -> Endpoint:
        """The same way to enter, at another address."""
        return replace(self, host=host, port=port)


@dataclass(frozen=True, slots=True)
class RedisURL:
    """A parsed URL. `endpoints`: the server; or the Sentinels; or some nodes of the cluster."""

    kind: Kind
    endpoints: tuple[Endpoint, ...]
    master_name: str = ""
    master: Endpoint = Endpoint()
    """How to enter the master that the Sentinels name; its address is not known here."""

    def __str__(self) -> str:
        where = ",".join(str(endpoint) for endpoint in self.endpoints)
        return f"{where}/{self.master_name}" if self.master_name else where


def parse_url(url: str) -> RedisURL:
    """Raises UpstreamError with one line that never shows the password."""
    try:
        return _parse(url)
    except (ValueError, OSError) as error:
        shown = url.rpartition("@")[2] or "(empty)"
        raise UpstreamError(detail=f"this is no Redis URL: {shown}: {error}") from None


def _parse(url: str) -> RedisURL:
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"it has to start with one of {', '.join(f'{name}://' for name in _SCHEMES)}")
    kind, secure, port = _SCHEMES[parts.scheme]
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if unknown := sorted(set(query) - _PARAMETERS):
        raise ValueError(f"unknown parameter {unknown[0]!r}")
    user, _, hosts = parts.netloc.rpartition("@")
    username, _, password = user.partition(":")
    credentials = Credentials(unquote(username), unquote(password))
    path = unquote(parts.path).strip("/")
    base = Endpoint(db=_db(kind, path, query), credentials=credentials, tls=_tls(query) if secure else None)
    if parts.scheme == "unix":
        if not path:
            raise ValueError("the path of the socket is missing")
        return RedisURL(kind, (replace(base, path=f"/{path}"),))
    endpoints = tuple(_host(base, text, port) for text in hosts.split(","))
    if kind != "sentinel":
        if kind == "single" and len(endpoints) > 1:
            raise ValueError("several hosts need redis+sentinel:// or redis+cluster://, or several URLs")
        return RedisURL(kind, endpoints)
    if not path or "/" in path:
        raise ValueError("the name of the master is missing: redis+sentinel://host:port/master_name")
    own = Credentials(query.get("sentinel_username", ""), query.get("sentinel_password", ""))
    return RedisURL(kind, tuple(replace(item, db=0, credentials=own) for item in endpoints), path, base)


def _db(kind: Kind, path: str, query: dict[str, str]) -> int:
    text = query.get("db", path if kind == "single" and path.isdigit() else "0")
    if not text.isdigit():
        raise ValueError(f"the database is a number, not {text!r}")
    if kind == "cluster" and (int(text) or path):
        raise ValueError("a cluster has no databases")
    return int(text)


def _host(base: Endpoint, text: str, default_port: int) -> Endpoint:
    parts = urlsplit(f"//{text.strip()}")
    if not parts.hostname:
        raise ValueError("the host is missing")
    return base.at(parts.hostname, parts.port or default_port)


def _tls(query: dict[str, str]) -> TLS:
    context = ssl.create_default_context(cafile=query.get("ssl_ca_certs"))
    wanted = query.get("ssl_cert_reqs", "required")
    if wanted == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif wanted != "required":
        raise ValueError(f"ssl_cert_reqs is required or none, not {wanted!r}")
    if certfile := query.get("ssl_certfile"):
        context.load_cert_chain(certfile, query.get("ssl_keyfile"))
    return TLS(context, {name: value for name, value in query.items() if name.startswith("ssl_")})
