"""The form of an upload, in any pieces and with anything in it: the reader alone, then over real HTTP."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import ClientError
from gateway.files.multipart import FIELD_SIZE, PARTS, UploadForm
from tests.file_world import PNG, FileWorld, file_world, form, head
from tests.timing import until

BOUNDARIES = st.text(alphabet="abcXYZ019'()+_,-./:=?", min_size=1, max_size=70).filter(
    lambda text: text.strip()
)


def read(body: bytes, kind: str, cuts: list[int]) -> tuple[UploadForm, bytes]:
    """The form of `body`, fed in pieces that end at `cuts`, and its file."""
    reader, data = UploadForm(kind), b""
    edges = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    for start, stop in itertools.pairwise(edges):
        data += b"".join(reader.feed(body[start:stop]))
    return reader, data


def refused(body: bytes, kind: str = "multipart/form-data; boundary=x") -> str:
    """Why a body is refused, which must be error 107 and nothing else."""
    with pytest.raises(ClientError) as caught:
        read(body, kind, [])[0].end()
    assert caught.value.outcome.code == 107
    return caught.value.detail


# ---------------------------------------------------------------------------- the reader
@settings(deadline=None)
@given(
    data=st.binary(max_size=3000),
    boundary=BOUNDARIES,
    cuts=st.lists(st.integers(0, 5000), max_size=30),
    after=st.booleans(),
)
def test_any_split_any_boundary_any_content(data: bytes, boundary: str, cuts: list[int], after: bool) -> None:
    if f"\r\n--{boundary}".encode() in b"\r\n" + data:
        return
    fields = {"visibility": "link", "说明": "夏天\r\n的照片"}
    body, _ = form(data, fields, boundary=boundary, after=after, name="a b.png")
    reader, found = read(body, f'multipart/form-data; boundary="{boundary}"', cuts)
    reader.end()
    assert found == data
    assert reader.fields == fields
    assert reader.name == "a b.png"


@settings(deadline=None)
@given(st.data())
def test_content_that_looks_like_a_boundary_is_content(draw: st.DataObject) -> None:
    near = st.sampled_from(
        [b"\r\n--x", b"\r\n--", b"--x--", b"\r", b"\n--xy", b"\r\n--y\r\n", b"a", b"\r\n-"]
    )
    data = b"".join(draw.draw(st.lists(near, max_size=40)))
    if b"\r\n--xyz" in data:
        return
    body, kind = form(data, boundary="xyz")
    reader, found = read(body, kind, draw.draw(st.lists(st.integers(0, 500), max_size=20)))
    reader.end()
    assert found == data


@settings(deadline=None)
@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000), max_size=10))
def test_any_bytes_are_a_form_or_error_107(body: bytes, cuts: list[int]) -> None:
    for content in (body, b"--x\r\n" + body, b'--x\r\nContent-Disposition: form-data; name="f"\r\n' + body):
        try:
            read(content, "multipart/form-data; boundary=x", cuts)[0].end()
        except ClientError as error:
            assert error.outcome.code == 107


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_content_type(kind: str) -> None:
    try:
        UploadForm(kind.encode("latin-1", "replace").decode("latin-1"))
    except ClientError as error:
        assert error.outcome.code == 107


def test_a_hundred_thousand_parts_are_refused_at_the_first_ones() -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    reader = UploadForm("multipart/form-data; boundary=x")
    with pytest.raises(ClientError, match="at most 64 parts"):
        reader.feed(part * 100_000)
    assert len(reader.fields) <= PARTS


@pytest.mark.parametrize(
    "head_of_part",
    [
        b"A: " + b"x" * 100_000,
        b"x" * 100_000,
        b"\r\n".join(b"H%d: x" % number for number in range(1000)),
        b"no colon at all",
        b": nameless",
        b"A\0B: c",
    ],
)
def test_header_bombs(head_of_part: bytes) -> None:
    assert refused(b"--x\r\n" + head_of_part + b"\r\n\r\nabc\r\n--x--\r\n")


def test_fields_have_limits() -> None:
    assert "a field" in refused(form(PNG, {"a": "x" * (FIELD_SIZE + 1)}, boundary="x")[0])
    assert "a field" in refused(form(PNG, {f"a{n}": "x" * 8000 for n in range(20)}, boundary="x")[0])


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a\0b", "x" * 10_000, "..\\..\\x", '\\"', ";;;", "%00.png"]
)
def test_names_of_any_kind_are_read(name: str) -> None:
    body, kind = form(PNG, name=name)
    reader, data = read(body, kind, [])
    reader.end()
    assert data == PNG
    assert "/" not in reader.name and "\0" not in reader.name and len(reader.name.encode()) <= 255


def test_what_is_a_file_and_what_a_field() -> None:
    lines = b'--x\r\nContent-Disposition: form-data; name="photo"\r\nContent-Type: image/png\r\n\r\nab\r\n'
    lines += (
        b'--x\r\nContent-Disposition: form-data; name="note"\r\nContent-Type: text/plain\r\n\r\ncd\r\n--x--'
    )
    reader, data = read(lines, "multipart/form-data; boundary=x", [])
    assert (data, reader.fields) == (b"ab", {"note": "cd"})


# ---------------------------------------------------------------------------- over HTTP
@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[FileWorld]:
    async with file_world(tmp_path, max_upload_size="1MB", quota_files_per_day=0) as running:
        yield running


async def test_damaged_requests_are_answered_and_leave_nothing(world: FileWorld) -> None:
    chance = random.Random(7)
    whole, kind = form(PNG + bytes(3000), {"visibility": "link"}, boundary="xyz")
    for _ in range(150):
        body = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        if chance.random() < 0.3:
            del body[chance.randrange(len(body)) :]
        answer = await world.http.post("/files", content=bytes(body), headers=head(**{"Content-Type": kind}))
        assert answer.status_code in (200, 400, 415)
        assert answer.status_code == 200 or answer.json()["code"] in (107, 421)
        if answer.status_code == 200:
            await world.http.delete(f"/files/{answer.json()['id']}", headers=head())
    await until(lambda: world.left() == [])


async def test_a_form_of_single_bytes(world: FileWorld) -> None:
    body, kind = form(PNG, {"visibility": "link"})

    async def single() -> AsyncIterator[bytes]:
        for byte in body:
            yield bytes([byte])

    async with asyncio.timeout(20):
        answer = await world.http.post("/files", content=single(), headers=head(**{"Content-Type": kind}))
    assert answer.status_code == 200


async def test_bombs_over_http_are_refused_soon(world: FileWorld) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    for body in (part * 15_000, b"--x\r\nA: " + b"x" * 900_000, b"\r\n" * 400_000, b"--x" * 300_000):
        answer = await world.http.post(
            "/files", content=body, headers=head(**{"Content-Type": "multipart/form-data; boundary=x"})
        )
        assert (answer.status_code, answer.json()["code"]) == (400, 107)
    assert world.left() == []
