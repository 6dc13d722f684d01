"""The contract of `gateway.storage.base`, over every store."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.errors import UpstreamError
from gateway.storage.base import CHUNK, Meta, Storage, Writer, is_id, new_id
from gateway.storage.local import LocalStorage
from gateway.storage.s3 import PART, S3Storage
from tests import s3_servers

STORES = ["local", "s3-moto", "s3-versity"]
NOW = time.time()


@pytest.fixture(scope="module", autouse=True)
def servers() -> Iterator[None]:
    yield
    s3_servers.stop_servers()


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    made: Storage
    if request.param == "local":
        made = LocalStorage(tmp_path)
    else:
        if request.param == "s3-versity" and not s3_servers.versitygw():
            pytest.skip("versitygw is not installed: scripts/test-tools")
        url = s3_servers.moto_url() if request.param == "s3-moto" else s3_servers.versity_url()
        made = S3Storage(s3_servers.bucket(url, f"{secrets.token_hex(4)}/"), orphan_age=0)
    yield made
    await made.close()


def meta_of(file_id: str, data: bytes, **more: Any) -> Meta:
    about: dict[str, Any] = {"type": "video/mp4", "user": "alice", "created": NOW, "name": "夏天.mp4"} | more
    return Meta(id=file_id, size=len(data), sha256=hashlib.sha256(data).hexdigest(), **about)


def same(piece: bytes) -> bytes:
    return piece


async def sealed(store: Storage, file_id: str, data: bytes) -> Writer:
    writer = await store.create(file_id)
    for start in range(0, len(data), CHUNK):
        await writer.write([data[start : start + CHUNK]], same)
    await writer.seal()
    return writer


async def put(store: Storage, data: bytes, **more: Any) -> Meta:
    meta = meta_of(new_id(), data, **more)
    writer = await sealed(store, meta.id, data)
    await writer.commit(meta)
    return meta


async def content(store: Storage, file_id: str, start: int = 0, stop: int = 1 << 40) -> bytes:
    return b"".join([chunk async for chunk in store.read(file_id, start, stop)])


@pytest.mark.parametrize("size", [0, 1, CHUNK, PART - 1, PART, 2 * PART + 7])
async def test_what_was_written_is_read_and_all_that_is_known_of_it_too(store: Storage, size: int) -> None:
    data = secrets.token_bytes(size)
    meta = await put(store, data, channel="wall:1", visibility="channel", width=3, height=4, appid="wx1")
    assert await store.stat(meta.id) == meta
    if size:
        assert await content(store, meta.id, 0, size) == data


async def test_parts_of_a_file_are_read(store: Storage) -> None:
    data = secrets.token_bytes(2 * CHUNK + 100)
    meta = await put(store, data)
    for start, stop in ((0, 1), (5, 10), (CHUNK - 1, CHUNK + 1), (len(data) - 1, len(data)), (7, 7)):
        assert await content(store, meta.id, start, stop) == data[start:stop]


async def test_pieces_go_through_what_changes_them(store: Storage) -> None:
    meta = meta_of(new_id(), b"")
    writer = await store.create(meta.id)
    await writer.write([b"abc", b"", b"def"], bytes.upper)
    await writer.seal()
    assert b"".join([chunk async for chunk in writer.read()]) == b"ABCDEF"
    await writer.commit(meta)
    assert await content(store, meta.id, 0, 6) == b"ABCDEF"


async def test_nothing_is_visible_before_the_commit(store: Storage) -> None:
    file_id = new_id()
    writer = await sealed(store, file_id, b"x" * (PART + 1))
    assert await store.stat(file_id) is None
    await writer.abort()
    await writer.abort()
    assert await store.stat(file_id) is None


@pytest.mark.parametrize("size", [0, 10, PART + 1])
async def test_an_abort_at_any_time_leaves_nothing(store: Storage, size: int) -> None:
    writer = await store.create(new_id())
    if size:
        await writer.write([b"x" * size], same)
    await writer.abort()
    sealed_one = await sealed(store, new_id(), b"x" * size)
    await sealed_one.abort()
    assert await store.sweep(NOW + 10) == 0, "there was something left to sweep"


async def test_an_abort_after_the_commit_changes_nothing(store: Storage) -> None:
    meta = meta_of(new_id(), b"abc")
    writer = await sealed(store, meta.id, b"abc")
    await writer.commit(meta)
    await writer.abort()
    assert await store.stat(meta.id) == meta


async def test_errors_of_what_changes_the_pieces_come_out(store: Storage) -> None:
    writer = await store.create(new_id())

    def refuse(piece: bytes) -> bytes:
        raise ValueError("not this")

    with pytest.raises(ValueError, match="not this"):
        await writer.write([b"x"], refuse)
    await writer.abort()


async def test_a_deleted_file_is_gone_with_its_variants(store: Storage) -> None:
    meta = await put(store, b"abc")
    await store.keep_variant(meta.id, "w200", b"small")
    assert await store.variant(meta.id, "w200") == b"small"
    assert await store.delete(meta.id)
    assert not await store.delete(meta.id)
    assert await store.stat(meta.id) is None
    assert await store.variant(meta.id, "w200") is None
    assert await store.sweep(NOW) == 0


@pytest.mark.parametrize(
    "file_id", ["", "..", "../../etc/passwd", "0" * 31, "0" * 33, "A" * 32, "0\0" * 16, "é" * 32]
)
async def test_what_is_no_id_finds_nothing(store: Storage, file_id: str) -> None:
    assert not is_id(file_id)
    assert await store.stat(file_id) is None
    assert not await store.delete(file_id)


async def test_what_was_never_there_is_not_found(store: Storage) -> None:
    nobody = new_id()
    assert await store.stat(nobody) is None
    assert not await store.delete(nobody)
    assert await store.variant(nobody, "w200") is None


async def test_expired_files_are_swept_and_others_are_not(store: Storage) -> None:
    short, long = await put(store, b"a", expires=NOW + 5), await put(store, b"b", expires=NOW + 500)
    forever = await put(store, b"c")
    assert await store.sweep(NOW) == 0
    assert await store.sweep(NOW + 10) == 1
    assert await store.stat(short.id) is None
    assert await store.stat(long.id) == long
    assert await store.stat(forever.id) == forever


async def test_a_running_upload_is_not_swept(store: Storage, request: pytest.FixtureRequest) -> None:
    if "moto" in request.node.name:
        pytest.skip("moto says of every unfinished upload that it began in 2010")
    if isinstance(store, S3Storage):
        store = S3Storage(store._settings)  # with its usual patience
    meta = meta_of(new_id(), b"x" * (PART + 1))
    writer = await store.create(meta.id)
    await writer.write([b"x" * (PART + 1)], same)
    assert await store.sweep(time.time()) == 0
    await writer.seal()
    assert await store.sweep(time.time()) == 0
    await writer.commit(meta)
    assert await store.stat(meta.id) == meta
    await store.close()


async def test_many_at_once_do_not_mix(store: Storage) -> None:
    contents = [secrets.token_bytes(100_000 + number) for number in range(12)]
    metas = await asyncio.gather(*(put(store, data) for data in contents))
    read = await asyncio.gather(*(content(store, meta.id, 0, meta.size) for meta in metas))
    assert list(read) == contents


async def test_a_local_file_has_the_content(store: Storage) -> None:
    meta = await put(store, b"abc")
    async with store.local_file(meta.id) as path:
        assert await asyncio.to_thread(path.read_bytes) == b"abc"


async def test_ids_cannot_be_guessed(store: Storage) -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(is_id(one) for one in ids)


# ---------------------------------------------------------------------------- local alone
async def test_a_crash_leaves_only_what_the_sweeper_takes(tmp_path: Path) -> None:
    store = LocalStorage(tmp_path)
    writer: Any = await store.create(new_id())
    await writer.write([b"x" * 1000], same)
    (tmp_path / "incoming" / f"{new_id()}-deleted").mkdir()
    writer._end()  # what the kernel does when a process ends
    assert await store.sweep(NOW) == 2
    assert not list((tmp_path / "incoming").iterdir())
    await store.close()


async def test_a_file_is_in_the_place_that_nginx_is_told(tmp_path: Path) -> None:
    store = LocalStorage(tmp_path)
    meta = await put(store, b"abc")
    path = tmp_path / "files" / store.accel_path(meta.id)
    assert await asyncio.to_thread(path.read_bytes) == b"abc"
    assert await store.redirect(meta, "attachment") == ""
    await store.close()


async def test_a_directory_that_cannot_be_written_is_an_upstream_error(tmp_path: Path) -> None:
    (tmp_path / "incoming").write_text("in the way")
    store = LocalStorage(tmp_path)
    with pytest.raises(UpstreamError):
        await store.create(new_id())
    await store.close()


# ---------------------------------------------------------------------------- S3 alone
async def test_downloads_are_redirected_to_a_signed_address() -> None:
    store = S3Storage(s3_servers.bucket(s3_servers.moto_url(), "r/"))
    meta = await put(store, b"abc")
    address = await store.redirect(meta, "attachment; filename=\"a\"; filename*=UTF-8''%E5%A4%8F")
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(address)
    assert answer.content == b"abc"
    assert answer.headers["content-type"] == "video/mp4"
    assert "%E5%A4%8F" in answer.headers["content-disposition"]
    quiet = S3Storage(s3_servers.bucket(s3_servers.moto_url(), "r/", redirect=False))
    assert await quiet.redirect(meta, "inline") == ""
    await quiet.close()
    await store.close()


async def test_orphans_and_unfinished_uploads_are_swept() -> None:
    store = S3Storage(s3_servers.bucket(s3_servers.moto_url(), f"{secrets.token_hex(4)}/"), orphan_age=0)
    kept = await put(store, b"kept")
    await sealed(store, new_id(), b"orphan")
    unfinished = await store.create(new_id())
    await unfinished.write([b"x" * PART], same)
    assert await store.sweep(time.time() + 5) == 2
    assert await store.stat(kept.id) == kept
    await store.close()


async def test_a_store_that_is_away_is_an_upstream_error_without_its_keys() -> None:
    store = S3Storage(s3_servers.bucket("http://127.0.0.1:1/files"))
    with pytest.raises(UpstreamError) as caught:
        await store.stat(new_id())
    assert s3_servers.SECRET not in str(caught.value)
    await store.close()
