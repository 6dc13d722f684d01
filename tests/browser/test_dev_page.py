"""The page of `gateway dev` in a real browser, used as a person uses it, in both languages."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dev_gateway import DevGateway, dev_gateway
from tests.gateway_process import ROOT
from tests.timing import MS

FOLDER = Path(__file__).parent
CHROMIUM = Path("/usr/bin/chromium")
SCREENSHOTS = ROOT / "test-output" / "browser"
WALK_PATIENCE = 55_000 * MS


@pytest.fixture
def running(tmp_path: Path) -> Iterator[DevGateway]:
    with dev_gateway(tmp_path, GATEWAY_SHUTDOWN__DRAIN="0s") as gateway:
        yield gateway


def walk(running: DevGateway, language: str) -> dict[str, object]:
    """What walk.js saw."""
    if not (
        CHROMIUM.exists() and shutil.which("node") and (FOLDER / "node_modules/playwright-core").is_dir()
    ):
        missing = (
            "Chromium, or Node with the packages of tests/browser, is missing: scripts/test installs them"
        )
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    unit = str(MS * 1000)
    command = ["node", str(FOLDER / "walk.js"), f"{running.http_url}/", language, str(SCREENSHOTS), unit]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WALK_PATIENCE)
    assert done.returncode == 0, f"{done.stderr}\n{running.printed()}"
    seen = json.loads(done.stdout)
    assert isinstance(seen, dict)
    return seen


@pytest.mark.parametrize("language", ["en", "zh"])
def test_two_phones_sign_in_lose_the_socket_and_miss_nothing(running: DevGateway, language: str) -> None:
    seen = walk(running, language)
    assert seen["trouble"] == [], "the browser's console stays empty"
    command = shlex.split(str(seen["command"]))
    done = subprocess.run(command, capture_output=True, text=True, timeout=10_000 * MS)
    assert '"offset"' in done.stdout, "the line to copy works in a shell"
