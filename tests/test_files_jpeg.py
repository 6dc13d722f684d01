"""JPEGs lose what tells of their owner, and nothing of the picture."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gateway.files.jpeg import JpegCleaner

GPS = 0x8825


def photo(orientation: int = 6, **options: Any) -> bytes:
    """A picture as a phone makes it: place, device, turn."""
    exif = Image.Exif()
    exif[0x010F] = "WeChat Phone"
    exif[0x0112] = orientation
    exif.get_ifd(GPS)[2] = (39.0, 54.0, 20.0)
    out = io.BytesIO()
    image = Image.linear_gradient("L").resize((120, 80)).convert("RGB")
    image.save(out, "JPEG", exif=exif.tobytes(), comment=b"at home", icc_profile=b"p" * 400, **options)
    return out.getvalue()


def clean(data: bytes, step: int = 1 << 30) -> bytes:
    cleaner = JpegCleaner()
    pieces = [cleaner.feed(data[start : start + step]) for start in range(0, len(data), step)]
    return b"".join(pieces) + cleaner.finish()


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"quality": 30}, {"restart_marker_blocks": 2}]
)
@pytest.mark.parametrize("step", [1, 7, 1000, 1 << 30])
def test_place_and_device_go_and_the_picture_stays(options: dict[str, Any], step: int) -> None:
    before = photo(**options)
    after = clean(before, step)
    assert b"WeChat Phone" in before
    for secret in (b"WeChat Phone", b"at home"):
        assert secret not in after
    with Image.open(io.BytesIO(before)) as old, Image.open(io.BytesIO(after)) as new:
        assert old.tobytes() == new.tobytes()
        assert dict(new.getexif()) == {0x0112: 6}
        assert new.info["icc_profile"] == old.info["icc_profile"]


def test_what_follows_the_picture_goes() -> None:
    assert clean(photo() + b"\0\0\0\x18ftypmp42 a clip" + photo()) == clean(photo())


def test_an_upright_picture_has_no_exif_left() -> None:
    with Image.open(io.BytesIO(clean(photo(1)))) as image:
        assert not image.getexif()


def test_cleaning_twice_is_cleaning_once() -> None:
    once = clean(photo())
    assert clean(once) == once


@settings(deadline=None)
@given(st.binary(max_size=400), st.integers(1, 50))
def test_anything_goes_in_and_never_more_comes_out(data: bytes, step: int) -> None:
    out = clean(b"\xff\xd8" + data, step)
    assert len(out) <= len(data) + 2 + 100
    assert out == clean(b"\xff\xd8" + data)


@settings(deadline=None)
@given(st.integers(0, 5000), st.integers(0, 255))
def test_a_damaged_photo_does_not_let_its_exif_through(where: int, value: int) -> None:
    data = bytearray(photo())
    data[where % len(data)] = value
    out = clean(bytes(data), 100)
    if data.count(b"WeChat Phone") and data.startswith(b"\xff\xd8\xff\xe0"):
        assert len(out) <= len(data)


def test_a_picture_that_ends_early_is_passed_on_as_far_as_it_goes() -> None:
    whole = clean(photo())
    assert whole.startswith(clean(photo()[:-300])[:-1])


def test_feeding_after_the_end_gives_nothing() -> None:
    cleaner = JpegCleaner()
    cleaner.feed(photo())
    assert cleaner.feed(b"more") == b""
    assert cleaner.finish() == b""
