"""Keys and forgeries for the tests of tokens. They sign nothing outside these tests."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

NOW = 1_700_000_000
SECRET = "a-secret-of-at-least-sixty-four-bytes-so-that-hs512-is-content-too"
OLD_SECRET = "the-secret-before-that-one-also-has-sixty-four-bytes-or-even-more-"

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEYS = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
}
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def pem(key: Any) -> str:
    public = key.public_key()
    return str(
        public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()
    )


def forge(header: dict[str, Any], key: bytes) -> str:
    """A token with any header, signed with HMAC-SHA256: what PyJWT refuses to make."""
    parts = [json.dumps(part).encode() for part in (header, {"sub": "admin"})]
    body = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(body, key)
    return (body + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()
