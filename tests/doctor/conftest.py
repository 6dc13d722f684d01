"""A gateway for the doctor to look at, through as many good and bad fronts as there are tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.config import Settings, load
from gateway.doctor.checks import examine
from gateway.doctor.report import Finding, Level, Report
from gateway.doctor.target import Options
from tests.certificates import Authority, Pair
from tests.gateway_process import GatewayProcess, unique
from tests.nginx_process import NginxProcess, port_of, render, site_for
from tests.timing import MS

DOMAIN = "api.example.com"
PING, PONG = 600 * MS, 500 * MS
TIMEOUT = 5_000 * MS
CALLBACK_TOKEN = "a callback token"

Change = tuple[str, str] | Callable[[str], str]


class Patient:
    """The gateway, an authority, and fronts made on demand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.good = self.authority.issue(DOMAIN)
        (folder / "gateway").mkdir()
        files = f'[files]\ndirectory = "{folder}/files"\nmax_upload_size = "2MB"\n'
        self.gateway = GatewayProcess(
            folder / "gateway", client=f'ping_interval = "{PING}s"\npong_timeout = "{PONG}s"', more=files
        )
        secret = 'secret = "sandbox-secret"'
        self.gateway.config = self.gateway.config.replace(
            secret, f'{secret}\ncallback_token = "{CALLBACK_TOKEN}"'
        )
        self.config = folder / "gateway" / "gateway.toml"
        self._count = 0

    @property
    def settings(self) -> Settings:
        return load(self.config, {})

    def front(
        self, *changes: Change, pair: Pair | None = None, backend: int = 0, **site: Any
    ) -> tuple[NginxProcess, int]:
        """nginx with the rendered site, spoiled by `changes`; and its port."""
        self._count += 1
        folder = self.folder / f"front-{self._count}"
        made = site_for(self.gateway, folder, pair or self.good, DOMAIN, **site)
        port = port_of(made.listens)
        text = render(made, self.settings, *changes)
        if backend:
            text = text.replace(
                f"server 127.0.0.1:{self.gateway.websocket_port} ", f"server 127.0.0.1:{backend} "
            )
        return NginxProcess(folder, [text], [port]), port

    def examine(self, port: int, **options: Any) -> Report:
        """What the doctor says of that port."""
        values: dict[str, Any] = {
            "domain": DOMAIN,
            "settings": self.settings,
            "resolve": "127.0.0.1",
            "port": port,
            "ca": self.authority.root,
            "timeout": TIMEOUT,
        }
        return examine(Options(**(values | options)))

    def session_token(self) -> str:
        """Of a user who has signed in with a code."""
        with httpx.Client(trust_env=False) as http:
            code = http.post(
                f"{self.gateway.http_url}/sandbox/login", json={"user": unique("doctor")}
            ).json()["code"]
            answer = http.post(f"{self.gateway.http_url}/wx/login", json={"code": code})
        return str(answer.json()["token"])


@pytest.fixture(scope="session")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    patient = Patient(Path(tmp_path_factory.mktemp("doctor")))
    patient.gateway.start()
    yield patient
    patient.gateway.stop()


def found(report: Report, check: str) -> Finding:
    """The one finding of a check."""
    matching = [each for each in report.findings if each.check == check]
    assert len(matching) == 1, f"{check}: {report.findings}"
    return matching[0]


def not_ok(report: Report) -> dict[str, Finding]:
    return {each.check: each for each in report.findings if each.level is not Level.OK}
