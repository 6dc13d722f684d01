"""Which words of a publication people will read, in portions that WeChat's check takes; pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

PORTION: Final = 2500
"""Characters of one call: https://developers.weixin.qq.com/miniprogram/dev/server/API/sec-center/sec-check/api_msgseccheck.html"""
OVERLAP: Final = 100
"""Characters that two portions of one text share, so that no phrase is cut in two unseen."""
TEXT_LIMIT: Final = 10_000
"""Characters of all texts of one publication: five calls."""


class TooMuchText(ValueError):
    """More text than one publication may have."""


_read: Final = json.JSONDecoder(object_pairs_hook=tuple, parse_int=float).decode
"""Objects become tuples of names and values. (As integers, long numbers would take long.)"""


def texts_of(data: bytes, fields: Sequence[str]) -> list[str]:
    """All strings in a JSON value, or those at `fields`: names joined by dots, through lists and past them.

    Names of fields are no text, and numbers are none. Of a name that an object has twice both values are:
    which one a reader takes is the reader's choice. Raises ValueError where `data` is no JSON.
    """
    value = _parse(data)
    parts = [value] if not fields else [part for path in fields for part in _at(value, path.split("."))]
    return [text for part in parts for text in _strings(part) if text.strip()]


def is_file(data: bytes) -> bool:
    """Whether clients take a JSON value for the gateway's publication of a file.

    Raises ValueError where `data` is no JSON.
    """
    if b"file" not in data and b"\\" not in data:
        return False
    value = _parse(data)
    return isinstance(value, tuple) and ("type", "file") in value and any(name == "file" for name, _ in value)


def _parse(data: bytes) -> Any:
    try:
        return _read(data.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _at(value: Any, path: Sequence[str]) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _at(item, path)
    elif not path:
        yield value
    elif isinstance(value, tuple):
        for name, inner in value:
            if name == path[0]:
                yield from _at(inner, path[1:])


def _strings(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, tuple):
            waiting += [inner for _, inner in reversed(each)]
        elif isinstance(each, list):
            waiting += reversed(each)


def portions(texts: Sequence[str]) -> list[str]:
    """The texts in as few calls as they fit into. Raises TooMuchText beyond `TEXT_LIMIT`."""
    if sum(map(len, texts)) > TEXT_LIMIT:
        raise TooMuchText(f"at most {TEXT_LIMIT} characters of text")
    found: list[str] = []
    for text in texts:
        if found and len(found[-1]) + 1 + len(text) <= PORTION:
            found[-1] += f"\n{text}"
        else:
            found += _cut(text)
    return found


def _cut(text: str) -> list[str]:
    step = PORTION - OVERLAP
    return [text[start : start + PORTION] for start in range(0, max(1, len(text) - OVERLAP), step)]
