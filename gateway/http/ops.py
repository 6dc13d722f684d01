"""What machines ask: is the process alive, may it get traffic, how is it doing.

- `/healthz` (also `/health`): 200 while the process lives. Not more: a restart does not repair Redis.
- `/readyz`: 200, or 503 with the problem in a sentence, for load balancers and humans.
- `/metrics`: the text format of Prometheus.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from gateway.errors import ERROR_METHOD_NOT_FOUND
from gateway.http.asgi import Headers, Receive, Scope, Send, respond, respond_json
from gateway.metrics import CONTENT_TYPE, Metrics

PATHS: Final = frozenset({"/healthz", "/health", "/readyz", "/metrics"})
_NO_STORE: Final = (b"cache-control", b"no-store")


class HasProblem(Protocol):
    """What readiness asks of the node."""

    @property
    def problem(self) -> str:
        """Why it is not ready, empty where it is."""


class OpsApp:
    """The ASGI app of `PATHS`."""

    def __init__(self, node: HasProblem, metrics: Metrics) -> None:
        self._node = node
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of `PATHS`."""
        if scope["method"] not in ("GET", "HEAD"):
            allow: Headers = [(b"allow", b"GET, HEAD")]
            await respond_json(send, 405, {"code": ERROR_METHOD_NOT_FOUND.code, "message": "use GET"}, allow)
        elif scope["path"] == "/metrics":
            # In a thread: it takes milliseconds and reads /proc. The counts belong to the loop.
            text = await asyncio.to_thread(self._metrics.exposition, self._metrics.counts)
            await respond(send, 200, text, [(b"content-type", CONTENT_TYPE.encode()), _NO_STORE])
        elif scope["path"] == "/readyz":
            await self._ready(send)
        else:
            await respond_json(send, 200, {}, [_NO_STORE])

    async def _ready(self, send: Send) -> None:
        problem = self._node.problem
        if problem:
            await respond_json(send, 503, {"ready": False, "problem": problem}, [_NO_STORE])
        else:
            await respond_json(send, 200, {"ready": True}, [_NO_STORE])
