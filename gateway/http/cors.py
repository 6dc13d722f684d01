"""CORS for H5 builds of a mini-program: Starlette's middleware, with our patterns and our errors.

Taro and uni-app send `withCredentials`, so the answer names the very origin, never `*`.
https://developer.mozilla.org/docs/Web/HTTP/CORS
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from gateway.errors import ERROR_PERMISSION_DENIED
from gateway.http.problems import problem

ALLOWED_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
EXPOSED_HEADERS: Final = (
    "Location", "Retry-After", "ETag", "Accept-Ranges", "Content-Range", "Content-Disposition",
    "Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size", "Tus-Checksum-Algorithm",
    "Upload-Length", "Upload-Offset", "Upload-Expires", "Upload-Metadata",
)  # fmt: skip
MAX_AGE: Final = 600
"""Seconds for which a browser need not ask again."""


class Cors(CORSMiddleware):
    """Outermost, so that errors of any kind carry the headers without which a page cannot read them."""

    def __init__(self, app: Any, allowed_origins: Sequence[str]) -> None:
        super().__init__(
            app,
            # Always a pattern: Starlette answers a plain "*" with "*", which excludes credentials.
            allow_origin_regex="|".join(map(_pattern, allowed_origins)) or r"(?!)",
            allow_methods=ALLOWED_METHODS,
            # Whatever is asked for: Authorization, X-WX-*, Upload-*, and the tracing of the team's own.
            allow_headers=["*"],
            allow_credentials=True,
            expose_headers=EXPOSED_HEADERS,
            max_age=MAX_AGE,
        )

    def is_allowed_origin(self, origin: str) -> bool:
        """Scheme and host have no case."""
        return super().is_allowed_origin(origin.lower())

    def preflight_response(self, request_headers: Headers) -> Response:
        """A refusal is JSON, as every other error."""
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:
            return answer
        raw = {"headers": request_headers.raw}
        refused = problem(raw, ERROR_PERMISSION_DENIED, "not allowed for this origin", status=403)
        refused.headers["Vary"] = "Origin"
        return refused


def _pattern(origin: str) -> str:
    """A regular expression for `https://*.example.com`; `*` alone is any origin, `null` too."""
    if origin == "*":
        return ".*"
    return re.escape(origin.lower()).replace(r"\*", "[a-z0-9.-]+")
