"""As whom a client signs in: by a code of the sandbox, a JWT of its own, a token of a file, or as nobody."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import Any

import msgspec

from gateway.auth.token_maker import make_token
from gateway.loadtest.http_line import HttpFailed, HttpLine
from gateway.loadtest.plan import Plan

DAY = 86_400


class NoCredentials(Exception):
    """The client cannot sign in; the text says why."""


class Credentials:
    """Fetches what clients sign in with; codes over a few connections that are kept."""

    def __init__(self, plan: Plan, context: ssl.SSLContext) -> None:
        self._plan = plan
        count = plan.sign_ins if plan.way == "sandbox" else 0
        self._lines = [HttpLine(plan.http, {}, context) for _ in range(count)]
        self._free: asyncio.Queue[HttpLine] = asyncio.Queue()
        for line in self._lines:
            self._free.put_nowait(line)
        # A sign-in by code occupies the gateway until WeChat has answered; it bounds how many at a time.
        self.codes = asyncio.Semaphore(plan.sign_ins)

    def close(self) -> None:
        for line in self._lines:
            line.close()

    def direct(self, number: int) -> dict[str, Any] | None:
        """The `connect` of client `number`; None: it needs a code first."""
        plan = self._plan
        match plan.way:
            case "secret":
                claims = {"sub": f"load-{number}", "exp": int(time.time()) + DAY}
                return {"token": make_token(plan.secret, claims)}
            case "tokens":
                return {"token": plan.tokens[number - plan.first]}
            case "anonymous":
                return {}
        return None

    async def code(self, number: int) -> str:
        """A code of the sandbox for client `number`.

        Raises:
            NoCredentials: there is no sandbox, or it refuses.
        """
        line = await self._free.get()
        try:
            body = msgspec.json.encode({"user": f"load-{number}"})
            status, answer = await line.request("POST", "/sandbox/login", body)
        except HttpFailed as error:
            raise NoCredentials(f"sandbox: {error}") from None
        finally:
            self._free.put_nowait(line)
        if status != 200:
            raise NoCredentials(f"sandbox: HTTP {status}")
        return str(msgspec.json.decode(answer)["code"])
