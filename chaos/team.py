"""A real `gateway serve` and its children, seen from outside: started, watched, hurt and stopped."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
APPID = "wx0000000000000001"
HMAC_SECRET = "a secret that only the checker knows, long enough"  # noqa: S105
API_KEY = "an api key that only the checker knows"

CONFIG = """\
[listen]
websocket = "127.0.0.1:0"
http = "127.0.0.1:{http}"
internal = "127.0.0.1:0"
[log]
format = "json"
[redis]
url = "{redis}"
[session]
encryption_key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
[wechat]
sandbox = {sandbox}
max_sign_ins_per_ip = 64
[[wechat.apps]]
appid = "wx0000000000000001"
secret = "sandbox-secret"
{app}
[client]
token_hmac_secret = "{secret}"
command_burst = 2000
{client}
[api]
keys = ["{key}"]
[shutdown]
timeout = "10s"
drain = "200ms"
[channels]
allow_subscribe_for_client = true
allow_publish_for_subscriber = true
history_size = 10000
history_ttl = "10m"
force_recovery = true
{channels}
{more}
"""


def gateway_toml(redis: str, *, http: int = 0, sandbox: bool = True, **sections: str) -> str:
    """A configuration; `client`, `channels` and `app` take more lines of theirs, `more` whole sections."""
    parts = {"client": "", "channels": "", "app": "", "more": "", **sections}
    switch = str(sandbox).lower()
    return CONFIG.format(redis=redis, http=http, sandbox=switch, secret=HMAC_SECRET, key=API_KEY, **parts)


class TeamError(Exception):
    """The gateway did not do what it was asked for; with the end of its log."""


class Team:
    """One `gateway serve`: with `workers` above 1 a supervisor, its workers and the HTTP process.

    Attributes:
        ports: by listener, as the log tells them: the kernel chooses those that are 0 in `config`.
    """

    def __init__(
        self, folder: Path, config: str, *, workers: int = 2, only: str = "", handlers: str = ""
    ) -> None:
        self.folder = folder
        self.workers = workers
        self._only = only
        self._handlers = handlers
        self._config = folder / "gateway.toml"
        self._log = folder / "gateway.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.ports: dict[str, list[int]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.write(config)

    # ------------------------------------------------------------------ life
    def write(self, config: str) -> None:
        """Replace the configuration file; SIGHUP makes the gateway read it."""
        self._config.write_text(config)

    def spawn(self) -> None:
        """Start without waiting."""
        words = [sys.executable, "-m", "gateway", "serve"]
        words += [self._handlers] if self._handlers else []
        words += ["--config", str(self._config)]
        words += ["--workers", str(self.workers)] if self.workers != 1 else []
        words += ["--only", self._only] if self._only else []
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603
                words, cwd=self.folder, stdout=log, stderr=log, env=environment | {"PYTHONPATH": str(ROOT)}
            )

    def start(self, patience: float) -> None:
        """Start, and wait until every process is ready."""
        self.spawn()
        deadline = time.monotonic() + patience
        while not (self._read_ports() and self.ready()):
            self._check(deadline)
            time.sleep(0.02)

    def _check(self, deadline: float) -> None:
        if self._running.poll() is not None or time.monotonic() > deadline:
            raise TeamError(f"the gateway did not start:\n{self.log()[-4000:]}")

    def _read_ports(self) -> bool:
        event = "the gateway serves" if self.workers == 1 else "the processes are started"
        for line in self.lines():
            if line.get("event") == event:
                found = {name: line[name] for name in ("websocket", "http", "internal") if name in line}
                self.ports = {name: [each] if isinstance(each, int) else each for name, each in found.items()}
                return True
        return False

    def ready(self) -> bool:
        """Whether all processes say so."""
        return all(readiness(port)[0] == 200 for port in self.ports["internal"])

    def signal(self, number: signal.Signals) -> None:
        self._running.send_signal(number)

    def wait(self, patience: float) -> int:
        """The exit code, which must come soon."""
        try:
            return self._running.wait(patience)
        except subprocess.TimeoutExpired:
            raise TeamError(f"the gateway does not end:\n{self.log()[-4000:]}") from None

    def close(self) -> None:
        """End it and its children, whatever state they are in."""
        if self.process is None:
            return
        children = list(self.children().values())
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process = None

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise TeamError("the gateway was not started")
        return self.process

    # ------------------------------------------------------------------ what is seen of it
    @property
    def url(self) -> str:
        """Where SDKs connect to."""
        return f"ws://127.0.0.1:{self.ports['websocket'][0]}/connection/websocket"

    def children(self) -> dict[str, int]:
        """The pids of the children by name, while their parent lives."""
        found: dict[str, int] = {}
        for pid in _child_pids(self._running.pid):
            with suppress(OSError, ValueError, IndexError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                found[json.loads(words[words.index(b"worker") + 1])["name"]] = pid
        return found

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        """The log's lines, all or those of one event."""
        found = []
        for text in self.log().splitlines():
            with suppress(ValueError):
                line = json.loads(text)
                if isinstance(line, dict) and event in ("", line.get("event")):
                    found.append(line)
        return found


def _child_pids(pid: int) -> list[int]:
    with suppress(OSError):
        return [
            int(child)
            for thread in Path(f"/proc/{pid}/task").iterdir()
            for child in (thread / "children").read_text().split()
        ]
    return []


def readiness(port: int, timeout: float = 2.0) -> tuple[int, str]:
    """Status and problem of `/readyz` on an internal port; status 0 where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return answer.status, str(json.loads(answer.read()).get("problem", ""))
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()
