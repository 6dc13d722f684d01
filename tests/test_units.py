"""Durations, sizes and addresses: what people write is understood exactly, anything else is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.units import (
    DURATION_LIMIT,
    SIZE_LIMIT,
    format_duration,
    format_size,
    parse_address,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("0.1s", 0.1),
        ("25s", 25.0),
        ("300s", 300.0),
        ("5m", 300.0),
        ("1.5h", 5400.0),
        ("1h30m", 5400.0),
        ("7d", 604800.0),
        ("0s", 0.0),
        (" 5M ", 300.0),
        ("25", 25.0),
        (25, 25.0),
        (0.25, 0.25),
    ],
)
def test_a_duration_is_a_text_with_a_unit_or_a_number_of_seconds(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "s",
        "5x",
        "5 m",
        "-5s",
        "5m-1s",
        "1e3s",
        "٣s",
        "37000d",
        -1,
        True,
        None,
        [],
        math.inf,
        math.nan,
        10**400,
    ],
)
def test_anything_else_is_no_duration(wrong: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(wrong)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "250ms"),
        (1, "1s"),
        (90, "90s"),
        (300, "5m"),
        (5400, "90m"),
        (86400, "1d"),
        (1.5, "1500ms"),
        (0.0005, "0.0005s"),
    ],
)
def test_a_duration_is_written_as_short_as_it_can_be(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(min_value=0, max_value=DURATION_LIMIT))
def test_a_written_duration_reads_back_as_the_same_float(seconds: float) -> None:
    # Below a nanosecond a text has more digits than the pattern takes; no timer is that fine.
    seconds = 0.0 if seconds < 1e-9 else seconds
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512B", 512),
        ("64KB", 65536),
        ("64kb", 65536),
        ("64K", 65536),
        ("64KiB", 65536),
        ("10 MB", 10 * 1024 * 1024),
        ("1.5MB", 1536 * 1024),
        ("2GB", 2 * 1024**3),
        ("100", 100),
        (100, 100),
        (0, 0),
    ],
)
def test_a_size_counts_in_1024_and_a_number_is_bytes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "wrong", ["", "KB", "10X", "10I", "-1KB", "1.5B", 1.5, -1, True, None, "9000TB", 2**60, 10**400, "1MB2"]
)
def test_anything_else_is_no_size(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"size|bytes"):
        parse_size(wrong)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (512, "512B"), (1500, "1500B"), (65536, "64KB"), (1 << 20, "1MB"), (1 << 30, "1GB")],
)
def test_a_size_is_written_as_short_as_it_can_be(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(min_value=0, max_value=SIZE_LIMIT))
def test_a_written_size_reads_back_as_the_same_number(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.text() | st.integers() | st.floats() | st.none())
def test_no_input_raises_anything_but_value_error(value: object) -> None:
    for parse in (parse_duration, parse_size, parse_address):
        try:
            parse(value)
        except ValueError:
            pass


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("localhost:0", ("localhost", 0)),
        ("api.example.com:65535", ("api.example.com", 65535)),
        ("[::1]:8000", ("::1", 8000)),
        ("[::]:80", ("::", 80)),
    ],
)
def test_an_address_is_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "localhost",
        ":8000",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "::1:8000",
        "[::1]",
        "[::g]:80",
        "[127.0.0.1]:80",
        "a b:80",
        "host:8o",
        "http://host:80",
        8000,
        None,
    ],
)
def test_anything_else_is_no_address(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"address|host"):
        parse_address(wrong)


def test_a_missing_host_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(ValueError, match=r"0\.0\.0\.0:8000"):
        parse_address(":8000")
