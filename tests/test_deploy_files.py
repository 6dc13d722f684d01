"""What deploy/ ships: systemd takes the units, and their patience is longer than the gateway's own."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.config import Settings

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_the_unit(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    # The program is not installed there, and neither is the user: what is judged is the rest.
    text = unit.read_text().replace("/opt/wx-gateway/.venv/bin/gateway", "/bin/true")
    copy = tmp_path / unit.name
    copy.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    about_ours = [line for line in done.stderr.splitlines() if unit.name in line]
    assert not about_ours, done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_supervisor_waits_longer_than_the_gateway(unit: Path) -> None:
    timeout = Settings().shutdown.timeout
    found = re.search(r"TimeoutStopSec=(\d+)", unit.read_text())
    assert found and int(found[1]) > timeout


def test_the_others_wait_too() -> None:
    timeout = Settings().shutdown.timeout
    pm2 = re.search(r"kill_timeout: (\d+)", (DEPLOY / "ecosystem.config.cjs").read_text())
    compose = re.search(r"stop_grace_period: (\d+)s", (DEPLOY / "compose.yaml").read_text())
    assert pm2 and int(pm2[1]) > 1000 * timeout
    assert compose and int(compose[1]) > timeout
