"""Runs a walk through the page in Chromium, and keeps its screenshots."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from tests.gateway_process import ROOT
from tests.timing import MS

FOLDER = Path(__file__).parent
CHROMIUM = Path("/usr/bin/chromium")
SCREENSHOTS = ROOT / "test-output" / "browser"
WALK_PATIENCE = 58_000 * MS


def walk(
    script: str, url: str, language: str, folder: Path, log: Callable[[], str], *more: str
) -> dict[str, object]:
    """What the script saw. `log`: of the gateway, for the report of a failure."""
    need(CHROMIUM.exists() and shutil.which("node") and (FOLDER / "node_modules/axe-core").is_dir())
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    picture = folder / "picture.png"
    draw_picture(picture)
    unit = str(MS * 1000)
    command = ["node", str(FOLDER / script), url, language, str(SCREENSHOTS), unit, str(picture), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WALK_PATIENCE)
    assert done.returncode == 0, f"{done.stderr}\n{log()}"
    seen = json.loads(done.stdout)
    assert isinstance(seen, dict)
    return seen


def need(there: object) -> None:
    """Skip where the tools are missing; on CI that is a failure."""
    if not there:
        missing = "Chromium, or Node with the packages of the tests, is missing: scripts/test installs them"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)


def draw_picture(path: Path) -> None:
    """A landscape, as from a phone's camera."""
    image = Image.new("RGB", (480, 300))
    draw = ImageDraw.Draw(image)
    for y in range(300):
        draw.line([(0, y), (480, y)], fill=(30 + y // 3, 120 + y // 4, 180 - y // 4))
    draw.ellipse((330, 40, 400, 110), fill=(255, 220, 120))
    draw.polygon([(0, 300), (160, 140), (300, 300)], fill=(30, 70, 60))
    draw.polygon([(180, 300), (340, 170), (480, 300)], fill=(40, 90, 75))
    image.save(path)
