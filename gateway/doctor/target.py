"""The server under examination: how it is reached, and what is asked of it. It blocks: it is a command."""

from __future__ import annotations

import http.client
import io
import json
import socket
import ssl
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, cast

import httpx

from gateway.config import Settings
from gateway.websocket.handshake import PATH

TIMEOUT: Final = 10.0
"""Seconds for one step: WeChat itself waits up to 60, but nobody would stay that long."""

LOOPBACK_SOURCE: Final = "127.0.0.2"
"""Where requests to this machine itself come from: an address that a proxy on it does not have."""

CHUNK: Final = 64 * 1024


class CannotGoOn(Exception):
    """Nothing of what would follow can work; what is wrong has been said."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, its header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_json(self) -> bool:
        try:
            json.loads(self.body)
        except ValueError:
            return False
        return "json" in self.headers.get("content-type", "")

    @property
    def kind(self) -> str:
        """What it is, for a sentence."""
        return f"{self.status} {self.headers.get('content-type', 'without content type').split(';')[0]}"


@dataclass(slots=True, kw_only=True)
class Options:
    """What the user asked for.

    Attributes:
        resolve: address to use instead of what DNS says, with its port or 0.
        port: connect there; judged as if it were 443.
        ca: PEM file of a root to trust instead of the public ones.
        token: of a signed-in user: a session token, or a JWT.
        idle: seconds to stay connected in silence; 0: do not.
    """

    domain: str
    settings: Settings = field(default_factory=Settings)
    path: str = PATH
    port: int = 443
    resolve: str = ""
    ca: Path | None = None
    token: str = ""
    idle: float = 0.0
    wechat: bool = False
    timeout: float = TIMEOUT


class Target:
    """One domain."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.domain = options.domain
        self.settings = options.settings
        self.addresses: list[str] = [options.resolve] if options.resolve else []

    @property
    def address(self) -> str:
        """The address that all further checks use."""
        if not self.addresses:
            raise CannotGoOn
        return self.addresses[0]

    @property
    def is_loopback(self) -> bool:
        return ip_address(self.address).is_loopback

    # ------------------------------------------------------------------ connections
    def tcp(self, port: int = 0, address: str = "") -> socket.socket:
        """A connection; OSError where there is none."""
        place = address or self.address
        source = (LOOPBACK_SOURCE, 0) if place.startswith("127.") else None
        return socket.create_connection((place, port or self.options.port), self.options.timeout, source)

    def tls(
        self, context: ssl.SSLContext | None = None, session: ssl.SSLSession | None = None
    ) -> ssl.SSLSocket:
        """A connection after its TLS handshake; by default whatever the certificate is like."""
        sock = self.tcp()
        try:
            return (context or self.lax).wrap_socket(sock, server_hostname=self.domain, session=session)
        except BaseException:
            sock.close()
            raise

    @cached_property
    def lax(self) -> ssl.SSLContext:
        """Takes anything: what is wrong with TLS is told once, and must not hide what is wrong behind it."""
        return lax_context()

    @cached_property
    def strict(self) -> ssl.SSLContext:
        """Believes what a phone believes: Mozilla's roots, or those of --ca. Names are checked elsewhere."""
        context = ssl.create_default_context(cafile=self.options.ca) if self.options.ca else _public_roots()
        context.check_hostname = False
        return _any_version(context)

    # ------------------------------------------------------------------ HTTP
    def request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """One request on a connection of its own."""
        fields = {"Content-Length": str(len(body))} if body or method == "POST" else {}
        with self.tls() as sock:
            sock.sendall(self.head(method, path, {**fields, **(headers or {})}) + body)
            return read_answer(sock, method)

    def head(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        """The head of a request."""
        fields = {
            "Host": self.domain,
            "User-Agent": "wx-gateway-doctor",
            "Connection": "close",
            **headers,
        }
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        return "\r\n".join(lines).encode()

    def send(self, head: bytes, body: bytes) -> Answer:
        """A request whose answer may come before the body has been sent."""
        with self.tls() as sock:
            line = Line(sock)
            sock.sendall(head)
            try:
                for start in range(0, len(body), CHUNK):
                    if line.answered(0):
                        break
                    sock.sendall(body[start : start + CHUNK])
            except (BrokenPipeError, ConnectionResetError):
                pass  # it has answered, and wants no more
            return read_answer(line, "POST")

    # ------------------------------------------------------------------ time
    def now(self) -> float:
        return time.time()


def lax_context() -> ssl.SSLContext:
    """TLS 1.0 to 1.3, any cipher, any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return _any_version(context)


def _any_version(context: ssl.SSLContext) -> ssl.SSLContext:
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        # The old versions are what is looked for.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
    return context


def _public_roots() -> ssl.SSLContext:
    # httpx ships Mozilla's roots: the same on every machine, and near to those of phones.
    return httpx.create_ssl_context(trust_env=False)


class Line(io.RawIOBase):
    """A connection on which an answer can be waited for without reading it.

    `select` would not do: TLS 1.3 sends session tickets by itself, and with them the socket is readable.
    """

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._sock = sock
        self._first: bytes | None = None

    def answered(self, seconds: float) -> bool:
        """Whether something has come within `seconds`, be it the end."""
        if self._first is None:
            patience = self._sock.gettimeout()
            self._sock.settimeout(seconds)
            try:
                self._first = self._sock.recv(CHUNK)
            except (ssl.SSLWantReadError, TimeoutError):
                return False
            finally:
                self._sock.settimeout(patience)
        return True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase`."""
        data = self._first or self._sock.recv(len(buffer))
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        self._first = data[size:] or None
        return size

    def makefile(self, mode: str) -> io.BufferedReader:
        """As `http.client` asks a socket."""
        return io.BufferedReader(self)


def read_answer(source: socket.socket | Line, method: str) -> Answer:
    """Read one answer to its end; OSError or HTTPException where there is none."""
    response = http.client.HTTPResponse(cast("socket.socket", source), method=method)
    try:
        response.begin()
        body = response.read(1024 * 1024)
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, body)
    finally:
        response.close()


def parse_json(text: str | bytes) -> Any:
    """The value, or None."""
    try:
        return json.loads(text)
    except ValueError:
        return None
