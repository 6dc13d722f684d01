"""`GET /files/{id}` over real HTTP: who may read what, which bytes, and under which headers."""

from __future__ import annotations

import asyncio
import email.policy
import io
from collections.abc import AsyncIterator
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.file_world import PDF, PNG, FileWorld, file_world, head, picture, video
from tests.test_files_jpeg import photo


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[FileWorld]:
    async with file_world(tmp_path, max_upload_size="4MB") as running:
        yield running


async def get(world: FileWorld, told: dict[str, Any], user: str = "alice", **headers: str) -> httpx.Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return await world.http.get(told["url"], headers=head(user, **fields))


# ---------------------------------------------------------------------------- headers
async def test_what_a_download_says_of_itself(world: FileWorld) -> None:
    data = video(600_000)
    told = await world.stored(data, name="夏 天.mp4")
    answer = await get(world, told, Accept_Encoding="gzip, br")
    assert answer.content == data
    headers = answer.headers
    assert headers["content-length"] == str(len(data))
    assert headers["content-type"] == "video/mp4"
    assert headers["etag"] == f'"{told["sha256"][:32]}"'
    assert headers["content-disposition"].endswith("filename*=UTF-8''%E5%A4%8F%20%E5%A4%A9.mp4")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["accept-ranges"] == "bytes"
    assert "no-transform" in headers["cache-control"]
    assert "content-encoding" not in headers
    assert headers["last-modified"].endswith("GMT")


async def test_head_says_the_same_without_the_bytes(world: FileWorld) -> None:
    told = await world.stored(PDF)
    whole = await get(world, told)
    only = await world.http.head(told["url"], headers=head())
    assert only.status_code == 200 and only.content == b""
    for name in ("content-length", "content-type", "etag", "content-disposition"):
        assert only.headers[name] == whole.headers[name]


@pytest.mark.parametrize(
    ("data", "kind", "shown"),
    [
        (PNG, "image/png", "inline"),
        ("你好".encode(), "text/plain; charset=utf-8", "inline"),
        (b"<html><body>", "text/html; charset=utf-8", "attachment"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "image/svg+xml", "attachment"),
        (PDF, "application/pdf", "attachment"),
    ],
)
async def test_nothing_that_runs_scripts_is_shown(tmp_path: Path, data: bytes, kind: str, shown: str) -> None:
    async with file_world(tmp_path, allowed_types=["*"]) as world:
        answer = await get(world, await world.stored(data, name="x.png"))
        assert answer.headers["content-type"] == kind
        assert answer.headers["content-disposition"].startswith(shown)
        assert "sandbox" in answer.headers["content-security-policy"]
        saved = await world.http.get(str(answer.url.copy_add_param("download", "1")), headers=head())
        assert saved.headers["content-disposition"].startswith("attachment")


async def test_what_the_client_has_already_is_not_sent_again(world: FileWorld) -> None:
    told = await world.stored(PNG)
    first = await get(world, told)
    for headers in (
        {"If_None_Match": first.headers["etag"]},
        {"If_None_Match": f'"other", W/{first.headers["etag"]}'},
        {"If_Modified_Since": first.headers["last-modified"]},
    ):
        again = await get(world, told, **headers)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
    assert (await get(world, told, If_None_Match='"other"')).status_code == 200


# ---------------------------------------------------------------------------- ranges
@pytest.mark.parametrize(
    ("wanted", "start", "stop"), [("0-0", 0, 1), ("100-199", 100, 200), ("-10", 590, 600), ("300-", 300, 600)]
)
async def test_one_range(world: FileWorld, wanted: str, start: int, stop: int) -> None:
    data = video(600)
    told = await world.stored(data)
    answer = await get(world, told, Range=f"bytes={wanted}")
    assert (answer.status_code, answer.content) == (206, data[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/600"
    assert answer.headers["content-length"] == str(stop - start)


async def test_several_ranges(world: FileWorld) -> None:
    data = video(600_000)
    told = await world.stored(data)
    answer = await get(world, told, Range="bytes=0-9,1000-300999,-5")
    assert answer.status_code == 206
    assert answer.headers["content-length"] == str(len(answer.content))
    text = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode() + answer.content
    parts = list(BytesParser(policy=email.policy.HTTP).parsebytes(text).iter_parts())
    assert [part["content-range"] for part in parts] == [
        "bytes 0-9/600000", "bytes 1000-300999/600000", "bytes 599995-599999/600000",
    ]  # fmt: skip
    assert data[1000:301000] in answer.content
    assert data[-5:] in answer.content


@pytest.mark.parametrize(
    "wanted", ["bytes=600-", "bytes=9-1", "bytes=x", "bytes=", "bytes=-0", "bytes=" + "0-1," * 50]
)
async def test_ranges_that_cannot_be(world: FileWorld, wanted: str) -> None:
    answer = await get(world, await world.stored(video(600)), Range=wanted)
    assert (answer.status_code, answer.json()["code"]) == (416, 428)
    assert answer.headers["content-range"] == "bytes */600"


async def test_a_range_of_other_content_is_not_sent(world: FileWorld) -> None:
    told = await world.stored(video(600))
    tag = (await get(world, told)).headers["etag"]
    assert (await get(world, told, Range="bytes=0-1", If_Range=tag)).status_code == 206
    assert (await get(world, told, Range="bytes=0-1", If_Range='"other"')).status_code == 200
    assert (await get(world, told, Range="lines=0-1")).status_code == 200


# ---------------------------------------------------------------------------- who may
@pytest.mark.parametrize(
    ("fields", "bob"),
    [
        ({"visibility": "owner"}, 404),
        ({"visibility": "signed_in"}, 200),
        ({"visibility": "channel", "channel": "wall:1"}, 200),
        ({"visibility": "owner", "channel": "wall:1"}, 404),
        ({"visibility": "link"}, 404),
    ],
)
async def test_who_may_read(world: FileWorld, fields: dict[str, str], bob: int) -> None:
    told = await world.stored(PNG, fields)
    path = f"/files/{told['id']}"
    assert (await world.http.get(path, headers=head())).status_code == 200
    assert (await world.http.get(path, headers=head("bob"))).status_code == bob
    assert (await world.http.get(path + "/info", headers=head("bob"))).status_code == bob
    assert (await world.http.get(path)).status_code == 401


async def test_what_the_link_visibility_answers_with_is_a_link(world: FileWorld) -> None:
    told = await world.stored(PNG, {"visibility": "link"})
    assert "signature=" in told["url"]
    assert (await world.http.get(told["url"])).content == PNG


@pytest.mark.parametrize("file_id", ["0" * 32, "x", "..%2f..%2fetc%2fpasswd", "%00", "resumable"])
async def test_what_is_not_there(world: FileWorld, file_id: str) -> None:
    answer = await world.http.get(f"/files/{file_id}", headers=head())
    assert answer.status_code == 404
    assert "code" in answer.json()


async def test_links(world: FileWorld) -> None:
    told = await world.stored(PNG, {"visibility": "channel", "channel": "wall:1"})
    made = (
        await world.http.post(f"{told['url']}/link", json={"expires_in": "90s"}, headers=head("bob"))
    ).json()
    answer = await world.http.get(made["url"])
    assert answer.content == PNG
    assert "max-age" in answer.headers["cache-control"]
    for broken in (
        made["url"][:-1] + "A",
        made["url"].replace("expires=", "expires=9"),
        made["url"].replace("expires", "e"),
    ):
        if broken != made["url"]:
            assert (await world.http.get(broken)).status_code == 403
    later = made["expires"] + 1
    world.files.access._wall = lambda: later
    assert (await world.http.get(made["url"])).status_code == 403


async def test_links_are_made_without_a_body_too_and_not_for_strangers(world: FileWorld) -> None:
    told = await world.stored(PNG)
    assert (await world.http.post(f"{told['url']}/link", headers=head())).status_code == 200
    assert (await world.http.post(f"{told['url']}/link", headers=head("bob"))).status_code == 404
    assert (await world.http.post(f"{told['url']}/link")).status_code == 401
    bad = await world.http.post(f"{told['url']}/link", json={"expires_in": "soon"}, headers=head())
    assert (bad.status_code, bad.json()["code"]) == (400, 107)


async def test_addresses_begin_as_configured(tmp_path: Path) -> None:
    async with file_world(tmp_path, public_url="https://api.example.com/") as world:
        told = await world.stored(PNG)
        assert told["url"] == f"https://api.example.com/files/{told['id']}"


# ---------------------------------------------------------------------------- smaller pictures
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
async def test_smaller_pictures(world: FileWorld, kind: str) -> None:
    told = await world.stored(picture(kind, (900, 600)))
    answer = await world.http.get(f"{told['url']}?w=200", headers=head())
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.size == (200, 133)
    assert answer.headers["content-type"] == "image/jpeg"
    again = await world.http.get(
        f"{told['url']}?w=200", headers=head(**{"If-None-Match": answer.headers["etag"]})
    )
    assert again.status_code == 304
    assert any(path.endswith("/w200") for path in world.left())


async def test_a_turned_photo_stands_upright(world: FileWorld) -> None:
    told = await world.stored(photo(6))
    answer = await world.http.get(f"{told['url']}?w=400", headers=head())
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.size == (80, 120)  # never larger than it is
        assert not image.getexif()


async def test_what_shines_through_stays_so(world: FileWorld) -> None:
    out = io.BytesIO()
    Image.new("RGBA", (600, 300), (255, 0, 0, 80)).save(out, "PNG")
    told = await world.stored(out.getvalue())
    answer = await world.http.get(f"{told['url']}?w=400", headers=head())
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.mode, image.size) == ("RGBA", (400, 200))


@pytest.mark.parametrize("width", ["201", "0", "-1", "x", "9" * 30, "²"])
async def test_widths_are_a_closed_list(world: FileWorld, width: str) -> None:
    told = await world.stored(PNG)
    answer = await world.http.get(told["url"], params={"w": width}, headers=head())
    assert (answer.status_code, answer.json()["code"]) == (400, 107)


async def test_no_pictures_of_what_is_none(world: FileWorld) -> None:
    bomb = picture("PNG", (8000, 6000))
    for data in (PDF, PNG[:60], bomb):
        told = await world.stored(data)
        answer = await world.http.get(f"{told['url']}?w=200", headers=head())
        assert (answer.status_code, answer.json()["code"]) == (400, 107)


async def test_one_picture_is_made_once(world: FileWorld) -> None:
    told = await world.stored(picture("JPEG", (3000, 2000)))
    answers = await asyncio.gather(
        *(world.http.get(f"{told['url']}?w=800", headers=head()) for _ in range(8))
    )
    assert len({answer.content for answer in answers}) == 1


# ---------------------------------------------------------------------------- nginx
async def test_nginx_is_told_where_the_file_is(tmp_path: Path) -> None:
    async with file_world(tmp_path, accel_location="/protected/") as world:
        told = await world.stored(PNG, name="海.png")
        answer = await get(world, told)
        path = answer.headers["x-accel-redirect"].removeprefix("/protected/")
        assert (tmp_path / "files" / path).read_bytes() == PNG
        assert answer.content == b""
        assert answer.headers["content-type"] == "image/png"
        assert "%E6%B5%B7" in answer.headers["content-disposition"]
        assert (await get(world, told, "bob")).status_code == 404
