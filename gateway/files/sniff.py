"""What a file is, by its content; pure. Names and declared types are anybody's claim and do not count.

`filetype` knows the signatures of binary formats. Text has none, so it is told here by what browsers would
make of it (https://mimesniff.spec.whatwg.org/): the danger is a page that is taken for something harmless.
"""

from __future__ import annotations

import codecs
import mimetypes
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final

import filetype

HEAD: Final = 8192
"""Bytes that are looked at: where `filetype` looks for what is inside a zip."""

UNKNOWN: Final = "application/octet-stream"

_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_SVG: Final = re.compile(rb"<(?:[a-z0-9_-]+:)?svg[\s>/]", re.IGNORECASE)
_HTML: Final = re.compile(
    rb"<(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p|!--)[\s>]",
    re.IGNORECASE,
)
_INLINE: Final = re.compile(r"(?:image|video|audio)/(?!svg)|text/plain$")
_TYPES: Final = mimetypes.MimeTypes()
"""The table of the language alone: what a machine adds to it is read from disk, and differs."""
_EXTENSIONS: Final = {"image/jpeg": ".jpg", "audio/x-wav": ".wav", "video/quicktime": ".mov"}


def sniff(head: bytes) -> str:
    """The media type of what starts with `head`."""
    if not head:
        return UNKNOWN
    if head.startswith((b"#!SILK", b"\x02#!SILK")):
        return "audio/silk"  # what older recorders of WeChat make
    found = filetype.guess_mime(head)
    return str(found) if found else _text(head)


def _text(head: bytes) -> str:
    if _CONTROL.search(head):
        return UNKNOWN
    try:
        # Incremental: the head may end inside a character.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return UNKNOWN
    if _SVG.search(head):
        return "image/svg+xml"
    if _HTML.search(head):
        return "text/html"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<?xml"):
        return "text/xml"
    return "text/plain"


def is_allowed(media_type: str, patterns: Iterable[str]) -> bool:
    """Whether one of `patterns` (`image/png`, `video/*`) matches."""
    return any(fnmatchcase(media_type, pattern.strip().lower()) for pattern in patterns)


def may_be_inline(media_type: str) -> bool:
    """Whether a browser may show it from this origin: nothing that can run a script."""
    return _INLINE.match(media_type) is not None


def extension(media_type: str) -> str:
    """A file extension with its dot; empty where none is usual."""
    return _EXTENSIONS.get(media_type) or _TYPES.guess_extension(media_type) or ""
