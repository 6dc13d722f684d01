"""The cookie of the dashboard: signed, expiring, and worth nothing after the password has changed.

Nothing is stored: every worker and node with the same configuration makes the same key from the password, and
so lets in whom another one has let in.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from typing import Final

COOKIE: Final = "wxgw_dashboard"
_VALUE: Final = re.compile(
    rb"(?:^|;\s*)" + COOKIE.encode() + rb"=([0-9]{1,12}\.[A-Za-z0-9_-]{16})\.([A-Za-z0-9_-]{43})(?:;|$)"
)


class Cookies:
    """Makes and checks the values.

    Arguments:
        session_key: of the configuration, where there is one: then nobody can try passwords on a value that
            they got hold of.
        ttl: seconds.
    """

    def __init__(self, password: str, session_key: bytes | None, ttl: float) -> None:
        self.ttl = ttl
        salt = b"wx-gateway dashboard" + (session_key or b"")
        # Slow on purpose, once at start (some 50 ms): guesses from a stolen value cost as much each.
        secret = password.encode("utf-8", "surrogatepass")
        self._key = hashlib.scrypt(secret, salt=salt, n=2**14, r=8, p=1, dklen=32)

    def make(self, now: float) -> str:
        """A value that is good from `now` (unix seconds) for `ttl` seconds."""
        signed = f"{int(now + self.ttl)}.{secrets.token_urlsafe(12)}"
        return f"{signed}.{self._sign(signed.encode())}"

    def opens(self, header: bytes, now: float) -> bool:
        """Whether a `Cookie` header has a value of ours that has not expired."""
        found = _VALUE.search(header[:8192])
        if found is None or not hmac.compare_digest(self._sign(found[1]).encode(), found[2]):
            return False
        return now < int(found[1].partition(b".")[0])

    def _sign(self, signed: bytes) -> str:
        digest = hmac.new(self._key, signed, hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")
