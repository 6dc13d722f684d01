"""A whole gateway in the test's loop, with files in a folder of the test, and a client for it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from gateway.auth.token_maker import make_token
from gateway.backend.base import Backend, NoBackend
from gateway.brokers.base import HistoryFilter
from gateway.config import load
from gateway.files.service import Files
from gateway.node.node import Node
from gateway.server import Server
from tests.timing import MS

SECRET = "a secret that only the tests of files know"
PATIENCE = 20_000 * MS


def picture(kind: str = "PNG", size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    """A small image with something in it."""
    out = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(out, kind, **options)
    return out.getvalue()


PNG = picture()
PDF = b"%PDF-1.7\n" + bytes(range(256)) * 40
MP4 = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom"


def video(size: int) -> bytes:
    """Something of `size` bytes that may be sent, every part of it different."""
    block = b"".join(number.to_bytes(8) for number in range(8192))
    return (MP4 + block * (size // len(block) + 1))[:size]


def head(user: str = "alice", **more: str) -> dict[str, str]:
    """The headers of a user's request."""
    claims = {"sub": user, "exp": int(time.time()) + 3600}
    return {"Authorization": f"Bearer {make_token(SECRET, claims)}"} | more


def form(
    data: bytes,
    fields: Mapping[str, str] | None = None,
    *,
    name: str | None = "a.png",
    field: str = "file",
    boundary: str = "----WebKitFormBoundaryxyz",
    after: bool = False,
    part_type: str | None = "image/png",
) -> tuple[bytes, str]:
    """A multipart body and its content type, byte by byte as phones make them."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in (fields or {}).items()
    ]
    named = "" if name is None else f'; filename="{name}"'
    typed = "" if part_type is None else f"Content-Type: {part_type}\r\n"
    about = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"{named}\r\n{typed}\r\n'
    file = about.encode() + data + b"\r\n"
    parts = [file, *parts] if after else [*parts, file]
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


@dataclass
class FileWorld:
    """What the tests of files need."""

    folder: Path
    files: Files
    node: Node
    http: httpx.AsyncClient
    port: int
    ports: dict[str, int]

    async def send(
        self, data: bytes = PNG, fields: Mapping[str, str] | None = None, user: str = "alice", **how: Any
    ) -> httpx.Response:
        """`POST /files`."""
        body, content_type = form(data, fields, **how)
        return await self.http.post(
            "/files", content=body, headers=head(user, **{"Content-Type": content_type})
        )

    async def stored(
        self, data: bytes = PNG, fields: Mapping[str, str] | None = None, **how: Any
    ) -> dict[str, Any]:
        """The answer to an upload that must succeed."""
        answer = await self.send(data, fields, **how)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def left(self) -> list[str]:
        """Every file in the directory of files."""
        found = (Path(base) / name for base, _, names in os.walk(self.folder) for name in names)
        return sorted(str(path.relative_to(self.folder)) for path in found)


def settings_of(folder: Path, **files: Any) -> Any:
    return load(
        None,
        {},
        {
            "listen": dict.fromkeys(("websocket", "http", "internal"), "127.0.0.1:0"),
            "client": {"token_hmac_secret": SECRET},
            "channels": {
                "allow_subscribe_for_client": True,
                "allow_publish_for_subscriber": True,
                "history_size": 10,
                "history_ttl": "1m",
                "namespaces": {
                    "wall": {
                        "allow_publish_for_client": True,
                        "allow_subscribe_for_client": True,
                        "history_size": 10,
                        "history_ttl": "1m",
                    },
                    "staff": {},
                },
            },
            "shutdown": {"timeout": "2s", "drain": "0s"},
            "files": {"directory": str(folder), **files},
        },
    )


@contextlib.asynccontextmanager
async def file_world(folder: Path, backend: Backend | None = None, **files: Any) -> AsyncIterator[FileWorld]:
    """A gateway whose files are in `folder`; `files`: settings of that section."""
    server = Server(settings_of(folder, **files), backend or NoBackend())
    await server.start()
    parts = server._parts
    assert parts is not None
    try:
        url = f"http://127.0.0.1:{server.ports['http']}"
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE) as http:
            yield FileWorld(folder, parts.files, parts.node, http, server.ports["http"], server.ports)
    finally:
        await server.stop()


async def published(world: FileWorld, channel: str) -> list[Any]:
    """Everything that was published in a channel with a history."""
    history = await world.node.history(channel, HistoryFilter(100))
    return [json.loads(bytes(one.data)) for one in history.publications]
