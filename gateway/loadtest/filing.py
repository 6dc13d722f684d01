"""Files of a load test: each is sent, fetched, compared with what was sent, and deleted."""

from __future__ import annotations

import asyncio
import os
from typing import Final

import msgspec
from msgspec import Struct

from gateway.loadtest.crowd import Crowd
from gateway.loadtest.histogram import note
from gateway.loadtest.http_line import HttpFailed, HttpLine

LINES: Final = 16
"""HTTP connections of one process."""
_BOUNDARY: Final = "load-test-boundary"


class Uploaded(Struct):
    id: str = ""


async def send_files(crowd: Crowd) -> None:
    """On schedule, by turns of the clients; the wait for a free connection is part of a file's time."""
    filing = crowd.scenario.files
    if filing is None:
        return
    lines: asyncio.Queue[HttpLine] = asyncio.Queue()
    for _ in range(LINES):
        lines.put_nowait(HttpLine(crowd.plan.http, {}, crowd.context))
    content = b"text of a load test\n" + os.urandom(filing.size).hex().encode()[: max(0, filing.size - 20)]
    every = 1e6 / (filing.per_second * crowd.plan.share)
    began, sent = crowd.now(), 0
    async with asyncio.TaskGroup() as running:
        while (now := crowd.now()) < crowd.until:
            while (due := began + int(sent * every)) <= now:
                phone = crowd.phones[sent % len(crowd.phones)]
                sent += 1
                token = phone.token or str((crowd.hello(phone)).get("token", ""))
                running.create_task(_one(crowd, lines, token, content, due))
            await asyncio.sleep(0.01)
    while not lines.empty():
        lines.get_nowait().close()


async def _one(crowd: Crowd, lines: asyncio.Queue[HttpLine], token: str, content: bytes, due: int) -> None:
    line = await lines.get()
    try:
        await _there_and_back(crowd, line, token, content, due)
    except HttpFailed as error:
        crowd.tally.fail(f"files: {error}")
    finally:
        lines.put_nowait(line)


async def _there_and_back(crowd: Crowd, line: HttpLine, token: str, content: bytes, due: int) -> None:
    identity = f"Authorization: Bearer {token}\r\n"
    form = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="load.txt"\r\n\r\n'.encode()
        + content
        + f"\r\n--{_BOUNDARY}--\r\n".encode()
    )
    kind = f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n"
    status, answer = await line.request("POST", "/files", form, identity + kind)
    if not 200 <= status < 300:
        crowd.tally.fail(f"upload: HTTP {status}")
        return
    crowd.tally.uploads += 1
    note(crowd.tally.upload, crowd.now() - due)
    name = msgspec.json.decode(answer, type=Uploaded).id
    began = crowd.now()
    status, body = await line.request("GET", f"/files/{name}", b"", identity)
    if status != 200 or body != content:
        crowd.tally.fail(f"download: HTTP {status}" if status != 200 else "download: not what was sent")
    else:
        crowd.tally.downloads += 1
        note(crowd.tally.download, crowd.now() - began)
    await line.request("DELETE", f"/files/{name}", b"", identity)
