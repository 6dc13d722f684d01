"""Messages that WeChat's servers push: whether they are real, and what is in them. Pure.

https://developers.weixin.qq.com/miniprogram/dev/framework/server-ability/message-push.html

Plain, compatible and safe mode, JSON and XML. A request that is not from WeChat raises `BadPush` and nothing
else; its text is for the operator's log, never for the one who asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from xml.etree.ElementTree import Element, ParseError  # types only: what parses is defusedxml

import msgspec
from defusedxml.ElementTree import fromstring
from msgspec import Struct

from gateway.wechat.crypto import BadPush, PushCipher, check_push

MAX_AGE: Final = 240.0
"""Seconds between WeChat's timestamp and its arrival: three tries of 5 s, and clocks that differ."""
MAX_AHEAD: Final = 60.0
"""Seconds that WeChat's clock may be ahead. With `MAX_AGE` no longer than nonces are remembered."""
NONCE_LIMIT: Final = 128
BODY_LIMIT: Final = 64 * 1024
"""Bytes of one message; the longest that WeChat documents have a few kilobytes."""
ECHO_LIMIT: Final = 512
XML_DEPTH: Final = 16
ID_LIMIT: Final = 256
"""Characters of the fields that tell messages apart."""


class WeChatEvent(Struct, frozen=True):
    """One message of WeChat's servers.

    Attributes:
        type: MsgType: "event", "text", "image" and so on.
        event: Event, where type is "event": "user_enter_tempsession", "wxa_media_check" and so on.
        openid: whom it is about.
        created_at: unix seconds; 0 where the message does not say.
        data: all fields as WeChat names them; from XML they are texts.
    """

    appid: str
    type: str
    event: str
    openid: str
    created_at: int
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CallbackApp:
    """What one mini-program has set in the console. An empty channel: events go to the backend only."""

    appid: str
    token: str
    cipher: PushCipher | None
    channel: str

    def __repr__(self) -> str:
        return f"<CallbackApp {self.appid}>"


@dataclass(frozen=True, slots=True)
class Push:
    """A real message. The keys are hashes: `once` of the signed nonce, `same` of nonce and body, `message`
    of what makes a message the same one when WeChat sends it again."""

    event: WeChatEvent
    once: str
    same: str
    message: str


def check_question(app: CallbackApp, query: Mapping[str, str], now: float) -> str:
    """The `echostr` to send back when the console asks whether this server knows the token."""
    _check_time(query, now)
    echo = query.get("echostr", "")
    _check_signature(app, query, "signature")
    if not 0 < len(echo) <= ECHO_LIMIT or not (echo.isascii() and echo.isprintable()):
        raise BadPush("echostr")
    return echo


def open_push(app: CallbackApp, query: Mapping[str, str], body: bytes, now: float) -> Push:
    """Verify, decrypt and read one message; `now` in unix seconds."""
    _check_time(query, now)
    if len(body) > BODY_LIMIT:
        raise BadPush("the message is too large")
    # Before anything is parsed: it is made of the token alone, and WeChat sends it in every mode.
    _check_signature(app, query, "signature")
    encrypted = query.get("encrypt_type") == "aes" or "msg_signature" in query
    content = _decrypt(app, query, body) if encrypted else body
    data = _read(content)
    once = _hash("nonce", app.appid, query["timestamp"], query["nonce"])
    same = _hash("body", once, hashlib.sha256(body).hexdigest())
    return Push(_event(app.appid, data), once, same, _message_key(app.appid, data, content))


def _check_time(query: Mapping[str, str], now: float) -> None:
    timestamp, nonce = query.get("timestamp", ""), query.get("nonce", "")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise BadPush("timestamp")
    if not -MAX_AHEAD <= now - int(timestamp) <= MAX_AGE:
        raise BadPush("timestamp is too far from this machine's clock")
    if not 0 < len(nonce) <= NONCE_LIMIT:
        raise BadPush("nonce")


def _check_signature(app: CallbackApp, query: Mapping[str, str], name: str, *encrypted: str) -> None:
    check_push(query.get(name, ""), app.token, query["timestamp"], query["nonce"], *encrypted)


def _decrypt(app: CallbackApp, query: Mapping[str, str], body: bytes) -> bytes:
    # In compatible mode the same fields stand beside Encrypt, where nothing protects them: they are ignored.
    encrypted = _read(body).get("Encrypt")
    if not isinstance(encrypted, str):
        raise BadPush("Encrypt is missing")
    _check_signature(app, query, "msg_signature", encrypted)
    if app.cipher is None:
        raise BadPush("the message is encrypted, and encoding_aes_key is not set")
    return app.cipher.decrypt(encrypted)


# ---------------------------------------------------------------------------- content
def _read(content: bytes) -> dict[str, Any]:
    data = _read_xml(content) if content.lstrip().startswith(b"<") else _read_json(content)
    if not isinstance(data, dict):
        raise BadPush("the body is neither a JSON object nor XML")
    return data


def _read_json(content: bytes) -> Any:
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _read_xml(content: bytes) -> Any:
    try:
        root = fromstring(content, forbid_dtd=True)
    except (ParseError, ValueError, LookupError):  # LookupError: an encoding that nobody knows
        return None
    return _value(root, XML_DEPTH)


def _value(element: Element, depth: int) -> Any:
    """Text, or a dict of the children; a name that occurs again becomes a list."""
    if not len(element):
        return (element.text or "").strip()
    if not depth:
        raise BadPush("the XML is too deep")
    fields: dict[str, Any] = {}
    repeated: set[str] = set()
    for child in element:
        value = _value(child, depth - 1)
        if child.tag in repeated:
            fields[child.tag].append(value)
        elif child.tag in fields:
            fields[child.tag] = [fields[child.tag], value]
            repeated.add(child.tag)
        else:
            fields[child.tag] = value
    return fields


def _event(appid: str, data: dict[str, Any]) -> WeChatEvent:
    created = _id(data, "CreateTime")
    return WeChatEvent(
        appid=appid,
        type=_id(data, "MsgType"),
        event=_id(data, "Event"),
        openid=_id(data, "FromUserName"),
        created_at=int(created) if created.isascii() and created.isdigit() and len(created) <= 12 else 0,
        data=data,
    )


def _id(data: Mapping[str, Any], name: str) -> str:
    """A short field, as text; empty where it is missing or something else."""
    value = data.get(name, "")
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    if isinstance(value, int) and abs(value) >= 2**64:
        return ""
    text = str(value)
    return text if len(text) <= ID_LIMIT else ""


def _message_key(appid: str, data: Mapping[str, Any], content: bytes) -> str:
    """WeChat repeats what was not answered in time: MsgId tells messages apart, sender and second events."""
    message_id = _id(data, "MsgId")
    if message_id:
        return _hash("message", appid, message_id)
    sender, created = _id(data, "FromUserName"), _id(data, "CreateTime")
    if sender and created:
        return _hash("event", appid, sender, created, _id(data, "MsgType"), _id(data, "Event"))
    return _hash("content", appid, hashlib.sha256(content).hexdigest())


def _hash(*parts: str) -> str:
    text = "\0".join(("wechat callback", *parts))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
