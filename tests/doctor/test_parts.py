"""Checks that need no server of ours: names, reading certificates, WeChat's answers, the report."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from rich.console import Console
from typer.testing import CliRunner

from gateway.cli import app
from gateway.config import load
from gateway.doctor import certificates, names, wechat
from gateway.doctor.checks import examine
from gateway.doctor.report import Finding, Level, Report, fail, ok, warn
from gateway.doctor.target import CannotGoOn, Options, Target
from tests.certificates import Authority
from tests.timing import MS


def of(domain: str) -> Target:
    return Target(Options(domain=domain))


# ---------------------------------------------------------------------------- names
@pytest.mark.parametrize("domain", ["api.example.com", "a-b.example.cn", "x.xn--fiqs8s"])
def test_good_names(domain: str) -> None:
    assert [each.level for each in names.is_a_name(of(domain))] == [Level.OK]


@pytest.mark.parametrize(
    ("domain", "fix"),
    [
        ("1.2.3.4", "get a domain"),
        ("::1", "get a domain"),
        ("localhost", "get a domain"),
        ("nas.local", "get a domain"),
        ("api.example.com:8443", "serve on 443"),
        ("https://api.example.com", "without https://"),
        ("example", "without https://"),
    ],
)
def test_bad_names_end_the_examination(domain: str, fix: str) -> None:
    report = examine(Options(domain=domain))
    assert len(report.findings) == 1
    assert fix in report.findings[0].fix
    assert report.exit_code == 2
    assert not report.domains, "nothing to paste"


def test_a_name_that_does_not_resolve() -> None:
    findings: list[Finding] = []
    with pytest.raises(CannotGoOn):
        findings.extend(names.resolves(of("nowhere.invalid")))
    assert "A record" in findings[0].fix


@pytest.mark.parametrize(
    ("pattern", "domain", "match"),
    [
        ("api.example.com", "api.example.com", True),
        ("API.example.com", "api.example.com", True),
        ("*.example.com", "api.example.com", True),
        ("*.example.com", "a.b.example.com", False),
        ("*.example.com", "example.com", False),
        ("example.com", "api.example.com", False),
    ],
)
def test_names_of_certificates(pattern: str, domain: str, match: bool) -> None:
    assert certificates.matches(pattern, domain) is match


def test_short_keys(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    for bits, short in ((1024, "RSA 1024"), (2048, ""), (0, "")):
        pair = authority.issue("a.example.com", rsa_bits=bits)
        leaf = x509.load_pem_x509_certificates(pair.cert.read_bytes())[0]
        assert certificates._short_key(leaf) == short


# ---------------------------------------------------------------------------- WeChat
class _WeChat(BaseHTTPRequestHandler):
    status, answer = 200, b""
    asked: dict[str, Any]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).asked = {"path": self.path, **json.loads(body)}
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def api() -> Iterator[tuple[type[_WeChat], str]]:
    """A WeChat whose answer the test chooses."""

    class Handler(_WeChat):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 5 * MS})
        thread.start()
        yield Handler, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def ask(base: str) -> Finding:
    apps = [{"appid": "wx0123456789abcdef", "secret": "s3cret", "api_base": base}]
    target = Target(Options(domain="api.example.com", settings=load(None, {}, {"wechat": {"apps": apps}})))
    return next(wechat.apps(target))


@pytest.mark.parametrize(
    ("status", "answer", "level", "word"),
    [
        (200, {"access_token": "secret-token", "expires_in": 7200}, Level.OK, "accepted"),
        (200, {"errcode": 40013, "errmsg": "invalid appid rid: 1"}, Level.FAIL, "AppID"),
        (200, {"errcode": 40125, "errmsg": "invalid appsecret"}, Level.FAIL, "AppSecret"),
        (
            200,
            {"errcode": 40164, "errmsg": "invalid ip 203.0.113.9 ipv6 ::ffff:"},
            Level.FAIL,
            "add 203.0.113.9",
        ),
        (200, {"errcode": -1, "errmsg": "system error"}, Level.WARN, "in a minute"),
        (200, {"errcode": 45009, "errmsg": "reach max"}, Level.WARN, "midnight"),
        (200, {"errcode": 99999, "errmsg": "new"}, Level.FAIL, "99999"),
        (404, {"message": "nothing here"}, Level.WARN, "api_base"),
        (502, None, Level.FAIL, "proxy"),
    ],
)
def test_what_wechat_says(
    api: tuple[type[_WeChat], str], status: int, answer: dict[str, Any] | None, level: Level, word: str
) -> None:
    handler, base = api
    handler.status, handler.answer = status, json.dumps(answer).encode() if answer else b"<html>"
    finding = ask(base)
    assert finding.level is level
    assert word in finding.found + finding.fix
    assert handler.asked["path"] == "/cgi-bin/stable_token"
    assert handler.asked["force_refresh"] is False, "a forced one would end the token of the running gateway"
    assert "secret-token" not in repr(finding) and "s3cret" not in repr(finding)


def test_wechat_is_not_reachable() -> None:
    assert "firewall" in ask("http://127.0.0.1:9").fix
    assert next(wechat.apps(of("api.example.com"))).level is Level.WARN


# ---------------------------------------------------------------------------- report
@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([], 0),
        ([ok("a", "b")], 0),
        ([ok("a", "b"), warn("c", "d", "e")], 1),
        ([fail("a", "b", "c"), warn("c", "d", "e")], 2),
    ],
)
def test_exit_codes(findings: list[Finding], code: int) -> None:
    assert Report("d", findings, {}, ()).exit_code == code


def test_what_a_server_says_is_no_markup() -> None:
    console = Console(record=True, width=100, file=io.StringIO())
    Report("d", [fail("[bold]x", "[/] found", "do [this]")], {}, ("[red]a",)).show(console)
    text = console.export_text()
    for each in ("[bold]x", "[/] found", "do [this]", "[red]a", "✗"):
        assert each in text


def test_a_wrong_address_is_refused() -> None:
    done = CliRunner().invoke(app, ["doctor", "--domain", "api.example.com", "--resolve", "nowhere"])
    assert done.exit_code == 2
    assert "--resolve" in done.output
