"""`POST /files` over real HTTP: what phones send, what is refused, and what is left of it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.file_world import PDF, PNG, FileWorld, file_world, form, head, published, video
from tests.timing import MS, until

MB = 1024 * 1024


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[FileWorld]:
    async with file_world(tmp_path / "files", max_upload_size="1MB") as running:
        yield running
        await asyncio.sleep(0)


# ---------------------------------------------------------------------------- what phones send
async def test_the_answer_says_all_that_is_known(world: FileWorld) -> None:
    answer = await world.send(PNG, name="海.png")
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    told = answer.json()
    assert told == {
        "id": told["id"],
        "url": f"/files/{told['id']}",
        "size": len(PNG),
        "sha256": hashlib.sha256(PNG).hexdigest(),
        "type": "image/png",
        "name": "海.png",
        "width": 64,
        "height": 48,
    }
    assert len(told["id"]) == 32


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("field", ["file", "照片", "f[0]"])
async def test_any_field_name_and_fields_on_either_side(world: FileWorld, field: str, after: bool) -> None:
    told = await world.stored(PNG, {"visibility": "signed_in", "order": "17"}, field=field, after=after)
    assert (await world.http.get(told["url"], headers=head("bob"))).content == PNG


@pytest.mark.parametrize(
    ("name", "shown"),
    [("夏天.png", "夏天.png"), ("%E5%A4%8F.png", "夏.png"), ("../../x.png", "x.png"), ("", ""), (None, "")],
)
async def test_names_of_any_kind(world: FileWorld, name: str | None, shown: str) -> None:
    assert (await world.stored(PNG, name=name))["name"] == shown


async def test_neither_name_nor_type_of_the_part(world: FileWorld) -> None:
    assert (await world.stored(PNG, name=None, part_type=None))["type"] == "image/png"


async def test_the_name_may_come_as_a_field(world: FileWorld) -> None:
    assert (await world.stored(PNG, {"name": "账单.png"}, name="tmp_8f3a.png"))["name"] == "账单.png"


async def test_type_and_extension_are_not_believed(world: FileWorld) -> None:
    assert (await world.stored(PDF, name="a.png", part_type="image/png"))["type"] == "application/pdf"
    refused = await world.send(b"<html><script>alert(1)</script>", name="a.png", part_type="image/png")
    assert refused.status_code == 415
    assert refused.json()["code"] == 421


async def test_a_token_in_the_form_stands_before_the_file(world: FileWorld) -> None:
    token = head()["Authorization"].removeprefix("Bearer ")
    body, kind = form(PNG, {"token": token})
    assert (await world.http.post("/files", content=body, headers={"Content-Type": kind})).status_code == 200
    body, kind = form(video(900_000), {"token": token}, after=True)
    late = await world.http.post("/files", content=body, headers={"Content-Type": kind})
    assert (late.status_code, late.json()["code"]) == (401, 101)


async def test_the_header_of_mini_programs(world: FileWorld) -> None:
    token = head()["Authorization"].removeprefix("Bearer ")
    body, kind = form(PNG)
    answer = await world.http.post(
        "/files", content=body, headers={"Content-Type": kind, "X-WX-Token": token}
    )
    assert answer.status_code == 200


async def test_a_body_without_a_length(world: FileWorld) -> None:
    body, kind = form(PNG)

    async def slowly() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 40):
            yield body[start : start + 40]

    answer = await world.http.post("/files", content=slowly(), headers=head(**{"Content-Type": kind}))
    assert answer.json()["sha256"] == hashlib.sha256(PNG).hexdigest()


# ---------------------------------------------------------------------------- refused
@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic YTpi"}, {"X-WX-Token": "x" * 43}],
)
async def test_nobody_sends_files_without_a_good_token(world: FileWorld, headers: dict[str, str]) -> None:
    body, kind = form(PNG)
    answer = await world.http.post("/files", content=body, headers={"Content-Type": kind} | headers)
    assert answer.status_code == 401
    assert answer.json()["code"] in (101, 109)
    assert world.left() == []


async def test_a_token_in_the_query_is_no_token(world: FileWorld) -> None:
    told = await world.stored()
    token = head()["Authorization"].removeprefix("Bearer ")
    assert (await world.http.get(f"{told['url']}?token={token}")).status_code == 401


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "multipart/form-data; boundary=x"),
        (b"{}", "application/json"),
        (b"hello", "multipart/form-data"),
        (b"hello", "multipart/form-data; boundary="),
        (b"hello", "multipart/form-data; boundary=" + "x" * 300),
        (b"hello", "multipart/form-data; boundary=x"),
        (
            b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--\r\n",
            "multipart/form-data; boundary=x",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name=file; filename="a"\r\n\r\n' + PNG,
            "multipart/form-data; boundary=x",
        ),
    ],
)
async def test_forms_that_are_none(world: FileWorld, body: bytes, kind: str) -> None:
    answer = await world.http.post("/files", content=body, headers=head(**{"Content-Type": kind}))
    assert (answer.status_code, answer.json()["code"]) == (400, 107)
    await until(lambda: world.left() == [])


async def test_two_files_are_one_too_many(world: FileWorld) -> None:
    first, kind = form(PNG, boundary="x")
    second, _ = form(PNG, boundary="x")
    both = first.removesuffix(b"--x--\r\n") + second
    answer = await world.http.post("/files", content=both, headers=head(**{"Content-Type": kind}))
    assert (answer.status_code, answer.json()["message"]) == (400, "one file per request")
    assert world.left() == []


async def test_an_empty_file_is_refused(world: FileWorld) -> None:
    assert (await world.send(b"")).status_code == 415


@pytest.mark.parametrize(
    "fields", [{"visibility": "everybody"}, {"expires_in": "soon"}, {"visibility": "channel"}]
)
@pytest.mark.parametrize("after", [False, True])
async def test_options_that_cannot_be(world: FileWorld, fields: dict[str, str], after: bool) -> None:
    answer = await world.send(PNG, fields, after=after)
    assert (answer.status_code, answer.json()["code"]) == (400, 107)
    assert world.left() == []


async def test_the_limit_is_exact(world: FileWorld) -> None:
    assert (await world.send(video(MB))).status_code == 200
    over = await world.send(video(MB + 1))
    assert (over.status_code, over.json()["code"]) == (413, 420)
    assert len(world.left()) == 2


async def test_what_is_declared_too_large_is_refused_before_a_byte(world: FileWorld) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    lines = [f"{name}: {value}" for name, value in head().items()]
    lines += ["Host: x", "Content-Type: multipart/form-data; boundary=x", "Content-Length: 200000000"]
    writer.write(("POST /files HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode())
    answer = await asyncio.wait_for(reader.readuntil(b"}"), 2_000 * MS)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer
    writer.close()


async def test_a_limit_that_is_passed_is_said_at_once_and_heard(world: FileWorld) -> None:
    """The client goes on writing, as phones do, and still hears the answer instead of a reset."""
    start = form(b"", boundary="x")[0].partition(b"\r\n--x--")[0]
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    lines = [f"{name}: {value}" for name, value in head().items()]
    lines += ["Host: x", "Content-Type: multipart/form-data; boundary=x", "Transfer-Encoding: chunked"]
    writer.write(("POST /files HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode())
    heard = asyncio.create_task(reader.readuntil(b"}"))
    sent, data = 0, start + video(64 * 1024)
    while not heard.done() and sent < 40 * MB:
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0)
        sent, data = sent + len(data), video(64 * 1024)
    assert (await heard).startswith(b"HTTP/1.1 413")
    assert sent < 10 * MB
    writer.close()
    await until(lambda: world.left() == [])


async def test_a_type_that_is_refused_is_refused_before_the_end(world: FileWorld) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    lines = [f"{name}: {value}" for name, value in head().items()]
    lines += ["Host: x", "Content-Type: multipart/form-data; boundary=x", "Content-Length: 1000000"]
    page = form(b"<html>" + b" " * 20_000, boundary="x")[0]
    writer.write(("POST /files HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode() + page[:15_000])
    await asyncio.sleep(20 * MS)
    writer.write(page[15_000:19_000])
    answer = await asyncio.wait_for(reader.readuntil(b"}"), 2_000 * MS)
    assert answer.startswith(b"HTTP/1.1 415")
    writer.close()


async def test_a_connection_that_breaks_leaves_nothing(world: FileWorld) -> None:
    for cut in (100, 400, 5000, 100_000):
        body, kind = form(video(300_000))
        _, writer = await asyncio.open_connection("127.0.0.1", world.port)
        lines = [f"{name}: {value}" for name, value in head().items()]
        lines += ["Host: x", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
        writer.write(("POST /files HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode() + body[:cut])
        await writer.drain()
        await asyncio.sleep(20 * MS)
        writer.transport.abort()
    await until(lambda: world.left() == [] and not world.files.metrics.uploads_running)
    assert await world.files.sweep() == 0


# ---------------------------------------------------------------------------- quotas
async def test_quotas_of_files_and_bytes(tmp_path: Path) -> None:
    async with file_world(tmp_path, quota_files_per_day=2, quota_bytes_per_day="400KB") as world:
        await world.stored(video(200 * 1024))
        over = await world.send(video(300 * 1024))
        assert (over.status_code, over.json()["code"]) == (429, 423)
        assert (await world.send(b"<html>")).status_code == 415  # does not count
        await world.stored(PNG)
        assert (await world.send(PNG)).json()["code"] == 423
        assert (await world.send(PNG, user="bob")).status_code == 200


async def test_uploads_at_a_time(tmp_path: Path) -> None:
    async with file_world(tmp_path, max_uploads_per_user=1) as world:
        body, kind = form(video(100_000))
        going_on = asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield body[:50_000]
            await going_on.wait()
            yield body[50_000:]

        first = asyncio.create_task(
            world.http.post("/files", content=slowly(), headers=head(**{"Content-Type": kind}))
        )
        await until(lambda: world.files.metrics.uploads_running == 1)
        assert (await world.send(PNG)).status_code == 429
        going_on.set()
        assert (await first).status_code == 200


# ---------------------------------------------------------------------------- channels
async def test_a_file_is_published_where_its_owner_may(world: FileWorld) -> None:
    told = await world.stored(PNG, {"channel": "wall:1", "visibility": "channel"})
    assert await published(world, "wall:1") == [{"type": "file", "file": told}]
    assert (await world.http.get(told["url"], headers=head("bob"))).status_code == 200


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("channel", "status"), [("staff:1", 403), ("nowhere:1", 404), ("a\tb", 400), ("news", 403)]
)
async def test_where_the_owner_may_not_nothing_is_left(
    world: FileWorld, channel: str, status: int, after: bool
) -> None:
    assert (await world.send(PNG, {"channel": channel}, after=after)).status_code == status
    assert world.left() == []


async def test_subscribers_may_publish_where_the_namespace_says_so(world: FileWorld) -> None:
    token = head()["Authorization"].removeprefix("Bearer ")
    async with connect(f"ws://127.0.0.1:{world.ports['websocket']}/connection/websocket") as socket:
        await socket.send(json.dumps({"id": 1, "connect": {"token": token}}))
        await socket.recv()
        await socket.send(json.dumps({"id": 2, "subscribe": {"channel": "news"}}))
        await socket.recv()
        told = await world.stored(PNG, {"channel": "news"})
        assert (await published(world, "news"))[-1]["file"] == told


async def test_the_progress_of_an_upload_is_heard_on_the_socket(world: FileWorld) -> None:
    token = head()["Authorization"].removeprefix("Bearer ")
    body, kind = form(video(900_000), name="v.mp4")

    async def slowly() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 30_000):
            yield body[start : start + 30_000]
            await asyncio.sleep(45 * MS)

    async with connect(f"ws://127.0.0.1:{world.ports['websocket']}/connection/websocket") as socket:
        await socket.send(json.dumps({"id": 1, "connect": {"token": token}}))
        await socket.recv()
        began = time.monotonic()
        answer = await world.http.post("/files", content=slowly(), headers=head(**{"Content-Type": kind}))
        took = time.monotonic() - began
        heard: list[Any] = []
        while not heard or heard[-1]["state"] != "done":
            lines = str(await asyncio.wait_for(socket.recv(), 2_000 * MS)).splitlines()
            heard += [json.loads(line)["push"]["pub"]["data"] for line in lines]
    assert {one["type"] for one in heard} == {"upload"}
    assert {one["id"] for one in heard} == {answer.json()["id"]}
    received = [one["received"] for one in heard]
    assert received == sorted(received) and received[-1] == 900_000
    assert 1 <= len(heard) - 1 <= 2 * took
