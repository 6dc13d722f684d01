"""What decides about files without touching one: names, types, ranges, links, quotas, options."""

from __future__ import annotations

import email.policy
import io
import itertools
import zipfile
from email.parser import Parser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ClientError
from gateway.files.links import Links
from gateway.files.names import LIMIT, clean_name, content_disposition
from gateway.files.options import parse_expiry, parse_options
from gateway.files.quotas import Allowance, Quotas
from gateway.files.ranges import http_date, is_fresh, parse_range, range_applies
from gateway.files.sniff import HEAD, UNKNOWN, extension, is_allowed, may_be_inline, sniff
from gateway.storage.base import new_id
from tests.file_world import MP4, PDF, picture

# ---------------------------------------------------------------------------- names
NAMES = {
    b"a.png": "a.png",
    "夏天 的 照片.jpg".encode(): "夏天 的 照片.jpg",
    "夏天.jpg".encode("gb18030"): "夏天.jpg",
    b"%E5%A4%8F%E5%A4%A9.jpg": "夏天.jpg",
    b"100%.txt": "100%.txt",
    b"../../etc/passwd": "passwd",
    b"C:\\Users\\me\\a.doc": "a.doc",
    b"a\0b.txt": "ab.txt",
    b"a\r\nSet-Cookie: x.txt": "aSet-Cookie: x.txt",
    "photo\u202egpj.exe".encode(): "photogpj.exe",
    b"..": "",
    b"": "",
    b"   ": "",
    b"/": "",
    b".hidden": ".hidden",
}


@pytest.mark.parametrize("raw", NAMES)
def test_names_are_read_as_they_were_meant_and_made_harmless(raw: bytes) -> None:
    assert clean_name(raw) == NAMES[raw]


def test_a_long_name_keeps_its_extension() -> None:
    name = clean_name("夏".encode() * 5000 + b".jpeg")
    assert name.endswith("夏.jpeg")
    assert len(name.encode()) <= LIMIT


@given(st.binary(max_size=2000))
def test_any_name_becomes_one_that_fits_a_header(raw: bytes) -> None:
    name = clean_name(raw)
    assert len(name.encode()) <= LIMIT
    assert "/" not in name and "\\" not in name
    header = content_disposition(name, inline=False)
    assert header.isascii() and header.isprintable()


@given(st.text(max_size=80))
def test_the_name_comes_back_out_of_the_header(text: str) -> None:
    name = clean_name(text.encode("utf-8", "replace"))
    header = content_disposition(name, inline=False)
    message = Parser(policy=email.policy.HTTP).parsestr(f"Content-Disposition: {header}\r\n\r\n")
    assert header.startswith("attachment")
    if name:
        encoded = header.partition("filename*=UTF-8''")[2]
        from urllib.parse import unquote

        assert unquote(encoded) == name
        assert message["content-disposition"].content_disposition == "attachment"


# ---------------------------------------------------------------------------- types
def _zip(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, "x" * 50)
    return out.getvalue()


TYPES = {
    "image/png": picture(),
    "image/jpeg": picture("JPEG"),
    "image/gif": picture("GIF"),
    "image/webp": picture("WEBP"),
    "image/bmp": picture("BMP"),
    "video/mp4": MP4 + b"\0" * 50,
    "audio/amr": b"#!AMR\n" + b"\x3c" * 40,
    "audio/silk": b"\x02#!SILK_V3" + b"\0" * 40,
    "application/pdf": PDF,
    "application/zip": _zip("a.txt"),
    "text/plain": "你好，世界".encode() * 3000,
    "text/xml": b"\xef\xbb\xbf<?xml version='1.0'?><a/>",
    "image/svg+xml": b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
    UNKNOWN: bytes(range(256)),
}


@pytest.mark.parametrize("kind", TYPES)
def test_types_are_found_in_the_content(kind: str) -> None:
    assert sniff(TYPES[kind][:HEAD]) == kind


@pytest.mark.parametrize(
    "page",
    [
        b"<!DOCTYPE html><p>x",
        b"  \n<script>alert(1)</script>",
        b"hello <body onload=x()>",
        b"<!-- --><html >",
    ],
)
def test_a_page_is_a_page_whatever_stands_before_it(page: bytes) -> None:
    assert sniff(page) == "text/html"
    assert not may_be_inline("text/html")


@pytest.mark.parametrize(
    "kind", ["image/svg+xml", "text/html", "text/xml", UNKNOWN, "application/javascript"]
)
def test_what_can_run_a_script_is_never_inline(kind: str) -> None:
    assert not may_be_inline(kind)


@given(st.binary(max_size=HEAD))
def test_any_content_has_a_type(head: bytes) -> None:
    assert "/" in sniff(head)
    assert sniff(head) not in ("application/javascript",)


def test_patterns_of_types() -> None:
    assert is_allowed("video/mp4", ["image/*", "video/*"])
    assert not is_allowed("text/html", ["image/*", "text/plain"])
    assert not is_allowed("image/svg+xml", ["image/png"])
    assert extension("image/jpeg") == ".jpg"
    assert extension(UNKNOWN) in ("", ".bin")


# ---------------------------------------------------------------------------- ranges
GOOD = {
    "bytes=0-9": [(0, 10)],
    "bytes=0-": [(0, 100)],
    "bytes=-5": [(95, 100)],
    "bytes=-500": [(0, 100)],
    "bytes=90-200": [(90, 100)],
    "BYTES = 5-5": [(5, 6)],
    "bytes=0-1,5-6": [(0, 2), (5, 7)],
    "bytes=5-6, 0-1": [(0, 2), (5, 7)],
    "bytes=0-5,3-9": [(0, 10)],
    "bytes=0-1,500-600": [(0, 2)],
    "items=0-1": None,
    "nonsense": None,
}
BAD = [
    "bytes=",
    "bytes=a-b",
    "bytes=-",
    "bytes=5-3",
    "bytes=100-",
    "bytes=-0",
    "bytes=0-1;",
    "bytes=" + "0-0," * 17,
]


@pytest.mark.parametrize("header", GOOD)
def test_ranges(header: str) -> None:
    assert parse_range(header, 100) == GOOD[header]


@pytest.mark.parametrize("header", BAD)
def test_ranges_that_cannot_be(header: str) -> None:
    with pytest.raises(ClientError) as caught:
        parse_range(header, 100)
    assert caught.value.outcome.code == 428


@given(st.text(alphabet="bytes=0123456789-, ", max_size=60), st.integers(0, 10**6))
def test_any_header_is_answered_with_bytes_of_the_file(text: str, size: int) -> None:
    for header in (text, "bytes=" + text):
        try:
            ranges = parse_range(header, size)
        except ClientError:
            continue
        for start, stop in ranges or ():
            assert 0 <= start < stop <= size
        assert ranges is None or all(a[1] < b[0] for a, b in itertools.pairwise(ranges))


def test_conditions() -> None:
    modified = 1_700_000_000.7
    date, later = http_date(modified), http_date(modified + 60)
    assert is_fresh({"if-none-match": '"a", W/"b"'}, '"b"', modified)
    assert is_fresh({"if-none-match": "*"}, '"b"', modified)
    assert not is_fresh({"if-none-match": '"a"', "if-modified-since": later}, '"b"', modified)
    assert is_fresh({"if-modified-since": date}, '"b"', modified)
    assert not is_fresh({"if-modified-since": http_date(modified - 60)}, '"b"', modified)
    assert not is_fresh({"if-modified-since": "yesterday"}, '"b"', modified)
    assert not is_fresh({}, '"b"', modified)
    assert range_applies({}, '"b"', modified)
    assert range_applies({"if-range": '"b"'}, '"b"', modified)
    assert not range_applies({"if-range": 'W/"b"'}, 'W/"x"', modified)
    assert range_applies({"if-range": date}, '"b"', modified)
    assert not range_applies({"if-range": later}, '"b"', modified)


# ---------------------------------------------------------------------------- links
def test_a_link_holds_for_its_file_and_its_time_alone() -> None:
    links, one, other = Links(b"secret"), new_id(), new_id()
    query = dict(part.split("=") for part in links.sign(one, 1000).split("&"))
    assert links.holds(one, query["expires"], query["signature"], 999)
    assert not links.holds(one, query["expires"], query["signature"], 1000)
    assert not links.holds(other, query["expires"], query["signature"], 999)
    assert not links.holds(one, "1001", query["signature"], 999)
    assert not Links(b"another").holds(one, query["expires"], query["signature"], 999)


@given(st.text(max_size=30), st.text(max_size=60))
def test_any_text_is_no_link(expires: str, signature: str) -> None:
    assert not Links(b"secret").holds(new_id(), expires, signature, 0)


def test_links_without_a_secret_come_from_the_session_key_or_from_chance() -> None:
    one, key = new_id(), b"k" * 32
    assert Links.of("", key).sign(one, 5) == Links.of("", key).sign(one, 5)
    assert Links.of("", None).sign(one, 5) != Links.of("", None).sign(one, 5)
    assert Links.of("a", key).sign(one, 5) != Links.of("", key).sign(one, 5)


# ---------------------------------------------------------------------------- quotas
def test_quotas_of_a_user_and_a_day() -> None:
    now = [0.0]
    quotas = Quotas(Allowance(bytes_per_day=100, files_per_day=2, at_a_time=2), lambda: now[0])
    with quotas.begin("wx", "ann") as lease:
        lease.grow(60)
        lease.keep()
    with quotas.begin("wx", "ann") as lease, pytest.raises(ClientError) as caught:
        lease.grow(41)
    assert caught.value.outcome.code == 423
    with quotas.begin("wx", "ann") as lease:  # what failed was given back
        lease.grow(40)
        lease.keep()
    with pytest.raises(ClientError) as caught:
        quotas.begin("wx", "ann")
    assert caught.value.outcome.code == 423
    with quotas.begin("wx", "bob"), quotas.begin("other", "ann"):
        pass
    now[0] = 86_400.0
    with quotas.begin("wx", "ann"):
        assert len(quotas) == 1


def test_uploads_at_a_time() -> None:
    quotas = Quotas(Allowance(0, 0, 1), lambda: 0.0)
    with quotas.begin("", "ann"), pytest.raises(ClientError) as caught:
        quotas.begin("", "ann")
    assert caught.value.outcome.code == 111


# ---------------------------------------------------------------------------- options
def test_options() -> None:
    options = parse_options({"channel": " wall:1 ", "visibility": "channel", "expires_in": "7d"}, "owner", 0)
    assert (options.channel, options.visibility, options.expires_in) == ("wall:1", "channel", 7 * 86400)
    assert parse_options({}, "channel", 0).visibility == "owner"
    assert parse_options({"expires_in": "90"}, "owner", 60).expires_in == 60
    assert parse_options({}, "owner", 60).expires_in == 60
    assert parse_options({"other": "field"}, "link", 0).visibility == "link"


@pytest.mark.parametrize(
    "fields",
    [
        {"visibility": "all"},
        {"visibility": "channel"},
        {"expires_in": "soon"},
        {"expires_in": "-1"},
        {"expires_in": "0.5"},
    ],
)
def test_options_that_cannot_be(fields: dict[str, str]) -> None:
    with pytest.raises(ClientError) as caught:
        parse_options(fields, "owner", 0)
    assert caught.value.outcome.code == 107
    assert parse_expiry(None) == 0
