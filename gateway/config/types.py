"""The types of settings: how each kind of value is read, what it is called, and what to write instead.

Every validator here takes what TOML or an environment variable gives and raises `ValueError` with a text that
says the fix and never repeats the value: the value may be a secret that slid into the wrong key.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from gateway.config.units import format_duration, format_size, parse_address, parse_duration, parse_size

MASK = "**********"
"""What stands for a secret wherever one could be seen."""

# A pasted `gateway config show` would otherwise start with ten asterisks for a password.
_MASKED = "this is the mask that stands for a secret, put the secret itself here"

KeyPath = tuple[str | int, ...]
"""Where a value is: ("client", "ping_interval"), ("wechat", "apps", 0, "secret")."""

REDIS_SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a row holds: `name` for the docs, `secret` values are never shown, `items` are lists."""

    name: str
    secret: bool = False
    items: bool = False
    environment: Callable[[str], object] = str
    """Turns the text of an environment variable into what TOML would have given."""
    rows: type[BaseModel] | None = None
    """The rows of one item, where the value is made of tables."""
    text: Callable[[Any], str] = str
    """Writes a valid value the way people write it."""
    url: bool = False
    """May hold a password, which is masked; a URL that cannot be taken apart is masked as a whole."""


class Rows(BaseModel):
    """What all sections share: frozen, no unknown keys, and no input echoed in pydantic's own errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )


def _flag_text(text: str) -> object:
    words = {
        "true": True,
        "1": True,
        "yes": True,
        "on": True,
        "false": False,
        "0": False,
        "no": False,
        "off": False,
    }
    return words.get(text.strip().lower(), text)


def _whole_text(text: str) -> object:
    # Not int() alone: it takes "1_000" and other alphabets' digits, which TOML readers would not.
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text.strip()) else text


def _list_text(text: str) -> object:
    if text.lstrip().startswith("["):
        return _json_text(text)
    return [item.strip() for item in text.split(",") if item.strip()]


def _json_text(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        # Stays a text, so the row's own validator refuses it.
        return text


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("write true or false, without quotes")
    return value


def _whole(least: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError("write a whole number, without quotes")
        if not least <= value < 2**53:
            raise ValueError(f"must be {least} or more" if value < least else "too large")
        return value

    return check


def _positive_duration(value: object) -> float:
    seconds = parse_duration(value)
    if seconds == 0:
        raise ValueError("must be longer than 0s")
    return seconds


def _positive_size(value: object) -> int:
    size = parse_size(value)
    if size == 0:
        raise ValueError("must be larger than 0")
    return size


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("write a text in quotes")
    return value


def _name(value: object) -> str:
    if not _text(value):
        raise ValueError("must not be empty")
    return _text(value)


def _address(value: object) -> str:
    parse_address(value)
    return _text(value)


def _secret(value: object) -> SecretStr:
    if isinstance(value, SecretStr):
        return value
    text = _text(value)
    if text == MASK:
        raise ValueError(_MASKED)
    return SecretStr(text)


def _encryption_key(value: object) -> SecretStr:
    secret = _secret(value)
    if secret.get_secret_value():
        decode_key(secret.get_secret_value())
    return secret


def _aes_key(value: object) -> SecretStr:
    secret = _secret(value)
    if secret.get_secret_value() and not re.fullmatch("[A-Za-z0-9]{43}", secret.get_secret_value()):
        raise ValueError("must be the 43 letters and digits of the console's EncodingAESKey")
    return secret


def decode_key(text: str) -> bytes:
    """The 32 bytes of a key written as 64 hex digits or as base64 (plain or url-safe, padded or not)."""
    if re.fullmatch("[0-9a-fA-F]{64}", text):
        return bytes.fromhex(text)
    try:
        padded = text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
        key = base64.b64decode(padded.translate(str.maketrans("-_", "+/")), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32:
        raise ValueError("must be 32 bytes as base64 or hex; make one with: openssl rand -base64 32")
    return key


def _url(*schemes: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        text = _text(value)
        if MASK in text:
            raise ValueError(_MASKED)
        if text and not _is_url(text, schemes):
            raise ValueError("not a URL; it starts with " + " or ".join(f"{scheme}://" for scheme in schemes))
        return text

    return check


def _is_url(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.netloc or parts.scheme == "unix")


def _origin(item: object) -> str:
    text = _text(item)
    if text != "*" and not re.fullmatch(r"[a-z][-+.a-z0-9]*://[^/\s]+", text):
        raise ValueError(
            'write origins such as "https://app.example.com" or "https://*.example.com", without a path'
        )
    return text


def _network(item: object) -> str:
    try:
        ipaddress.ip_network(_text(item))
    except ValueError:
        raise ValueError('write networks such as "10.0.0.0/8", "192.0.2.7/32" or "::1/128"') from None
    return _text(item)


def _width(item: object) -> int:
    width = int(item) if isinstance(item, str) and re.fullmatch("[0-9]{1,4}", item) else item
    if not isinstance(width, int) or isinstance(width, bool) or not 16 <= width <= 4096:
        raise ValueError("write widths of 16 to 4096 pixels")
    return width


_NOT_TO_SEND = re.compile(
    "host|connection|upgrade|te|trailer|transfer-encoding|content-.*|expect|keep-alive|accept-encoding|sec-.*"
)


def _header(item: object) -> str:
    if not re.fullmatch(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+", _text(item)):
        raise ValueError('write names of headers such as "User-Agent"')
    if _NOT_TO_SEND.fullmatch(_text(item).lower()):
        raise ValueError(f"{_text(item)} is about the connection, and is nobody else's business")
    return _text(item).lower()


def _header_line(item: object) -> tuple[str, SecretStr]:
    """A name in lower case, and its value, which may be a key."""
    if isinstance(item, tuple):
        return item
    name, colon, value = _text(item).partition(":")
    value = value.strip()
    if not colon or not value or not re.fullmatch(r"[\x20-\x7e]+", value):
        raise ValueError('write headers such as "Authorization: Bearer …"')
    if value == MASK:
        raise ValueError(_MASKED)
    return _header(name), SecretStr(value)


def parse_status(text: str) -> tuple[int, int, str]:
    """A status of HTTP, the code that it means, and a text, out of `404: 1004 no such order`."""
    found = re.fullmatch(r"([1-5][0-9]{2}): *([0-9]{3,4})(?: +(.{1,100}))?", text)
    code = int(found[2]) if found else 0
    if found is None or found[1] == "200" or not (100 <= code < 2000 or 3000 <= code < 5000):
        raise ValueError('write statuses such as "404: 1004 no such order" or "403: 4503 banned"')
    return int(found[1]), code, found[3] or ""


def _status(item: object) -> str:
    parse_status(_text(item))
    return _text(item)


def _regex(value: object) -> str:
    try:
        re.compile(_text(value))
    except re.error as error:
        raise ValueError(f"not a regular expression: {error.msg}") from None
    return _text(value)


def _listed(item: Callable[[object], Any], example: str) -> Callable[[object], tuple[Any, ...]]:
    def check(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise ValueError(f"write a list: {example}")
        return tuple(item(one) for one in value)

    return check


def _one_of(*choices: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if value not in choices:
            raise ValueError("write " + " or ".join(f'"{choice}"' for choice in choices))
        return _text(value)

    return check


Flag = Annotated[bool, Kind("true or false", environment=_flag_text), BeforeValidator(_flag)]
Count = Annotated[int, Kind("number", environment=_whole_text), BeforeValidator(_whole(0))]
Positive = Annotated[int, Kind("number, 1 or more", environment=_whole_text), BeforeValidator(_whole(1))]
Duration = Annotated[float, Kind("duration", text=format_duration), BeforeValidator(parse_duration)]
PositiveDuration = Annotated[
    float, Kind("duration, above 0", text=format_duration), BeforeValidator(_positive_duration)
]
Size = Annotated[int, Kind("size", text=format_size), BeforeValidator(parse_size)]
PositiveSize = Annotated[int, Kind("size, above 0", text=format_size), BeforeValidator(_positive_size)]
Text = Annotated[str, Kind("text"), BeforeValidator(_text)]
Name = Annotated[str, Kind("text, not empty"), BeforeValidator(_name)]
Regex = Annotated[str, Kind("regular expression"), BeforeValidator(_regex)]
Address = Annotated[str, Kind("host:port"), BeforeValidator(_address)]
Secret = Annotated[SecretStr, Kind("secret", secret=True), BeforeValidator(_secret)]
EncryptionKey = Annotated[SecretStr, Kind("secret", secret=True), BeforeValidator(_encryption_key)]
AESKey = Annotated[SecretStr, Kind("secret", secret=True), BeforeValidator(_aes_key)]
# Not in repr: a URL may hold a password. To print one, `redact_url`.
HttpUrl = Annotated[str, Kind("URL", url=True), BeforeValidator(_url("https", "http")), Field(repr=False)]
RedisUrl = Annotated[str, Kind("URL", url=True), BeforeValidator(_url(*REDIS_SCHEMES)), Field(repr=False)]
RedisUrls = Annotated[
    tuple[str, ...],
    Kind("list of URLs", url=True, items=True, environment=_list_text),
    BeforeValidator(_listed(_url(*REDIS_SCHEMES), '["redis://10.0.0.6:6379/0"]')),
    Field(repr=False),
]
PublicKey = Annotated[str, Kind("PEM text, or the path of a PEM file"), BeforeValidator(_text)]
Secrets = Annotated[
    tuple[SecretStr, ...],
    Kind("list of secrets", secret=True, items=True, environment=_list_text),
    BeforeValidator(_listed(_secret, '["first", "second"]')),
]
Texts = Annotated[
    tuple[str, ...],
    Kind("list of texts", items=True, environment=_list_text),
    BeforeValidator(_listed(_text, '["first", "second"]')),
]
HeaderNames = Annotated[
    tuple[str, ...],
    Kind("list of header names", items=True, environment=_list_text),
    BeforeValidator(_listed(_header, '["User-Agent"]')),
]
Headers = Annotated[
    tuple[tuple[str, SecretStr], ...],
    Kind("list of headers", secret=True, items=True, environment=_list_text),
    BeforeValidator(_listed(_header_line, '["Authorization: Bearer …"]')),
]
StatusCodes = Annotated[
    tuple[str, ...],
    Kind("list of statuses", items=True, environment=_list_text),
    BeforeValidator(_listed(_status, '["404: 1004 no such order"]')),
]
Widths = Annotated[
    tuple[int, ...],
    Kind("list of numbers", items=True, environment=_list_text),
    BeforeValidator(_listed(_width, "[200, 400]")),
]
Origins = Annotated[
    tuple[str, ...],
    Kind("list of origins", items=True, environment=_list_text),
    BeforeValidator(_listed(_origin, '["https://app.example.com"]')),
]
Networks = Annotated[
    tuple[str, ...],
    Kind("list of networks", items=True, environment=_list_text),
    BeforeValidator(_listed(_network, '["10.0.0.0/8"]')),
]


def tables(rows: type[BaseModel], header: str, json_type: str) -> Kind:
    """Rows of rows: apps and namespaces. They hold secrets, or may, so they are never shown as a whole."""
    name = f"tables: `{header}` in the file, a JSON {json_type} in the environment"
    return Kind(name, secret=True, environment=_json_text, rows=rows)


def choice(*choices: str) -> tuple[Kind, BeforeValidator]:
    """The metadata of a row that takes one of a few words."""
    return Kind(" or ".join(f"`{one}`" for one in choices)), BeforeValidator(_one_of(*choices))
