"""Ways to be broken: what each is called in a report, and what its fix must name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gateway.doctor.report import Level
from gateway.nginx.site import CIPHERS
from tests.certificates import Authority, Pair
from tests.doctor.conftest import DOMAIN, PING, Change

OURS = ":".join(CIPHERS)
ANY = "ALL:@SECLEVEL=0"
PROTOCOLS = "ssl_protocols TLSv1.2 TLSv1.3"
BODY = "client_max_body_size 3145728"


@dataclass(frozen=True)
class Broken:
    """A way to be broken, the check that must find it, and a word of the fix that it must name."""

    name: str
    check: str
    says: str
    fix: str
    changes: tuple[Change, ...] = ()
    pair: Callable[[Authority], Pair] | None = None
    level: Level = Level.FAIL
    options: dict[str, Any] = field(default_factory=dict)
    also: frozenset[str] = frozenset()


def _timeout(value: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        start = text.index("location = /connection/websocket")
        return text[:start] + re.sub(r"(proxy_read_timeout) \d+s", rf"\1 {value}", text[start:], count=1)

    return change


def _without_line(start: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        lines = text.splitlines()
        kept = [line for line in lines if not line.strip().startswith(start)]
        assert len(kept) < len(lines)
        return "\n".join(kept)

    return change


def leak(patient_port: int) -> Change:
    place = r"location ~ ^/(sandbox|api|metrics|health|healthz|readyz|dashboard|dev)(/|$) {"
    # With nginx's own default for Host: under the site's name the sandbox refuses by itself.
    to = f"proxy_set_header Host $proxy_host;\n        proxy_pass http://127.0.0.1:{patient_port};"
    return (f"{place}\n        return 404;", f"{place}\n        {to}")


HTML_404 = """location /wx/ { error_page 404 /x.html; return 404; }
    location /x.html { internal; default_type text/html; return 404 '<h1>404</h1>'; }
    location /elsewhere/ {"""

NO_TOKEN = frozenset({"upload and download"})
BROKEN = (
    Broken(
        "expired certificate",
        "certificate expiry",
        "expired on",
        "renew",
        pair=lambda ca: ca.issue(DOMAIN, days=-1),
    ),
    Broken(
        "missing intermediate",
        "certificate chain",
        "incomplete: 1 sent",
        "fullchain",
        pair=lambda ca: ca.issue(DOMAIN, chain=False),
    ),
    Broken(
        "wrong name",
        "certificate name",
        "other.example.com",
        "certificate for api.example.com",
        pair=lambda ca: ca.issue("other.example.com"),
    ),
    Broken(
        "self-signed",
        "certificate chain",
        "self-signed",
        "public authority",
        pair=lambda ca: ca.issue(DOMAIN, self_signed=True),
    ),
    Broken(
        "ends soon",
        "certificate expiry",
        "days left",
        "renew",
        pair=lambda ca: ca.issue(DOMAIN, days=5.5),
        level=Level.WARN,
    ),
    Broken(
        "no Upgrade header",
        "upgrade to a socket",
        "Upgrade header is lost",
        "$http_upgrade",
        (_without_line("proxy_set_header Upgrade"),),
    ),
    Broken(
        "10 s read timeout",
        "idle connection",
        "of silence",
        "proxy_read_timeout",
        (_timeout(f"{round(PING * 400)}ms"),),
        options={"idle": 3 * PING},
    ),
    Broken("HTML 413", "413", "text/html", "error_page", (_without_line("error_page 413"),)),
    Broken(
        "1 MB body limit", "body limit", "413 for a file of 2MB", BODY, ((BODY, "client_max_body_size 1m"),)
    ),
    Broken(
        "buffered uploads",
        "uploads unbuffered",
        "after the last byte",
        "proxy_request_buffering off",
        (("proxy_request_buffering off", "proxy_request_buffering on"),),
        level=Level.WARN,
    ),
    Broken(
        "TLS 1.0 and 1.1 only",
        "TLS versions",
        "only 1.0, 1.1",
        "TLSv1.2",
        ((PROTOCOLS, "ssl_protocols TLSv1 TLSv1.1"), (OURS, ANY)),
        also=frozenset({"ciphers"}),
    ),
    Broken(
        "old TLS, too",
        "TLS versions",
        "1.0, 1.1, 1.2, 1.3",
        "TLSv1.2",
        ((PROTOCOLS, "ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3"), (OURS, ANY)),
        level=Level.WARN,
    ),
    Broken(
        "no forward secrecy",
        "ciphers",
        "none",
        "ECDHE",
        ((PROTOCOLS, "ssl_protocols TLSv1.2"), (OURS, "AES128-SHA")),
        pair=lambda ca: ca.issue(DOMAIN, rsa_bits=2048),
        also=frozenset({"TLS versions"}),
    ),
    Broken("http instead of https", "TLS", "speaks http", "ssl", ((" ssl http2", ""),)),
    Broken("no HTTP/2", "TLS", "no HTTP/2", "http2", ((" ssl http2", " ssl"),), level=Level.WARN),
    Broken(
        "no resumption",
        "TLS resumption",
        "does not work",
        "ssl_session_cache",
        (("ssl_session_cache shared:wx_tls:50m", "ssl_session_cache off"),),
        level=Level.WARN,
    ),
    Broken(
        "HTML 404",
        "404",
        "text/html",
        "error_page",
        (("location /wx/ {", HTML_404),),
        also=frozenset({"callback URL"}),
    ),
    Broken(
        "forged address believed",
        "real client IP",
        "forged",
        "$remote_addr",
        (("X-Forwarded-For $remote_addr", "X-Forwarded-For $http_x_forwarded_for"),),
    ),
    Broken(
        "address not passed",
        "real client IP",
        "sees 127.0.0.1",
        "trusted_proxies",
        (("X-Forwarded-For $remote_addr", 'X-Forwarded-For ""'),),
    ),
    Broken(
        "no such path",
        "plain GET on the socket",
        "404",
        "--path",
        (("location = /connection/websocket", "location = /elsewhere"),),
        also=frozenset({"real client IP", "upgrade to a socket"}),
    ),
)
