"""A real `gateway serve` in a process of its own, on free ports: what a user starts, seen from outside."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from gateway.auth.token_maker import make_token
from tests.timing import MS

ROOT = Path(__file__).resolve().parent.parent
APPID = "wx0000000000000001"
HMAC_SECRET = "a secret that only the tests know, long enough"
API_KEY = "an api key that only the tests know"
START_PATIENCE = 15_000 * MS
STOP_PATIENCE = 10_000 * MS

CONFIG = """\
[listen]
websocket = "127.0.0.1:{websocket}"
http = "127.0.0.1:{http}"
internal = "127.0.0.1:{internal}"

[wechat]
sandbox = true
timeout = "1s"
[[wechat.apps]]
appid = "{appid}"
secret = "sandbox-secret"
api_base = "http://127.0.0.1:{http}/sandbox"

[client]
token_hmac_secret = "{hmac_secret}"
command_burst = 2000
expired_close_delay = "1500ms"
{client}

[api]
keys = ["{api_key}"]

[shutdown]
timeout = "5s"
drain = "200ms"

[channels]
allow_subscribe_for_client = true
allow_publish_for_subscriber = true
history_size = 100
history_ttl = "5m"
force_recovery = true

[channels.namespaces.chat]
presence = true
join_leave = true
force_push_join_leave = true
history_size = 100
history_ttl = "5m"
force_recovery = true
allow_subscribe_for_client = true
allow_publish_for_subscriber = true
allow_presence_for_subscriber = true
allow_history_for_subscriber = true

[channels.namespaces.lobby]
presence = true
allow_subscribe_for_client = true
allow_presence_for_client = true

[channels.namespaces.team]
allow_user_limited_channels = true

[channels.namespaces.secret]
allow_publish_for_subscriber = true

[channels.namespaces.plain]
allow_subscribe_for_client = true
{more}
"""

HANDLERS = """\
import asyncio

from gateway import ClientError, Disconnect, Gateway

gw = Gateway()


@gw.rpc("echo")
async def echo(caller, data):
    return data


@gw.rpc("send_me_away")
async def send_away(caller, data):
    await asyncio.sleep(0.1)
    raise ClientError(Disconnect(4500, "away"))
"""


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens to; one may be taken before it is used, which has not been seen."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]


def unique(prefix: str) -> str:
    """A name that no other test uses: tests share one gateway."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


class GatewayProcess:
    """Started, watched and stopped by the tests.

    Args:
        folder: where its configuration and its log are written.
        client: more lines of the section [client].
        more: more sections.
    """

    def __init__(self, folder: Path, *, client: str = "", more: str = "") -> None:
        self.websocket_port, self.http_port, self.internal_port = free_ports(3)
        self._folder = folder
        self._log = folder / "gateway.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.config = CONFIG.format(
            websocket=self.websocket_port,
            http=self.http_port,
            internal=self.internal_port,
            appid=APPID,
            hmac_secret=HMAC_SECRET,
            api_key=API_KEY,
            client=client,
            more=more,
        )

    # ------------------------------------------------------------------ life
    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        config = self._folder / "gateway.toml"
        config.write_text(self.config)
        arguments = [sys.executable, "-m", "gateway", "serve", *self._handlers(), "--config", str(config)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                arguments,
                cwd=self._folder,
                stdout=log,
                stderr=log,
                env=environment | {"PYTHONPATH": str(ROOT)},
            )
        deadline = time.monotonic() + START_PATIENCE
        while not self._ready():
            assert self._process.poll() is None, f"the gateway did not start:\n{self.log()}"
            assert time.monotonic() < deadline, f"the gateway is not ready:\n{self.log()}"
            time.sleep(10 * MS)

    @property
    def memory(self) -> int:
        """Bytes that the process has in memory."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    def _handlers(self) -> list[str]:
        (self._folder / "handlers.py").write_text(HANDLERS)
        return ["handlers:gw"]

    def _ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.internal_port, timeout=1)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> int:
        """The exit code, which must come soon."""
        assert self._process is not None
        try:
            return self._process.wait(STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"the gateway did not stop:\n{self.log()}") from None

    def stop(self) -> None:
        """SIGTERM ends it with 0, and its log has no traceback."""
        assert self._process is not None
        if self._process.poll() is None:
            self.signal()
        self.check_end()

    def check_end(self) -> None:
        """It leaves by itself (a second signal would force it), with 0 and without a traceback."""
        code = self.wait()
        assert code == 0, f"exit code {code}:\n{self.log()}"
        assert "Traceback" not in self.log(), self.log()

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def check_health(self) -> None:
        """It lives, it is ready, and nothing went wrong in it."""
        assert "Traceback" not in self.log(), self.log()
        assert self._process is not None
        assert self._process.poll() is None, f"the gateway died:\n{self.log()}"
        assert self._ready(), f"the gateway is not ready:\n{self.log()}"

    # ------------------------------------------------------------------ what a user does with it
    @property
    def url(self) -> str:
        """Where SDKs connect to."""
        return f"ws://127.0.0.1:{self.websocket_port}/connection/websocket"

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.internal_port}/api"

    async def api(self, method: str, /, **params: Any) -> dict[str, Any]:
        """The whole answer of one server API call."""
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(f"{self.api_url}/{method}", json=params, headers={"X-API-Key": API_KEY})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def publish(self, channel: str, data: Any) -> None:
        answer = await self.api("publish", channel=channel, data=data)
        assert "error" not in answer, answer

    async def code(self, user: str, **more: str) -> str:
        """A fresh `wx.login` code for a simulated phone."""
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(f"{self.http_url}/sandbox/login", json={"user": user, **more})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["code"])

    async def wechat_calls(self) -> int:
        """How often WeChat has been asked so far."""
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"{self.http_url}/sandbox/stats")
        return int(answer.json()["calls"])

    async def order_fault(self, kind: str, **more: Any) -> None:
        """The next exchange of a code goes wrong."""
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(f"{self.http_url}/sandbox/faults", json={"kind": kind, **more})
        assert answer.status_code == 204, answer.text


def token(user: str, *, ttl: float | None = 3600, secret: str = HMAC_SECRET, **claims: Any) -> str:
    """A connection token, or with `channel` a subscription token; `ttl` None never expires."""
    expiry: Mapping[str, Any] = {} if ttl is None else {"exp": int(time.time() + ttl)}
    return make_token(secret, {"sub": user, **expiry, **claims})
