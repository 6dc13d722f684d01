"""The demo mini-program: WeChat's own compilers take it, and two phones with it show the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dev_gateway import DevGateway, dev_gateway
from tests.gateway_process import ROOT
from tests.timing import MS

FOLDER = Path(__file__).parent
DEMO = ROOT / "miniprogram" / "demo"
PICTURES = ROOT / "test-output" / "demo"
NEEDED = (FOLDER / "node_modules/miniprogram-compiler", ROOT / "miniprogram/client/node_modules/ws")


def need(*paths: Path) -> None:
    if shutil.which("node") and all(path.exists() for path in paths):
        return
    missing = "Node, Chromium or the packages of tests/demo are missing: scripts/test installs them"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[DevGateway]:
    with dev_gateway(tmp_path) as gateway:
        yield gateway


def test_what_one_phone_does_the_other_shows(running: DevGateway) -> None:
    need(*NEEDED, Path("/usr/bin/chromium"))
    PICTURES.mkdir(parents=True, exist_ok=True)
    addresses = [f"ws://127.0.0.1:{running.ports[0]}/connection/websocket", running.http_url]
    done = subprocess.run(
        ["node", str(FOLDER / "walk.mjs"), *addresses, str(PICTURES), str(MS * 1000)],
        capture_output=True,
        text=True,
        timeout=50_000 * MS,
    )
    assert done.returncode == 0, f"{done.stderr}\n{running.printed()}"
    seen = json.loads(done.stdout)
    assert seen["missing"] == [], "every handler that a template names is there"
    assert seen["missedWhileAway"], "the phone was away"
    assert seen["orders"] == ["new", "making"]
    assert seen["picture"] == "ffd8ff", "a smaller one, as JPEG"
    assert seen["drawn"], "the chart has a line"
    assert seen["toasts"] == []
    assert {path.stem for path in PICTURES.glob("*.png")} >= {"orders", "chat", "device"}


def test_a_template_that_does_not_close_fails_the_compiler(tmp_path: Path) -> None:
    """The compiler of the test above is strict."""
    need(NEEDED[0])
    broken = shutil.copytree(DEMO, tmp_path / "demo")
    page = broken / "pages/orders/orders.wxml"
    page.write_text(page.read_text("utf-8").replace("</button>", ""), "utf-8")
    script = f"require({json.dumps(str(FOLDER / 'project.js'))}).compile({json.dumps(str(broken))})"
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, timeout=20_000 * MS)
    assert done.returncode != 0
    assert "expect end-tag" in done.stderr


def test_the_project_is_whole() -> None:
    app = json.loads((DEMO / "app.json").read_text("utf-8"))
    for page in app["pages"]:
        for kind in ("js", "json", "wxml", "wxss"):
            assert (DEMO / f"{page}.{kind}").is_file(), f"{page}.{kind}"
    assert [tab["pagePath"] for tab in app["tabBar"]["list"]] == app["pages"]
    project = json.loads((DEMO / "project.config.json").read_text("utf-8"))
    assert project["appid"] == "touristappid", "opens without an AppID"
    assert project["setting"]["urlCheck"] is False, "the developer tools let 127.0.0.1 through"


def test_the_demo_has_the_library_as_it_is_built() -> None:
    built = (ROOT / "miniprogram/client/wx-gateway.js").read_bytes()
    assert (DEMO / "lib/wx-gateway.js").read_bytes() == built, "copy wx-gateway.js into the demo"
