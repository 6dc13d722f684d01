"""Node with the packages of the library, for tests that run in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.gateway_process import ROOT

CLIENT = ROOT / "miniprogram/client"


def need_node(folder: Path = CLIENT) -> None:
    """Skip where Node or the packages of `folder` are missing; fail in CI."""
    if shutil.which("node") and (folder / "node_modules/.package-lock.json").is_file():
        return
    missing = f"Node with the packages of {folder.relative_to(ROOT)} is missing: scripts/test installs them"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


def node(
    *arguments: str | Path, patience: float, cwd: Path = CLIENT, variables: Mapping[str, str] | None = None
) -> str:
    """What it printed; it must end with 0."""
    done = subprocess.run(
        ["node", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=patience,
        env={**os.environ, **(variables or {})},
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
