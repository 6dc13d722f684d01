"""The page of `gateway dev` in a real browser, used as a person uses it, in both languages."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.walking import walk
from tests.dev_gateway import DevGateway, dev_gateway
from tests.timing import MS


@pytest.fixture
def running(tmp_path: Path) -> Iterator[DevGateway]:
    with dev_gateway(tmp_path, GATEWAY_SHUTDOWN__DRAIN="0s") as gateway:
        yield gateway


@pytest.mark.parametrize("language", ["en", "zh"])
def test_phones_live_as_phones_do_and_miss_nothing(
    running: DevGateway, language: str, tmp_path: Path
) -> None:
    seen = walk("walk.js", f"{running.http_url}/", language, tmp_path, running.printed)
    assert seen["trouble"] == [], "the browser's console stays empty"
    command = shlex.split(str(seen["command"]))
    done = subprocess.run(command, capture_output=True, text=True, timeout=10_000 * MS)
    assert '"offset"' in done.stdout, "the line to copy works in a shell"
