"""WeChat's own cryptography: signatures, open data of a user, and messages that WeChat pushes. Pure.

- Open data: https://developers.weixin.qq.com/miniprogram/dev/framework/open-ability/signature.html
- Session keys: https://developers.weixin.qq.com/miniprogram/dev/server/API/user-login/api_checksessionkey
- Pushes: https://developers.weixin.qq.com/miniprogram/dev/framework/server-ability/message-push.html

A session key stays text here, in the base64 in which WeChat gives it: two of its signatures are made with
that text, only AES uses the 16 bytes behind it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

AES_BLOCK: Final = 16
PUSH_BLOCK: Final = 32
"""Bytes: the padding of pushes counts in blocks of 32, although AES has blocks of 16."""
_RANDOM_SIZE: Final = 16
_LENGTH_SIZE: Final = 4


class MalformedData(ValueError):
    """What the client sent cannot be a ciphertext at all; no key would open it."""


class StaleSessionKey(ValueError):
    """The session key does not fit the data: the user has a newer one, and signs in again to tell us."""


class ForeignData(ValueError):
    """The data is in order and belongs to another mini-program."""


class BadPush(ValueError):
    """The message was not made by WeChat for this app. One error for all reasons: an attacker learns none."""


@dataclass(frozen=True, slots=True)
class OpenData:
    """Decrypted data of a user; `age` is seconds since WeChat stamped it."""

    fields: dict[str, Any] = field(repr=False)
    age: float


# ---------------------------------------------------------------------------- signatures of a session key
def userinfo_signature(raw_data: str, session_key: str) -> str:
    """`signature` of `wx.getUserInfo`: SHA-1 over the exact text of rawData and the session key."""
    text = raw_data.encode("utf-8", "surrogatepass") + session_key.encode()
    return hashlib.sha1(text, usedforsecurity=False).hexdigest()


def check_userinfo(raw_data: str, signature: str, session_key: str) -> None:
    """Raises `StaleSessionKey` unless the signature is that of the data under this key."""
    if not _equal(signature.lower(), userinfo_signature(raw_data, session_key)):
        raise StaleSessionKey("the signature is of another session key")


def session_signature(session_key: str, message: str = "") -> str:
    """`signature` of calls about a session key: HMAC-SHA256, in hex, keyed with the base64 text."""
    return hmac.new(session_key.encode(), message.encode(), hashlib.sha256).hexdigest()


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode())


# ---------------------------------------------------------------------------- open data
def decrypt_open_data(encrypted_data: str, iv: str, session_key: str, appid: str, now: float) -> OpenData:
    """Open `encryptedData`: AES-128-CBC with PKCS#7, JSON with a watermark.

    Arguments:
        now: unix seconds, for the age of the watermark.

    Raises:
        MalformedData: not base64, or no whole blocks.
        StaleSessionKey: it does not open, or what comes out is no JSON object. A wrong key gives good
            padding once in 256 times, so everything after it counts as a wrong key too.
        ForeignData: the watermark is another app's.
    """
    data, vector = decode_base64(encrypted_data), decode_base64(iv)
    if not data or len(data) % AES_BLOCK or len(vector) != AES_BLOCK:
        raise MalformedData("encryptedData or iv has the wrong length")
    fields = _open_json(data, vector, _aes_key(session_key))
    watermark = fields.get("watermark")
    stamped = watermark if isinstance(watermark, dict) else {}
    if not _equal(str(stamped.get("appid")), appid):
        raise ForeignData("the watermark is of another appid")
    return OpenData(fields, _age(stamped.get("timestamp"), now))


def _open_json(data: bytes, vector: bytes, key: bytes) -> dict[str, Any]:
    try:
        plain = _unpad(_decrypt(data, key, vector), AES_BLOCK)
        fields = msgspec.json.decode(plain.decode())
    except (ValueError, msgspec.DecodeError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        # Out of the except block: the library's error quotes what it could not read.
        raise StaleSessionKey("the data does not open with the session key")
    return fields


def _age(timestamp: object, now: float) -> float:
    if isinstance(timestamp, bool) or not isinstance(timestamp, int | float):
        raise ForeignData("the watermark has no timestamp")
    return max(0.0, now - timestamp)


def encrypt_open_data(
    fields: Mapping[str, Any], session_key: str, iv: bytes | None = None
) -> tuple[str, str]:
    """What a phone gets: `encryptedData` and `iv`, both in base64. For the stand-in WeChat and for tests."""
    vector = secrets.token_bytes(AES_BLOCK) if iv is None else iv
    sealed = _encrypt(_pad(msgspec.json.encode(fields), AES_BLOCK), _aes_key(session_key), vector)
    return base64.b64encode(sealed).decode(), base64.b64encode(vector).decode()


def decode_base64(text: str) -> bytes:
    """Base64 as it arrives: a "+" may have become a space in a form or a query, and "=" may be cut off."""
    repaired = text.strip("\r\n\t").replace(" ", "+").replace("\r", "").replace("\n", "").rstrip("=")
    try:
        return base64.b64decode(repaired + "=" * (-len(repaired) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise MalformedData("not base64") from None


def _aes_key(session_key: str) -> bytes:
    try:
        key = base64.b64decode(session_key, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != AES_BLOCK:
        raise StaleSessionKey("the session key is not 16 bytes of base64")
    return key


# ---------------------------------------------------------------------------- pushes
def push_signature(token: str, timestamp: str, nonce: str, *encrypted: str) -> str:
    """`signature`, and with the ciphertext `msg_signature`: SHA-1 over the sorted parts."""
    parts = "".join(sorted([token, timestamp, nonce, *encrypted]))
    return hashlib.sha1(parts.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def check_push(signature: str, token: str, timestamp: str, nonce: str, *encrypted: str) -> None:
    """Raises `BadPush` unless the signature is right. An empty token signs nothing."""
    expected = push_signature(token, timestamp, nonce, *encrypted)
    if not token or not _equal(signature.lower(), expected):
        raise BadPush("signature")


class PushCipher:
    """Safe mode: AES-256-CBC under the EncodingAESKey, with the length of the message and the appid inside.

    Raises ValueError for a key that is not 43 characters of base64.
    """

    __slots__ = ("_appid", "_key")

    def __init__(self, encoding_aes_key: str, appid: str) -> None:
        self._key = decode_aes_key(encoding_aes_key)
        self._appid = appid.encode()

    def decrypt(self, encrypted: str) -> bytes:
        """The message; raises `BadPush` for anything that was not encrypted for this app."""
        try:
            data = base64.b64decode(encrypted, validate=True)
            plain = _unpad(_decrypt(data, self._key, self._key[:AES_BLOCK]), PUSH_BLOCK)
        except ValueError:
            plain = b""
        start = _RANDOM_SIZE + _LENGTH_SIZE
        end = start + int.from_bytes(plain[_RANDOM_SIZE:start])
        if len(plain) < start or end > len(plain) or not hmac.compare_digest(plain[end:], self._appid):
            raise BadPush("ciphertext")
        return plain[start:end]

    def encrypt(self, message: bytes, random: bytes | None = None) -> str:
        """`Encrypt` in base64; `random` are the 16 bytes in front, for tests."""
        head = secrets.token_bytes(_RANDOM_SIZE) if random is None else random
        plain = head + len(message).to_bytes(_LENGTH_SIZE) + message + self._appid
        sealed = _encrypt(_pad(plain, PUSH_BLOCK), self._key, self._key[:AES_BLOCK])
        return base64.b64encode(sealed).decode()


def decode_aes_key(encoding_aes_key: str) -> bytes:
    """The 32 bytes of an EncodingAESKey: 43 letters and digits, base64 without its "="."""
    if len(encoding_aes_key) != 43 or not (encoding_aes_key.isascii() and encoding_aes_key.isalnum()):
        raise ValueError("an EncodingAESKey has 43 letters and digits")
    # The last character carries two bits too many, which WeChat's generator does not clear.
    return base64.b64decode(encoding_aes_key + "=")


# ---------------------------------------------------------------------------- AES
def _decrypt(data: bytes, key: bytes, vector: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).decryptor()
    return decryptor.update(data) + decryptor.finalize()


def _encrypt(data: bytes, key: bytes, vector: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def _pad(data: bytes, block: int) -> bytes:
    padder = PKCS7(block * 8).padder()
    return padder.update(data) + padder.finalize()


def _unpad(data: bytes, block: int) -> bytes:
    unpadder = PKCS7(block * 8).unpadder()
    return unpadder.update(data) + unpadder.finalize()
