"""The dashboard behind a real nginx, with the very site that docs/dashboard.md shows."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.certificates import Authority
from tests.gateway_process import ROOT, GatewayProcess, free_port
from tests.nginx_process import NginxProcess

PASSWORD = "a password that only this test knows"
DOMAIN = "ops.example.com"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A browser that finds the documented site at its name."""
    folder = Path(tmp_path_factory.mktemp("dashboard"))
    for name in ("gateway", "tls"):
        (folder / name).mkdir()
    authority = Authority(folder / "tls")
    pair, port = authority.issue(DOMAIN), free_port()
    gateway = GatewayProcess(
        folder / "gateway", more=f'[admin]\npassword = "{PASSWORD}"\nhosts = ["{DOMAIN}"]'
    )
    gateway.start()
    text = documented()
    for old, new in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("/etc/ssl/ops.pem", str(pair.cert)),
        ("/etc/ssl/ops.key", str(pair.key)),
        ("allow 10.0.0.0/8;", "allow 127.0.0.0/8;"),
        ("127.0.0.1:9000", f"127.0.0.1:{gateway.internal_port}"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    believed = ssl.create_default_context(cafile=str(authority.root))
    extensions = {"sni_hostname": DOMAIN}
    with (
        NginxProcess(folder / "nginx", [text], [port]),
        httpx.Client(
            base_url=f"https://127.0.0.1:{port}",
            verify=believed,
            headers={"Host": f"{DOMAIN}:{port}"},
            event_hooks={"request": [lambda request: request.extensions.update(extensions)]},
            trust_env=False,
        ) as client,
    ):
        yield client
    gateway.stop()


def documented() -> str:
    """The site of the page."""
    found = re.findall(r"^```nginx\n(.*?)^```", (ROOT / "docs/dashboard.md").read_text(), re.DOTALL | re.M)
    assert len(found) == 1
    return str(found[0])


def test_the_documented_site_lets_the_page_in_and_nothing_else(site: httpx.Client) -> None:
    assert site.get("/dashboard/").status_code == 200
    assert site.get("/dashboard").headers["location"].endswith("dashboard/")
    for path in ("/api/info", "/metrics", "/readyz", "/"):
        assert site.post(path).status_code in (404, 405), path
    assert "nginx" in site.get("/metrics").text, "it is nginx that says no"


def test_through_it_one_logs_in_and_asks(site: httpx.Client) -> None:
    origin = {"Origin": f"https://{site.headers['host']}"}
    assert site.post("/dashboard/login", json={"password": "wrong"}, headers=origin).status_code == 403
    answer = site.post("/dashboard/login", json={"password": PASSWORD}, headers=origin)
    assert answer.status_code == 204
    assert answer.headers["set-cookie"].endswith("; Secure")
    cookie = {"Cookie": answer.headers["set-cookie"].partition(";")[0], **origin}
    stats = site.post("/dashboard/api/stats", json={}, headers=cookie)
    assert len(stats.json()["result"]["nodes"]) == 1
    with site.stream("GET", "/dashboard/api/trace?user=alice&seconds=1", headers=cookie) as trace:
        assert next(trace.iter_lines()).startswith('{"at":'), "line by line, not when it is over"
    foreign = cookie | {"Origin": "https://evil.example"}
    assert site.post("/dashboard/api/stats", json={}, headers=foreign).status_code == 403
