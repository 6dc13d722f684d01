"""Signed links: whoever holds one may read one file until a time; pure.

For `<image src>` and everything else that cannot send a header.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Final

from gateway.config.units import DAY

MAX_TTL: Final = 30 * DAY
"""Seconds that a client may ask for."""


class Links:
    """Makes and checks signatures (HMAC-SHA256) with one secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def of(cls, link_secret: str, session_key: bytes | None) -> Links:
        """With the secret of the configuration, else derived from the key that all processes share, else
        random: links end with the process then."""
        if link_secret:
            return cls(link_secret.encode())
        return cls(hmac.digest(session_key or secrets.token_bytes(32), b"wx-gateway links v1", "sha256"))

    def sign(self, file_id: str, expires: int) -> str:
        """The query of a link that holds until `expires` (unix seconds)."""
        return f"expires={expires}&signature={self._signature(file_id, expires)}"

    def holds(self, file_id: str, expires: str, signature: str, now: float) -> bool:
        """Whether a link is ours and still good; any text is taken."""
        if not (expires.isascii() and expires.isdigit() and len(expires) <= 12) or int(expires) <= now:
            return False
        wanted = self._signature(file_id, int(expires))
        return hmac.compare_digest(wanted.encode(), signature.encode(errors="replace"))

    def _signature(self, file_id: str, expires: int) -> str:
        digest = hmac.digest(self._secret, f"{file_id}\n{expires}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
