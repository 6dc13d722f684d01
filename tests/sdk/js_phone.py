"""centrifuge-js in a Node process."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.sdk.phone import PATIENCE, RECONNECT_DELAY, Phone, PhoneError

FOLDER = Path(__file__).resolve().parent / "js"
LINE_LIMIT = 4 * 1024 * 1024


class JsPhone(Phone):
    """See `phone.js`."""

    def __init__(self) -> None:
        super().__init__()
        self._process: Process | None = None
        self._listener: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._next_id = 0

    async def start(
        self, url: str, *, token: str = "", data: Any = None, tokens: Sequence[str] | None = None
    ) -> None:
        self._process = await asyncio.create_subprocess_exec(
            "node", "phone.js", cwd=FOLDER, stdin=PIPE, stdout=PIPE, limit=LINE_LIMIT
        )
        self._listener = asyncio.create_task(self._listen(self._process), name="phone.js")
        fields = {"url": url, "token": token, "data": data, "delay": RECONNECT_DELAY * 1000}
        await self.act("start", **fields, **({} if tokens is None else {"tokens": list(tokens)}))

    async def act(self, action: str, **fields: Any) -> Any:
        assert self._process is not None
        assert self._process.stdin is not None
        self._next_id += 1
        answer = self._waiting[self._next_id] = asyncio.get_running_loop().create_future()
        if action == "subscribe":
            fields["delay"] = RECONNECT_DELAY * 1000
        line = json.dumps({"id": self._next_id, "do": action, **fields})
        self._process.stdin.write(line.encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            return await answer

    async def stop(self) -> None:
        if self._process is None or self._listener is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        await self._listener
        assert await self._process.wait() == 0, "phone.js failed"

    async def _listen(self, process: Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            message = json.loads(line)
            if "event" in message:
                await self.hear(message.pop("event"), **message)
                continue
            answer = self._waiting.pop(message["id"])
            if "error" in message:
                answer.set_exception(PhoneError(**message["error"]))
            else:
                answer.set_result(message["result"])
