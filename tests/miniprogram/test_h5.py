"""The wx network API that Taro has written for browsers, in Chromium, under the library."""

from __future__ import annotations

import json
import os
from pathlib import Path

import httpx
import pytest

from tests.gateway_process import API_KEY, GatewayProcess, free_port
from tests.miniprogram.node import need_node, node
from tests.timing import MS

FOLDER = Path(__file__).parent / "h5"
CHROMIUM = Path("/usr/bin/chromium")
WALK_PATIENCE = 55_000 * MS


async def test_an_h5_page_connects_uploads_and_downloads(tmp_path: Path) -> None:
    need_node()
    need_node(FOLDER)
    if not CHROMIUM.exists():
        missing = "Chromium is missing: scripts/test installs it"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    page = free_port()
    origin = f'allowed_origins = ["http://127.0.0.1:{page}"]'
    gateway = GatewayProcess(tmp_path, more=f"[websocket]\n{origin}\n[http]\n{origin}\n")
    gateway.start()
    try:
        async with httpx.AsyncClient(base_url=gateway.http_url, trust_env=False) as http:
            answer = await http.post("/wx/login", json={"code": await gateway.code("erin")})
        addresses = [gateway.url, gateway.http_url, gateway.api_url]
        arguments = [*addresses, API_KEY, answer.json()["token"], str(page)]
        seen = json.loads(node(FOLDER / "walk.js", *arguments, patience=WALK_PATIENCE))
    finally:
        gateway.stop()
    assert seen["heard"] == [["own", 1, False], ["news", 2, False], ["news", 3, True]]
    assert (seen["size"], seen["name"], seen["progress"]) == (300_000, "海.txt", 100)
    assert seen["same"], "what was downloaded is what was uploaded"
    assert seen["linked"]
    assert seen["refused"] == 422
    unexpected = [each for each in seen["trouble"] if "404" not in each]
    assert unexpected == [], "the console of the browser stays empty"
