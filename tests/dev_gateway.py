"""A real `gateway dev` in a process of its own, on free ports: what a newcomer starts, seen from outside."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.gateway_process import ROOT, free_ports
from tests.timing import MS

DEFAULT_PORTS = ("8000", "8001", "9000")
"""Of the websocket, the http and the internal listener: what documentation and newcomers see."""
START_PATIENCE = 20_000 * MS
STOP_PATIENCE = 20_000 * MS


@dataclass
class DevGateway:
    """A running gateway, and what it has printed so far."""

    process: subprocess.Popen[bytes]
    ports: tuple[str, str, str]
    output: Path

    def printed(self) -> str:
        return self.output.read_text(errors="replace")

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.ports[1]}"

    def here(self, text: str) -> str:
        """`text` with the default ports replaced by those of this gateway."""
        moved = dict(zip(DEFAULT_PORTS, self.ports, strict=True))
        return re.sub(
            rf"(127\.0\.0\.1:)({'|'.join(moved)})\b", lambda found: found[1] + moved[found[2]], text
        )

    def api(self, method: str, **params: object) -> dict[str, object]:
        """The result of a call of the server API, with the key of `gateway dev`."""
        url = f"http://127.0.0.1:{self.ports[2]}/api/{method}"
        answer = httpx.post(url, json=params, headers={"X-API-Key": "dev"}, trust_env=False)
        return dict(answer.json()["result"])


@contextlib.contextmanager
def dev_gateway(
    folder: Path,
    command: Sequence[str] = (sys.executable, "-m", "gateway", "dev"),
    *,
    cwd: Path = ROOT,
    patience: float = START_PATIENCE,
    **settings: str,
) -> Iterator[DevGateway]:
    """Started and ready; at the end SIGTERM must end it with 0, and without a traceback.

    Args:
        folder: where its output is written.
        settings: more `GATEWAY_…` variables.
    """
    websocket, http, internal = map(str, free_ports(len(DEFAULT_PORTS)))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    environment |= {
        "GATEWAY_LISTEN__WEBSOCKET": f"127.0.0.1:{websocket}",
        "GATEWAY_LISTEN__HTTP": f"127.0.0.1:{http}",
        "GATEWAY_LISTEN__INTERNAL": f"127.0.0.1:{internal}",
        "GATEWAY_FILES__DIRECTORY": str(folder / "files"),
        "GATEWAY_CONFIG": str(folder / "no-settings.toml"),
        **settings,
    }
    (folder / "no-settings.toml").touch()  # not the gateway.toml of whoever runs the tests
    output = folder / "gateway.log"
    with output.open("wb") as log:
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=log, stderr=log)
    running = DevGateway(process, (websocket, http, internal), output)
    try:
        _wait_for_greeting(running, patience)
        yield running
        assert process.poll() is None, f"the gateway ended by itself:\n{running.printed()}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_PATIENCE) == 0, running.printed()
        assert "Traceback" not in running.printed(), running.printed()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait_for_greeting(running: DevGateway, patience: float) -> None:
    deadline = time.monotonic() + patience
    while "  End    Ctrl-C" not in running.printed():
        assert running.process.poll() is None, f"it did not start:\n{running.printed()}"
        assert time.monotonic() < deadline, f"it is not ready:\n{running.printed()}"
        time.sleep(20 * MS)
