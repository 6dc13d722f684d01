"""What becomes of a file that has come: the team's opinion of it, its photos, its end, and the metrics."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.backend.app import Gateway
from gateway.config import ConfigError
from gateway.errors import ERROR_FILE_REFUSED, ClientError
from tests.file_world import PDF, PNG, FileWorld, file_world, head, settings_of
from tests.test_files_jpeg import photo

MB = 1024 * 1024


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[FileWorld]:
    async with file_world(tmp_path / "files", max_upload_size="1MB") as running:
        yield running


# ---------------------------------------------------------------------------- the team's opinion
async def test_the_backend_sees_a_file_before_anybody_else(tmp_path: Path) -> None:
    gateway, seen = Gateway(), []

    @gateway.on_upload
    async def judge(caller: Any, file: Any) -> None:
        content = b"".join([piece async for piece in file.read()])
        seen.append((caller.user, file.type, len(content)))
        if file.size > 1000:
            raise ClientError(ERROR_FILE_REFUSED, "not for children")

    async with file_world(tmp_path, gateway) as world:
        await world.stored(PNG)
        refused = await world.send(PDF)
        assert (refused.status_code, refused.json()) == (403, {"code": 424, "message": "not for children"})
        assert seen == [("alice", "image/png", len(PNG)), ("alice", "application/pdf", len(PDF))]
        assert len(world.left()) == 2


async def test_a_backend_that_fails_lets_nothing_through(tmp_path: Path) -> None:
    gateway = Gateway()

    @gateway.on_upload
    async def judge(caller: Any, file: Any) -> None:
        raise RuntimeError("no")

    async with file_world(tmp_path, gateway) as world:
        with capture_logs() as lines:
            assert (await world.send(PNG)).status_code == 500
        assert [line["event"] for line in lines] == ["a handler failed"]
        assert world.left() == []


# ---------------------------------------------------------------------------- photos
async def test_photos_lose_their_place(world: FileWorld) -> None:
    told = await world.stored(photo(6), name="p.jpg")
    data = (await world.http.get(told["url"], headers=head())).content
    assert b"WeChat Phone" not in data
    assert told["size"] == len(data)
    assert told["sha256"] == hashlib.sha256(data).hexdigest()
    assert (told["width"], told["height"]) == (120, 80)


async def test_unless_that_is_turned_off(tmp_path: Path) -> None:
    async with file_world(tmp_path, strip_exif=False) as world:
        told = await world.stored(photo())
        assert (await world.http.get(told["url"], headers=head())).content == photo()


# ---------------------------------------------------------------------------- a file's life
async def test_files_expire(tmp_path: Path) -> None:
    async with file_world(tmp_path, ttl="1h") as world:
        told = await world.stored(PNG, {"expires_in": "2"})
        assert told["expires"] - time.time() <= 2
        assert (await world.stored(PNG, {"expires_in": "2d"}))["expires"] - time.time() <= 3600
        later = time.time() + 3
        world.files.wall = lambda: later
        assert (await world.http.get(told["url"], headers=head())).status_code == 404
        assert await world.files.sweep() == 1


async def test_only_the_owner_deletes(world: FileWorld) -> None:
    told = await world.stored(PNG, {"visibility": "signed_in"})
    assert (await world.http.delete(told["url"], headers=head("bob"))).status_code == 404
    assert (await world.http.delete(told["url"])).status_code == 401
    assert (await world.http.delete(told["url"], headers=head())).status_code == 204
    assert (await world.http.get(told["url"], headers=head())).status_code == 404
    assert world.left() == []


async def test_a_full_disk_is_our_fault_and_said_so(world: FileWorld) -> None:
    world.folder.mkdir(parents=True, exist_ok=True)
    (world.folder / "incoming").write_text("in the way")
    answer = await world.send(PNG)
    assert (answer.status_code, answer.json()["code"]) == (503, 100)


async def test_metrics_count_what_came_in(world: FileWorld) -> None:
    await world.stored(PNG)
    await world.send(b"<html>")
    answer = await world.http.get(f"http://127.0.0.1:{world.ports['internal']}/metrics")
    assert 'gateway_uploads_total{outcome="ok"} 1.0' in answer.text
    assert 'gateway_uploads_total{outcome="421"} 1.0' in answer.text
    assert f"gateway_upload_bytes_total {len(PNG) + 6}.0" in answer.text


async def test_requests_that_are_no_uploads_keep_their_limit(world: FileWorld) -> None:
    answer = await world.http.post(f"/files/{'0' * 32}/link", content=b"x" * (2 * MB), headers=head())
    assert answer.status_code == 413


# ---------------------------------------------------------------------------- settings
@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"accel_location": "protected/"}, "accel_location"),
        ({"accel_location": "/protected"}, "accel_location"),
        ({"accel_location": "/p/", "s3_url": "https://host/bucket"}, "accel_location"),
        ({"s3_url": "https://host"}, "s3_url"),
        ({"s3_url": "https://host/a/b"}, "s3_url"),
        ({"s3_access_key": "a"}, "s3_secret_key"),
        ({"thumbnail_widths": [5]}, "thumbnail_widths"),
        ({"thumbnail_widths": ["wide"]}, "thumbnail_widths"),
        ({"visibility": "everybody"}, "visibility"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, wrong: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(tmp_path, **wrong)
    assert f"files.{key}" in str(caught.value)


def test_settings_that_can_be(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path, accel_location="/protected/", thumbnail_widths=[100], s3_access_key="a", s3_secret_key="b"
    )
    assert settings.files.thumbnail_widths == (100,)
