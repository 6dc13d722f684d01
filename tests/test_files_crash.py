"""A real process: killed in the middle of uploads, and loaded with large ones while its memory is watched."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.file_world import video
from tests.gateway_process import GatewayProcess, token
from tests.timing import MS, until

MB = 1024 * 1024
SIZE = int(os.environ.get("GATEWAY_TEST_FILE_MB", "40")) * MB
"""Bytes of one of the large files; the full size is 200 MB."""
AT_ONCE = 10
MEMORY = 30 * MB
"""Bytes above idle that all of them together may take."""

FILES = """
[files]
directory = "{folder}/files"
max_upload_size = "300MB"
quota_bytes_per_day = 0
quota_files_per_day = 0
max_uploads_per_user = 40
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[GatewayProcess]:
    running = GatewayProcess(tmp_path, more=FILES.format(folder=tmp_path))
    running.start()
    yield running
    running.stop()


def start_of_form(content_length: int, user: str) -> tuple[bytes, bytes]:
    """Everything before the file and after it; the file has `content_length` bytes."""
    before = b'--x\r\nContent-Disposition: form-data; name="file"; filename="v.mp4"\r\n\r\n'
    after = b"\r\n--x--\r\n"
    lines = [
        "POST /files HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {token(user)}",
        "Content-Type: multipart/form-data; boundary=x",
        f"Content-Length: {len(before) + content_length + len(after)}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + before, after


def files_below(folder: Path) -> list[Path]:
    # os.walk passes over what disappears meanwhile.
    return [Path(base) / name for base, _, names in os.walk(folder) for name in names]


async def test_a_kill_in_the_middle_of_twenty_uploads_leaves_nothing(
    process: GatewayProcess, tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    async with httpx.AsyncClient(base_url=process.http_url, trust_env=False) as http:
        whole = await http.post(
            "/files",
            files={"file": ("v.mp4", video(5000))},
            headers={"Authorization": f"Bearer {token('user-0')}"},
        )
        assert whole.status_code == 200
    writers = []
    for number in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", process.http_port)
        before, _ = start_of_form(5 * MB, f"user-{number}")
        writer.write(before + video(600_000 + number * 10_000))
        await writer.drain()
        writers.append(writer)
    await until(lambda: len(files_below(folder / "incoming")) == 20)
    process.signal(signal.SIGKILL)
    await asyncio.to_thread(process.wait)
    for writer in writers:
        writer.close()
    assert len(files_below(folder)) == 22, "the kill came too late to prove anything"
    assert len(files_below(folder / "files")) == 2, "a half file is visible"

    await asyncio.to_thread(process.start)
    await until(lambda: len(files_below(folder)) == 2)
    assert not list((folder / "incoming").iterdir())
    async with httpx.AsyncClient(base_url=process.http_url, trust_env=False) as http:
        answer = await http.get(whole.json()["url"], headers={"Authorization": f"Bearer {token('user-0')}"})
    assert answer.content == video(5000)


def memory(process: GatewayProcess) -> int:
    """Bytes that the process has for itself (anonymous memory; what it shares with files is not its own)."""
    assert process._process is not None
    text = Path(f"/proc/{process._process.pid}/smaps_rollup").read_text()
    found = re.search(r"^Anonymous:\s+(\d+) kB", text, re.MULTILINE)
    assert found
    return int(found[1]) * 1024


@pytest.mark.timeout(600)
async def test_memory_stays_flat_while_ten_large_files_come_and_go(process: GatewayProcess) -> None:
    block = video(MB)
    blocks = SIZE // MB
    digest = hashlib.sha256(block * blocks).hexdigest()
    peak = 0

    async with httpx.AsyncClient(base_url=process.http_url, trust_env=False, timeout=600) as http:
        small = await http.post(
            "/files",
            files={"file": ("v.mp4", block)},
            headers={"Authorization": f"Bearer {token('user-0')}"},
        )
        await http.get(small.json()["url"], headers={"Authorization": f"Bearer {token('user-0')}"})
        idle = memory(process)

        async def watch() -> None:
            nonlocal peak
            while True:
                peak = max(peak, memory(process))
                await asyncio.sleep(20 * MS)

        async def upload(number: int) -> str:
            before, after = start_of_form(SIZE, f"user-{number}")
            reader, writer = await asyncio.open_connection("127.0.0.1", process.http_port)
            writer.write(before)
            for _ in range(blocks):
                writer.write(block)
                await writer.drain()
            writer.write(after)
            answer = await reader.readuntil(b"}")
            assert digest.encode() in answer, answer
            writer.close()
            found = re.search(rb'"url":"([^"]+)"', answer)
            assert found
            return found[1].decode()

        async def download(number: int, url: str) -> None:
            got = hashlib.sha256()
            headers = {"Authorization": f"Bearer {token(f'user-{number}')}"}
            async with http.stream("GET", url, headers=headers) as answer:
                async for chunk in answer.aiter_bytes(MB):
                    got.update(chunk)
            assert got.hexdigest() == digest

        watching = asyncio.create_task(watch())
        urls = await asyncio.gather(*(upload(number) for number in range(AT_ONCE)))
        both = [upload(number) for number in range(AT_ONCE)]
        await asyncio.gather(*both, *(download(number, url) for number, url in enumerate(urls)))
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    print(f"idle {idle / MB:.1f} MB, peak {peak / MB:.1f} MB, {(peak - idle) / MB:.1f} MB above")
    assert peak - idle <= MEMORY
