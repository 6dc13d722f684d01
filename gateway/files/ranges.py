"""Which bytes of a file a request asks for, and whether it needs them at all (RFC 9110 §13 and §14); pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime
from typing import Final

from gateway.errors import ERROR_FILE_RANGE, ClientError

LIMIT: Final = 16
"""Ranges of one request; more is an attack (CVE-2011-3192), not a reader."""

Range = tuple[int, int]
"""First byte, and the one after the last."""

_ONE: Final = re.compile(r"([0-9]{0,18})-([0-9]{0,18})")


def parse_range(header: str, size: int) -> list[Range] | None:
    """The ranges in order of position, overlaps joined; None: the whole file.

    Raises:
        ClientError: 428 where no byte of the file is asked for, or it cannot be understood.
    """
    unit, equals, text = header.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or len(parts) > LIMIT:
        raise ClientError(ERROR_FILE_RANGE, f"ask for 1 to {LIMIT} ranges")
    ranges = sorted(one for one in (_range(part, size) for part in parts) if one)
    if not ranges:
        raise ClientError(ERROR_FILE_RANGE, f"the file has {size} bytes")
    return _joined(ranges)


def _range(text: str, size: int) -> Range | None:
    match = _ONE.fullmatch(text)
    if match is None or not (match[1] or match[2]):
        raise ClientError(ERROR_FILE_RANGE, "not a range of bytes")
    if not match[1]:
        start, stop = max(0, size - int(match[2])), size
    else:
        start = int(match[1])
        stop = min(size, int(match[2]) + 1) if match[2] else size
        if match[2] and int(match[2]) < start:
            raise ClientError(ERROR_FILE_RANGE, "a range ends before it starts")
    return (start, stop) if start < stop else None


def _joined(ranges: list[Range]) -> list[Range]:
    joined = [ranges[0]]
    for start, stop in ranges[1:]:
        if start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined


def http_date(when: float) -> str:
    """Unix seconds as a header has them."""
    return formatdate(int(when), usegmt=True)


def _seconds(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None


def is_fresh(headers: Mapping[str, str], etag: str, modified: float) -> bool:
    """Whether the client has this very content already: 304."""
    tags = headers.get("if-none-match")
    if tags is not None:
        wanted = [tag.strip().removeprefix("W/") for tag in tags.split(",")]
        return etag in wanted or "*" in wanted
    since = headers.get("if-modified-since")
    seconds = _seconds(since) if since else None
    return seconds is not None and int(modified) <= seconds


def range_applies(headers: Mapping[str, str], etag: str, modified: float) -> bool:
    """Whether `Range` counts: with If-Range, only for the content that the client has a part of."""
    condition = headers.get("if-range")
    if condition is None:
        return True
    if condition.startswith(('"', "W/")):
        return condition == etag  # weak ones never match (RFC 9110 §13.1.5)
    return _seconds(condition) == int(modified)
