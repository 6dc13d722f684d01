"""Only from our own page: what a browser says of where a request comes from.

A page of the internet can send requests to what listens on this machine, and a form needs nobody's leave for
it. It cannot choose the headers by which it is recognized here, and cannot send JSON without asking first.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from gateway.http.asgi import Scope, header


def is_same_origin(scope: Scope) -> bool:
    """Whether the request is from a page of this very host, or from no page at all."""
    site = header(scope, b"sec-fetch-site")
    if site:
        return site in (b"same-origin", b"none")
    origin = header(scope, b"origin").decode("latin-1")
    if not origin:
        return True
    try:
        return urlsplit(origin).netloc.lower() == header(scope, b"host").decode("latin-1").lower()
    except ValueError:  # no URL at all
        return False


def is_json(scope: Scope) -> bool:
    """Whether the body says that it is JSON, which no form can."""
    return header(scope, b"content-type").partition(b";")[0].strip().lower() == b"application/json"
