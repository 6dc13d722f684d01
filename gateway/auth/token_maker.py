"""Makes JWTs: for `gateway token`, for tests, and as an example of what a backend does."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import jwt
from jwt.warnings import InsecureKeyLengthWarning


def make_token(
    key: Any, claims: Mapping[str, Any], *, algorithm: str = "HS256", kid: str | None = None
) -> str:
    """Sign `claims` with an HMAC secret, or a private key (PEM or a cryptography key object)."""
    headers = {"kid": kid} if kid is not None else None
    with warnings.catch_warnings():
        # The verifier says so once, in the log, where the operator looks.
        warnings.simplefilter("ignore", InsecureKeyLengthWarning)
        return jwt.encode(dict(claims), key, algorithm=algorithm, headers=headers)
