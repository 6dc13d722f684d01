"""The doctor against our own front, where all is well, and against broken ones: each is named."""

from __future__ import annotations

import json
import re
import socket
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.doctor.report import Level
from gateway.nginx.site import CIPHERS
from tests.doctor.broken import BROKEN, NO_TOKEN, Broken, leak
from tests.doctor.conftest import DOMAIN, PING, Patient, found, not_ok
from tests.doctor.ping_dropper import ping_dropper
from tests.gateway_process import free_port
from tests.timing import MS

IDLE = 3 * PING


# ---------------------------------------------------------------------------- ours
@pytest.fixture(scope="module")
def healthy(patient: Patient) -> Any:
    nginx, port = patient.front()
    with nginx:
        yield port


def test_our_own_front_is_well(patient: Patient, healthy: int) -> None:
    report = patient.examine(healthy, idle=IDLE, wechat=True, token=patient.session_token())
    assert not not_ok(report), not_ok(report)
    assert report.exit_code == 0
    assert re.search(r"[2-9] pings", found(report, "idle connection").found)
    assert len(report.findings) >= 25


def test_the_command(patient: Patient, healthy: int) -> None:
    arguments = [
        "doctor",
        "--domain",
        DOMAIN,
        "--config",
        str(patient.config),
        "--ca",
        str(patient.authority.root),
    ]
    arguments += ["--resolve", f"127.0.0.1:{healthy}", "--token", patient.session_token()]
    table = CliRunner().invoke(app, arguments)
    assert table.exit_code == 0, table.output
    for text in ("✓", "wss://api.example.com", "uploadFile", "downloadFile", "备案", "mp.weixin.qq.com"):
        assert text in table.output
    machine = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).output)
    assert machine["exit_code"] == 0
    assert machine["domains"]["socket 合法域名"] == f"wss://{DOMAIN}"
    assert {each["level"] for each in machine["findings"]} == {"ok"}


def test_without_a_user_it_says_what_it_did_not_look_at(patient: Patient, healthy: int) -> None:
    report = patient.examine(healthy)
    assert set(not_ok(report)) == {"upload and download"}
    assert "--token" in not_ok(report)["upload and download"].fix
    assert report.exit_code == 1


# ---------------------------------------------------------------------------- broken ones
@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_broken(patient: Patient, case: Broken) -> None:
    pair = case.pair(patient.authority) if case.pair else None
    nginx, port = patient.front(*case.changes, pair=pair)
    with nginx:
        report = patient.examine(port, **case.options)
    finding = found(report, case.check)
    assert finding.level is case.level, finding
    assert case.says in finding.found
    assert case.fix in finding.fix
    assert report.exit_code == (2 if case.level is Level.FAIL or _fails(case, report) else 1)
    others = set(not_ok(report)) - {case.check} - NO_TOKEN
    assert others <= case.also, "something else was blamed, too"


def _fails(case: Broken, report: Any) -> bool:
    return any(not_ok(report)[name].level is Level.FAIL for name in case.also if name in not_ok(report))


def test_a_leaked_internal_listener(patient: Patient) -> None:
    nginx, port = patient.front(leak(patient.gateway.internal_port))
    with nginx:
        finding = found(patient.examine(port), "internal listener")
    assert finding.level is Level.FAIL
    for path in ("/metrics", "/healthz", "/readyz", "/api/broadcast_all", "/dashboard/config"):
        assert path in finding.found
    assert "gateway nginx" in finding.fix


def test_a_leaked_sandbox(patient: Patient) -> None:
    nginx, port = patient.front(leak(patient.gateway.http_port))
    with nginx:
        finding = found(patient.examine(port), "sandbox")
    assert finding.level is Level.FAIL
    assert "wechat.sandbox = false" in finding.fix


def test_a_proxy_that_drops_pings(patient: Patient) -> None:
    with ping_dropper(patient.gateway.websocket_port) as port:
        nginx, port = patient.front(backend=port)
        with nginx:
            finding = found(patient.examine(port, idle=4 * PING), "idle connection")
    assert finding.level is Level.FAIL
    assert "pings do not arrive" in finding.found
    assert "holds messages back" in finding.fix


def test_a_gateway_that_is_down(patient: Patient) -> None:
    nginx, port = patient.front(backend=free_port())
    with nginx:
        report = patient.examine(port)
    finding = found(report, "plain GET on the socket")
    assert finding.level is Level.FAIL
    assert "start the gateway" in finding.fix
    assert found(report, "upgrade to a socket").level is Level.FAIL


def test_nothing_listens(patient: Patient) -> None:
    report = patient.examine(free_port())
    assert "nothing answers" in found(report, "port 443").found
    assert "security group" in found(report, "port 443").fix
    assert len(report.findings) == 3


def test_something_that_hangs(patient: Patient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        report = patient.examine(silent.getsockname()[1], timeout=100 * MS)
    assert found(report, "TLS").level is Level.FAIL


def test_sha1(patient: Patient) -> None:
    pair = patient.authority.issue_with_sha1(DOMAIN)
    nginx, port = patient.front((":".join(CIPHERS), "ALL:@SECLEVEL=0"), pair=pair)
    with nginx:
        finding = found(patient.examine(port), "signatures and keys")
    assert finding.level is Level.FAIL
    assert "SHA1" in finding.found
