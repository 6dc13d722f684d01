"""The page that is shipped is the one that `playground/` makes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from gateway.http.page import STATIC
from tests.browser.walking import need
from tests.gateway_process import ROOT
from tests.timing import MS

PLAYGROUND = ROOT / "playground"
PATIENCE = 50_000 * MS


def run(*command: str) -> None:
    need(shutil.which("node") and (PLAYGROUND / "node_modules/esbuild").is_dir())
    done = subprocess.run(command, cwd=PLAYGROUND, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_committed_files_are_a_fresh_build(tmp_path: Path) -> None:
    """After a change in playground/ or in the phones' library: `scripts/build-page`."""
    run("node", "build.mjs", str(tmp_path))
    fresh = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_bytes() for path in STATIC.iterdir()}
    assert fresh.keys() == committed.keys()
    stale = [name for name, content in fresh.items() if committed[name] != content]
    assert not stale, f"run scripts/build-page and commit {', '.join(stale)}"


def test_the_types_of_the_page_are_right() -> None:
    run("node", "node_modules/typescript/bin/tsc", "--noEmit")
