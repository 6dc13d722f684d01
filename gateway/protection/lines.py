"""What one message of a traced connection looks like to support staff: lines without secrets; pure.

Payloads are left out unless they are asked for. Even then nothing that opens a door is shown: values whose
names say so, and whatever has the shape of a token of ours, a JWT, or a signed link.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

PAYLOAD_LIMIT: Final = 4096
"""Characters of a payload that are shown."""
PARSED_LIMIT: Final = 256 * 1024
"""Bytes of one object that is looked into; of a larger one only the size is told."""
DEPTH: Final = 32
HIDDEN: Final = "[hidden]"

_SECRET_NAMES: Final = re.compile(
    r".*(token|code|secret|passw(or)?d|session_?key|authorization|cookie|api_?key|encrypted_?data|signature"
    r"|credentials?|jwt)|iv|raw_?data",
    re.IGNORECASE,
)
_SECRET_VALUE: Final = re.compile(r"[A-Za-z0-9_-]{43}|eyJ[\w-]*\.[\w-]+\.[\w-]*")
_SECRET_WITHIN: Final = re.compile(r"(?<![\w-])(?:[A-Za-z0-9_-]{43}(?![\w-])|eyJ[\w-]*\.[\w-]+(?:\.[\w-]*)?)")
_SECRET_PART: Final = re.compile(r"((?:signature|token|code|access_token|api_key)=)[^&\s\"']+", re.IGNORECASE)

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


def lines(direction: str, message: bytes, payloads: bool) -> Iterator[dict[str, Any]]:
    """A line for each object in one message: direction, kind, bytes; channel, id and error where it has one.

    Never raises, whatever the client has sent.
    """
    for part in message.split(b"\n"):
        if part:
            line = _describe(part, payloads)
            if direction == "in" and line["kind"] == "ping":
                line["kind"] = "pong"
            yield {"direction": direction, **line, "bytes": len(part)}


def _describe(part: bytes, payloads: bool) -> dict[str, Any]:
    try:
        value = _decode(part) if len(part) <= PARSED_LIMIT else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {"kind": "undecodable"}
    if not isinstance(value, dict):
        return {"kind": "large" if value is None else "undecodable"}
    if not value:
        return {"kind": "ping"}
    line: dict[str, Any] = {}
    if isinstance(value.get("id"), int):
        line["id"] = value["id"]
    kind, body = _body(value)
    line["kind"] = kind
    for holder in (body, value.get("push")):
        if isinstance(holder, Mapping) and isinstance(holder.get("channel"), str):
            line["channel"] = hide(holder["channel"])[:255]
    if kind in ("error", "disconnect", "unsubscribe") and isinstance(body, Mapping):
        line["code"] = body.get("code") if isinstance(body.get("code"), int) else 0
        line["reason"] = hide(str(body.get("message") or body.get("reason") or ""))[:255]
    if payloads:
        shown = _encode(_Concealer().conceal(body)).decode(errors="replace")
        line["payload"] = shown if len(shown) <= PAYLOAD_LIMIT else shown[:PAYLOAD_LIMIT] + "…"
    return line


def _body(value: Mapping[str, Any]) -> tuple[str, Any]:
    """What it is, and what is in it: of a push what is pushed, else the command or the reply."""
    push = value.get("push")
    inside = push if isinstance(push, Mapping) else value
    for name, body in inside.items():
        if name not in ("id", "channel"):
            return str(name)[:32], body
    return "undecodable", None


class _Concealer:
    """One value without what must not be seen, as far as it is shown: what is behind that costs nothing."""

    def __init__(self) -> None:
        self._room = PAYLOAD_LIMIT + 1  # characters; one more than are shown, so that a cut is seen

    def conceal(self, value: Any, depth: int = DEPTH) -> Any:
        """The same value; of lists, objects and texts what there is room for."""
        self._room -= 1
        if depth == 0:
            return HIDDEN
        if isinstance(value, dict):
            return dict(self._fields(value, depth - 1))
        if isinstance(value, list):
            return [self.conceal(inner, depth - 1) for inner in value if self._room > 0]
        if isinstance(value, str):
            shown = hide(value)
            self._room -= len(shown)
            return shown
        return value

    def _fields(self, value: dict[str, Any], depth: int) -> Iterator[tuple[str, Any]]:
        for name, inner in value.items():
            if self._room <= 0:
                return
            self._room -= len(name)
            hidden = _is_secret(name[:PAYLOAD_LIMIT], inner)
            yield name[: PAYLOAD_LIMIT + 1], HIDDEN if hidden else self.conceal(inner, depth)


def _is_secret(name: str, value: Any) -> bool:
    if value in (None, "") or isinstance(value, bool) or not _SECRET_NAMES.fullmatch(name):
        return False
    return not isinstance(value, int) or name.lower() not in ("code", "errcode")  # numbers of errors are none


def hide(text: str) -> str:
    """A text without what opens a door, and without what is too far behind to be shown."""
    if _SECRET_VALUE.fullmatch(text):
        return HIDDEN
    near = text[: PAYLOAD_LIMIT + 100]  # so that a token that begins in what is shown is known as one
    return _SECRET_PART.sub(rf"\1{HIDDEN}", _SECRET_WITHIN.sub(HIDDEN, near))[: PAYLOAD_LIMIT + 1]
