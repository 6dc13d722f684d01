"""Durations, sizes and addresses as people write them, and back: pure, exact, no clock.

A duration is a text such as "250ms", "25s", "5m", "1h30m" or "7d", or a number of seconds; here it is a
float of seconds. A size is a text such as "512B", "64KB" or "10MB", or a number of bytes; here it is an int
of bytes. **1 KB is 1024 bytes** (and 1 MB is 1024 KB): these limits guard memory, which comes in powers of
two.
"""

from __future__ import annotations

import re
from decimal import Decimal
from ipaddress import IPv6Address

SECOND = 1.0
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
KB = 1024
MB = 1024 * KB

DURATION_LIMIT = 36_500 * DAY
"""A hundred years: anything longer is a slip of the pen, and would overflow timers."""

SIZE_LIMIT = 2**53
"""Past this a float no longer counts every byte, and no machine has so many."""

# Decimal, not float: 0.1 s or 1.1 ms must not come back as 0.10000000000000001.
_DURATION_UNITS = {
    "d": Decimal(86_400),
    "h": Decimal(3_600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
}
_SIZE_UNITS = {"TB": 1024**4, "GB": 1024**3, "MB": 1024**2, "KB": 1024, "B": 1}

_NUMBER = r"[0-9]{1,30}(?:\.[0-9]{1,30})?"
_DURATION = re.compile(rf"(?:{_NUMBER}(?:ms|[smhd]))+")
_DURATION_PART = re.compile(rf"({_NUMBER})(ms|[smhd])")
_PLAIN = re.compile(_NUMBER)
_SIZE = re.compile(rf"({_NUMBER}) ?(?:([KMGT])(?:I?B)?|B)?", re.IGNORECASE)
_HOST = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")

DURATION_HELP = 'write a duration such as "250ms", "25s", "5m", "7d", or a number of seconds'
SIZE_HELP = 'write a size such as "512B", "64KB", "10MB" (1 KB = 1024 bytes), or a number of bytes'
ADDRESS_HELP = 'write "host:port" with a port of 0 to 65535, an IPv6 host in brackets: "[::1]:8000"'


def parse_duration(value: object) -> float:
    """Seconds of "250ms", "25s", "5m", "1h30m", "7d" or of a plain number; `ValueError` otherwise."""
    seconds = _seconds(value)
    # Written so that NaN fails too: it compares false with everything.
    if not 0 <= seconds <= DURATION_LIMIT:
        raise ValueError("a duration is between 0 and 36500d")
    return seconds


def _seconds(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        # Comparing first: an int of a thousand digits does not fit a float.
        return float(value) if abs(value) <= DURATION_LIMIT else -1.0
    text = value.strip().lower() if isinstance(value, str) else ""
    if _PLAIN.fullmatch(text):
        return float(text)
    if not _DURATION.fullmatch(text):
        raise ValueError(f"not a duration; {DURATION_HELP}")
    return float(
        sum(Decimal(number) * _DURATION_UNITS[unit] for number, unit in _DURATION_PART.findall(text))
    )


def format_duration(seconds: float) -> str:
    """The shortest exact text: 300 → "5m", 90 → "90s", 0.25 → "250ms"; `parse_duration` reads it back."""
    exact = Decimal(repr(seconds))
    if not exact:
        return "0s"
    for unit, factor in _DURATION_UNITS.items():
        if exact >= factor and exact % factor == 0:
            return f"{int(exact / factor)}{unit}"
    return f"{exact:f}s"


def parse_size(value: object) -> int:
    """Bytes of "512B", "64KB", "10MB" or of a whole number; `ValueError` otherwise. 1 KB = 1024 B."""
    if isinstance(value, int) and not isinstance(value, bool):
        size = Decimal(value)
    else:
        match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            raise ValueError(f"not a size; {SIZE_HELP}")
        size = Decimal(match[1]) * _SIZE_UNITS[f"{(match[2] or '').upper()}B"]
    if not 0 <= size <= SIZE_LIMIT:
        raise ValueError("a size is between 0 and 8192TB")
    if size != int(size):
        raise ValueError(f"not a whole number of bytes; {SIZE_HELP}")
    return int(size)


def format_size(size: int) -> str:
    """The shortest exact text: 65536 → "64KB", 1500 → "1500B"; `parse_size` reads it back."""
    for unit, factor in _SIZE_UNITS.items():
        if size >= factor and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


def parse_address(value: object) -> tuple[str, int]:
    """Host and port of "127.0.0.1:8000", "localhost:8000" or "[::1]:8000"; the brackets come off."""
    host, separator, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not separator or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(f"not an address; {ADDRESS_HELP}")
    if not host:
        raise ValueError(f'the host is missing; write "0.0.0.0:{port}" to listen on every interface')
    if host.startswith("[") and host.endswith("]"):
        return _ipv6(host[1:-1]), int(port)
    if not _HOST.fullmatch(host):
        raise ValueError(f"not an address; {ADDRESS_HELP}")
    return host, int(port)


def _ipv6(host: str) -> str:
    try:
        IPv6Address(host)
    except ValueError:
        raise ValueError(f"not an IPv6 address in the brackets; {ADDRESS_HELP}") from None
    return host
