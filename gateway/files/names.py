"""File names as clients send them, made safe to show and to send back; pure. They never become paths."""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import quote, unquote_to_bytes

LIMIT: Final = 255
"""Bytes of UTF-8, what filesystems take."""

_PERCENT: Final = re.compile(rb"%[0-9A-Fa-f]{2}")
# Characters that change how the rest of a line is read: "gpj.exe" with an override shows as "exe.jpg".
_BIDI: Final = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean_name(raw: bytes) -> str:
    """The name in `raw`: UTF-8, GB 18030 or percent-encoded. Without folders and control characters, cut to
    255 bytes with its extension kept; empty where nothing is left."""
    text = _decode(raw)
    text = re.split(r"[/\\]", text)[-1]
    kept = "".join(char for char in text if unicodedata.category(char)[0] != "C" and char not in _BIDI)
    kept = unicodedata.normalize("NFC", kept).strip()
    return _cut(kept) if kept.strip(".") else ""


def _decode(raw: bytes) -> str:
    if _PERCENT.search(raw):
        plain = unquote_to_bytes(raw)
        try:
            return plain.decode()
        except UnicodeDecodeError:
            pass
    for encoding in ("utf-8", "gb18030"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")


def _cut(name: str) -> str:
    if len(name.encode()) <= LIMIT:
        return name
    stem, dot, extension = name.rpartition(".")
    tail = (dot + extension).encode() if dot and len(extension) <= 16 else b""
    return ((stem if tail else name).encode()[: LIMIT - len(tail)]).decode(errors="ignore") + tail.decode()


def content_disposition(name: str, *, inline: bool) -> str:
    """The header (RFC 6266): the name in UTF-8, and for old readers an ASCII one."""
    kind = "inline" if inline else "attachment"
    if not name:
        return kind
    plain = re.sub(r"[^ !#$&+\-.0-9A-Z^_`a-z|~(),;=@\[\]{}]", "_", name)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
