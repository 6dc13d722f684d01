"""Uploads in pieces: the tus client of PyPI, then requests as `wx.request` makes them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tusclient.client import TusClient

from tests.file_world import PDF, PNG, FileWorld, file_world, head, published, video
from tests.test_files_jpeg import photo
from tests.timing import MS

TUS = {"Tus-Resumable": "1.0.0"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[FileWorld]:
    async with file_world(tmp_path, max_resumable_size="4MB") as running:
        yield running


def encoded(**fields: str) -> str:
    return ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in fields.items())


async def begin(world: FileWorld, length: int, user: str = "alice", **fields: str) -> str:
    headers = head(user, **TUS, **{"Upload-Length": str(length), "Upload-Metadata": encoded(**fields)})
    answer = await world.http.post("/files/resumable", headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


async def piece(
    world: FileWorld, where: str, offset: int, data: bytes, user: str = "alice", **more: str
) -> httpx.Response:
    """A piece the way wx.request sends it: POST, with the method in a header."""
    headers = head(user, **TUS, **{"Upload-Offset": str(offset)}) | {
        "X-HTTP-Method-Override": "PATCH",
        "Content-Type": "application/offset+octet-stream",
    }
    fields = {name.replace("_", "-"): value for name, value in more.items()}
    return await world.http.post(where, content=data, headers=headers | fields)


async def offset(world: FileWorld, where: str, user: str = "alice") -> int:
    answer = await world.http.head(where, headers=head(user, **TUS))
    return int(answer.headers["upload-offset"]) if answer.status_code == 200 else -answer.status_code


async def content(world: FileWorld, where: str) -> bytes:
    answer = await world.http.get(f"/files/{where.rpartition('/')[2]}", headers=head())
    assert answer.status_code == 200, answer.text
    return answer.content


# ---------------------------------------------------------------------------- a client of others
@pytest.mark.parametrize("checksum", [False, True])
async def test_a_tus_client_uploads(world: FileWorld, checksum: bool) -> None:
    data = video(1_000_000)

    def upload() -> str:
        client = TusClient(f"http://127.0.0.1:{world.port}/files/resumable", headers=head())
        uploader = client.uploader(
            file_stream=io.BytesIO(data),
            chunk_size=300_000,
            metadata={"filename": "夏天.mp4", "visibility": "signed_in"},
            upload_checksum=checksum,
        )
        uploader.upload()
        return str(uploader.url)

    where = await asyncio.to_thread(upload)
    assert await content(world, where) == data
    info = await world.http.get(f"/files/{where.rpartition('/')[2]}/info", headers=head("bob"))
    assert info.json()["name"] == "夏天.mp4"
    assert info.json()["sha256"] == hashlib.sha256(data).hexdigest()


async def test_a_tus_client_goes_on_where_it_was(world: FileWorld) -> None:
    data = video(900_000)

    def upload(url: str | None, stop_at: int | None) -> str:
        client = TusClient(f"http://127.0.0.1:{world.port}/files/resumable", headers=head())
        uploader = client.uploader(file_stream=io.BytesIO(data), chunk_size=200_000, url=url)
        uploader.upload(stop_at=stop_at)
        return str(uploader.url)

    where = await asyncio.to_thread(upload, None, 400_000)
    assert await offset(world, where) == 400_000
    await asyncio.to_thread(upload, where, None)
    assert await content(world, where) == data


# ---------------------------------------------------------------------------- the protocol
async def test_options_say_what_is_served(world: FileWorld) -> None:
    answer = await world.http.options("/files/resumable")
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == "1.0.0"
    assert answer.headers["tus-max-size"] == str(4 * 1024 * 1024)
    assert answer.headers["tus-extension"].split(",") == ["creation", "expiration", "checksum", "termination"]
    assert answer.headers["tus-checksum-algorithm"] == "sha1,sha256"


async def test_pieces_by_post(world: FileWorld) -> None:
    data = video(700_000)
    where = await begin(world, len(data), filename="v.mp4", channel="wall:1", visibility="channel")
    for start in range(0, len(data), 250_000):
        assert await offset(world, where) == start
        answer = await piece(world, where, start, data[start : start + 250_000])
        assert answer.status_code == 204
        assert answer.headers["tus-resumable"] == "1.0.0"
        assert answer.headers["upload-expires"].endswith("GMT")
    assert await offset(world, where) == len(data)
    assert await content(world, where) == data
    assert (await published(world, "wall:1"))[0]["file"]["name"] == "v.mp4"


async def test_pieces_by_patch(world: FileWorld) -> None:
    where = await begin(world, len(PNG))
    headers = head(**TUS, **{"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"})
    assert (await world.http.patch(where, content=PNG, headers=headers)).status_code == 204
    assert await content(world, where) == PNG


async def test_other_versions_are_told_ours(world: FileWorld) -> None:
    where = await begin(world, 10)
    for version in ({}, {"Tus-Resumable": "0.2.2"}):
        for answer in (
            await world.http.post("/files/resumable", headers=head(**version, **{"Upload-Length": "1"})),
            await world.http.head(where, headers=head(**version)),
            await world.http.delete(where, headers=head(**version)),
        ):
            assert (answer.status_code, answer.headers["tus-version"]) == (412, "1.0.0")


@pytest.mark.parametrize("wrong", [1, 99, 300, 10**17])
async def test_a_piece_at_another_offset_is_refused(world: FileWorld, wrong: int) -> None:
    where = await begin(world, 200)
    await piece(world, where, 0, b"x" * 100)
    answer = await piece(world, where, wrong, b"x")
    assert (answer.status_code, answer.json()["code"]) == (409, 425)
    assert await offset(world, where) == 100


async def test_more_than_was_announced_is_refused(world: FileWorld) -> None:
    where = await begin(world, 100)
    assert (await piece(world, where, 0, b"x" * 101)).status_code == 413
    assert await offset(world, where) == 0


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
async def test_checksums(world: FileWorld, algorithm: str) -> None:
    where = await begin(world, len(PDF))
    good = base64.b64encode(hashlib.new(algorithm, PDF[:5000]).digest()).decode()
    bad = await piece(world, where, 0, PDF[1:5001], Upload_Checksum=f"{algorithm} {good}")
    assert (bad.status_code, bad.json()["code"]) == (460, 426)
    assert await offset(world, where) == 0
    assert (
        await piece(world, where, 0, PDF[:5000], Upload_Checksum=f"{algorithm} {good}")
    ).status_code == 204
    assert (await piece(world, where, 5000, PDF[5000:])).status_code == 204
    assert await content(world, where) == PDF


@pytest.mark.parametrize("checksum", ["md5 AAAA", "sha1", "sha1 ***", "sha1 " + "A" * 10_000])
async def test_checksums_that_cannot_be(world: FileWorld, checksum: str) -> None:
    where = await begin(world, 100)
    assert (await piece(world, where, 0, b"x", Upload_Checksum=checksum)).status_code in (400, 460)
    assert await offset(world, where) == 0


@pytest.mark.parametrize("kept", [True, False])
async def test_a_connection_that_breaks_in_a_piece(world: FileWorld, kept: bool) -> None:
    """What came is kept, so that the phone need not send it again; with a checksum it is all or nothing."""
    where = await begin(world, 1_000_000)
    lines = [f"{name}: {value}" for name, value in head(**TUS).items()]
    lines += [
        "Host: x",
        "Upload-Offset: 0",
        "Content-Type: application/offset+octet-stream",
        "Content-Length: 900000",
    ]
    lines += [] if kept else [f"Upload-Checksum: sha1 {base64.b64encode(b'x' * 20).decode()}"]
    _, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write((f"PATCH {where} HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode() + video(600_000))
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    await asyncio.sleep(100 * MS)
    there = await offset(world, where)
    assert there == (600_000 if kept else 0)


async def test_two_writers_do_not_mix(world: FileWorld) -> None:
    where = await begin(world, 200)
    going_on = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"a" * 50
        await going_on.wait()
        yield b"a" * 50

    first = asyncio.create_task(piece(world, where, 0, slowly()))  # type: ignore[arg-type]
    await asyncio.sleep(100 * MS)
    second = await piece(world, where, 0, b"b" * 100)
    assert (second.status_code, second.json()["code"]) == (423, 427)
    going_on.set()
    assert (await first).status_code == 204
    assert await offset(world, where) == 100


async def test_an_upload_is_its_owners_alone(world: FileWorld) -> None:
    where = await begin(world, 100)
    assert await offset(world, where, "bob") == -404
    assert (await piece(world, where, 0, b"x", "bob")).status_code == 404
    assert (await world.http.delete(where, headers=head("bob", **TUS))).status_code == 404
    assert (await world.http.head(where, headers=TUS)).status_code == 401


async def test_giving_up_leaves_nothing(world: FileWorld) -> None:
    where = await begin(world, 100)
    await piece(world, where, 0, b"x" * 50)
    assert (await world.http.delete(where, headers=head(**TUS))).status_code == 204
    assert await offset(world, where) == -404
    assert world.left() == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 400),
        ({"Upload-Length": "x"}, 400),
        ({"Upload-Length": "-1"}, 400),
        ({"Upload-Length": "9" * 40}, 400),
        ({"Upload-Defer-Length": "1"}, 400),
        ({"Upload-Length": str(5 * 1024 * 1024)}, 413),
        ({"Upload-Length": "9", "Upload-Metadata": "filename ***"}, 400),
        ({"Upload-Length": "9", "Upload-Metadata": "a " + "QUFB" * 5000}, 400),
        ({"Upload-Length": "9", "Upload-Metadata": encoded(visibility="all")}, 400),
        ({"Upload-Length": "9", "Upload-Metadata": encoded(channel="staff:1")}, 403),
    ],
)
async def test_beginnings_that_cannot_be(world: FileWorld, headers: dict[str, str], status: int) -> None:
    answer = await world.http.post("/files/resumable", headers=head(**TUS, **headers))
    assert answer.status_code == status
    assert "code" in answer.json()
    assert world.left() == []


async def test_a_post_without_its_method_or_type(world: FileWorld) -> None:
    where = await begin(world, 10)
    assert (await world.http.post(where, content=b"x", headers=head(**TUS))).status_code == 400
    answer = await piece(world, where, 0, b"x", Content_Type="application/json")
    assert answer.status_code == 400


@pytest.mark.parametrize("file_id", ["0" * 32, "x", "%2e%2e", "..%2fx"])
async def test_uploads_that_are_not_there(world: FileWorld, file_id: str) -> None:
    where = f"/files/resumable/{file_id}"
    assert (await piece(world, where, 0, b"x")).status_code == 404


# ---------------------------------------------------------------------------- what becomes of it
async def test_a_type_that_is_not_wanted_is_refused_at_its_head(world: FileWorld) -> None:
    where = await begin(world, 1_000_000)
    answer = await piece(world, where, 0, b"<html>" + b" " * 20_000)
    assert (answer.status_code, answer.json()["code"]) == (415, 421)
    assert world.left() == []


async def test_an_empty_file_is_refused(world: FileWorld) -> None:
    where = await begin(world, 0)
    assert (await piece(world, where, 0, b"")).status_code == 415


async def test_photos_lose_their_place_here_too(world: FileWorld) -> None:
    data = photo()
    where = await begin(world, len(data))
    await piece(world, where, 0, data[:1000])
    await piece(world, where, 1000, data[1000:])
    assert b"WeChat Phone" not in await content(world, where)
    assert await offset(world, where) == len(data)


async def test_uploads_of_one_user_are_counted(tmp_path: Path) -> None:
    async with file_world(tmp_path, max_uploads_per_user=2, quota_bytes_per_day="1KB") as world:
        first = await begin(world, len(PNG))
        await begin(world, 100)
        headers = head(**TUS, **{"Upload-Length": "100"})
        assert (await world.http.post("/files/resumable", headers=headers)).status_code == 429
        assert (await piece(world, first, 0, PNG)).status_code == 204
        assert (await world.http.post("/files/resumable", headers=headers)).status_code == 201
        over = await world.http.post(
            "/files/resumable", headers=head("bob", **TUS, **{"Upload-Length": "2000"})
        )
        assert (over.status_code, over.json()["code"]) == (429, 423)


async def test_uploads_expire(world: FileWorld) -> None:
    where = await begin(world, 100)
    await piece(world, where, 0, b"x" * 50)
    assert await world.files.sweep() == 0
    later = time.time() + 2 * 86_400
    world.files.wall = world.files.partials._wall = lambda: later
    assert await offset(world, where) == -404
    assert await world.files.sweep() == 1
    assert world.left() == []


async def test_what_a_crash_left_after_the_last_byte_is_finished_when_asked(world: FileWorld) -> None:
    where = await begin(world, len(PNG))
    data = next(path for path in (world.folder / "partial").iterdir() if path.suffix == ".data")
    data.write_bytes(PNG)
    assert await offset(world, where) == len(PNG)
    assert await content(world, where) == PNG


async def test_the_sign_of_a_whole_upload_outlives_its_file(world: FileWorld) -> None:
    where = await begin(world, len(PNG))
    assert (await piece(world, where, 0, PNG)).status_code == 204
    assert (await piece(world, where, len(PNG), b"")).status_code == 204
    assert (await world.http.delete(f"/files/{where.rpartition('/')[2]}", headers=head())).status_code == 204
    assert await offset(world, where) == len(PNG)
    assert (await piece(world, where, len(PNG), b"x")).status_code == 413
    assert (await world.http.delete(where, headers=head(**TUS))).status_code == 204
    assert world.left() == []
