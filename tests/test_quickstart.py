"""The README's first command on a bare machine: a clean copy, nothing installed, and then it runs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.dev_gateway import dev_gateway
from tests.gateway_process import ROOT
from tests.timing import MS

INSTALL_PATIENCE = 240_000 * MS
"""From nothing to running: everything is downloaded unless pip has it in its cache."""
PROGRAMS = ("sh", "dirname", "touch", "sleep", "curl")


@pytest.fixture
def clean_copy(tmp_path: Path) -> Path:
    """What the next commit would hold, and nothing else: no environment, no caches."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    copy = tmp_path / "wx-gateway"
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():  # a file that was deleted is still listed
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


@pytest.fixture
def bare_machine(clean_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Python, a shell and almost nothing else on the PATH; the folder with them. The copy needed git."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in PROGRAMS:
        (folder / name).symlink_to(shutil.which(name) or pytest.skip(f"{name} is missing"))
    python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    (folder / "python3").symlink_to(python)
    monkeypatch.setenv("PATH", str(folder))
    for name in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"):
        monkeypatch.delenv(name, raising=False)
    return folder


def first_command() -> str:
    """The first command of the README, as a reader finds it."""
    found = re.search(r"^ {4}(scripts/\S+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert found
    return found[1]


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("bare_machine")
def test_one_command_from_a_clean_copy_to_a_running_gateway(clean_copy: Path, tmp_path: Path) -> None:
    with dev_gateway(tmp_path, [first_command()], cwd=clean_copy, patience=INSTALL_PATIENCE) as gateway:
        said = gateway.printed()
        assert (clean_copy / ".venv/bin/gateway").exists(), "it made an environment of its own"
        link = re.search(r"Open +(\S+)", said)
        line = re.search(r"Try +(curl .+)", said)
        assert link, said
        assert line, said
        assert link[1] == f"{gateway.http_url}/"
        assert gateway.ports[2] in line[1]
        page = httpx.get(link[1], trust_env=False)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        done = subprocess.run(shlex.split(line[1]), capture_output=True, text=True, timeout=10_000 * MS)
        assert '"offset":1' in done.stdout, done


def test_the_readme_shows_what_is_printed(clean_copy: Path, tmp_path: Path) -> None:
    with dev_gateway(tmp_path, GATEWAY_SHUTDOWN__DRAIN="0s") as gateway:
        printed = [line.strip() for line in gateway.printed().splitlines()]
        for page in ("README.md", "README.zh-CN.md"):
            shown = re.findall(r"^ {4}((?:Open|Try|End) .+)$", (ROOT / page).read_text(), re.MULTILINE)
            assert len(shown) == 3
            for line in shown:
                assert gateway.here(line) in printed, page


def test_a_python_that_does_not_run_is_passed_over(clean_copy: Path, bare_machine: Path) -> None:
    """pyenv puts a `python3.13` on the PATH that only says that another version is in use."""
    shim = bare_machine / "python3.13"
    shim.write_text("#!/bin/sh\necho 'pyenv: python3.13: command not found' >&2\nexit 127\n")
    (bare_machine / "python3").unlink()
    asked = clean_copy / "python3-was-asked"
    (bare_machine / "python3").write_text(f"#!/bin/sh\ntouch {asked}\nexit 1\n")
    for each in (shim, bare_machine / "python3"):
        each.chmod(0o755)
    done = subprocess.run(
        [clean_copy / "scripts/setup"], capture_output=True, text=True, env=dict(os.environ)
    )
    assert asked.exists(), done.stderr
    assert "wx-gateway needs Python 3.11 or newer" in done.stderr
