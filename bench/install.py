"""Installs the peers into bench/.peers, apart from the gateway's own environment, and notes what came of it.

    bench/.peers/venv           websockets, python-socketio, Starlette, Channels, picows   (requirements.txt)
    bench/.peers/js             Bun, Socket.IO                                             (package-lock.json)
    bench/.peers/debian         Nchan, and the Go library centrifuge with what it needs    (Debian's packages)
    bench/.peers/bin            centrifugo, centrifuge                                     (the Go toolchain)
    bench/.peers/peers.json     per peer: the version, or why it is missing

Nothing is installed into the system: Debian's packages are unpacked, not configured. A peer that cannot be
installed is named in every table that it should be in, with the reason.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLACE = HERE / ".peers"
SOURCES = HERE / "peers"
NOTES = PLACE / "peers.json"

CENTRIFUGO = "github.com/centrifugal/centrifugo/v6@v6.5.0"
GO_PACKAGES = (
    "golang-github-centrifugal-centrifuge-dev",
    "golang-github-centrifugal-protocol-dev",
    "golang-github-golang-jwt-jwt-dev",
    "golang-github-mna-redisc-dev",
    "golang-github-fzambia-eagle-dev",
    "golang-github-igm-sockjs-go-dev",
)
"""The library and what its package forgets to depend on."""


class Missing(Exception):
    """Why a peer cannot be had here."""


def run(*words: str | Path, cwd: Path | None = None, **environment: str) -> str:
    """The output of a command; its last line of complaint where it fails."""
    if shutil.which(str(words[0])) is None:
        raise Missing(f"{words[0]} is not installed")
    done = subprocess.run(  # noqa: S603
        [str(word) for word in words], cwd=cwd, env=os.environ | environment, capture_output=True, text=True
    )
    if done.returncode:
        said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise Missing(f"{Path(words[0]).name} {words[1]}: {said[-1] if said else done.returncode}")
    return done.stdout


# ---------------------------------------------------------------------------- places to install from
def python_environment() -> Path:
    python = PLACE / "venv/bin/python"
    if not python.exists():
        run(sys.executable, "-m", "venv", PLACE / "venv")
    wanted, stamp = (SOURCES / "requirements.txt").read_text(), PLACE / "venv/installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        quiet = ("--quiet", "--disable-pip-version-check")
        run(
            python, "-m", "pip", "install", *quiet, "--no-deps", "--requirement", SOURCES / "requirements.txt"
        )
        stamp.write_text(wanted)
    return python


def node_modules() -> Path:
    place = PLACE / "js"
    wanted, stamp = (SOURCES / "js/package-lock.json").read_text(), place / "installed.json"
    if not stamp.exists() or stamp.read_text() != wanted:
        place.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCES / "js" / name, place / name)
        run("npm", "ci", "--silent", "--no-audit", "--no-fund", cwd=place)
        stamp.write_text(wanted)
    return place / "node_modules"


def debian(name: str, *packages: str) -> tuple[Path, str]:
    """Packages with all they need, unpacked into a folder; where, and the version of the first."""
    place = PLACE / "debian" / name
    stamp = place / "version.txt"
    if not stamp.exists():
        planned = run("apt-get", "install", "--simulate", "--no-install-recommends", *packages)
        names = {line.split()[1] for line in planned.splitlines() if line.startswith("Inst ")}
        files = place / "packages"
        files.mkdir(parents=True, exist_ok=True)
        run("apt-get", "download", "--quiet", *sorted({*names, *packages}), cwd=files)
        for file in files.glob("*.deb"):
            run("dpkg", "--extract", file, place / "root")
        version = run("dpkg-deb", "--field", next(files.glob(f"{packages[0]}_*.deb")), "Version")
        shutil.rmtree(files)
        stamp.write_text(version.strip())
    return place / "root", stamp.read_text()


def distribution(name: str) -> Callable[[], str]:
    """The version of a Python package, in the peers' environment."""

    def version() -> str:
        program = f"from importlib.metadata import version; print(version({name!r}))"
        return run(python_environment(), "-c", program).strip()

    return version


def module(name: str) -> Callable[[], str]:
    def version() -> str:
        return str(json.loads((node_modules() / name / "package.json").read_text())["version"])

    return version


# ---------------------------------------------------------------------------- peers of several packages
def starlette() -> str:
    return f"{distribution('starlette')()}, uvicorn {distribution('uvicorn')()}"


def channels() -> str:
    return (
        f"{distribution('channels')()}, daphne {distribution('daphne')()}, Django {distribution('Django')()}"
    )


def python_socketio() -> str:
    return f"{distribution('python-socketio')()}, uvicorn {distribution('uvicorn')()}"


def socket_io() -> str:
    return f"{module('socket.io')()}, Node {run('node', '--version').strip().lstrip('v')}"


def bun() -> str:
    node_modules()
    return run(PLACE / "js/node_modules/.bin/bun", "--version").strip()


def nchan() -> str:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise Missing("nginx is not installed")
    _, version = debian("nchan", "libnginx-mod-nchan")
    said = subprocess.run([program, "-v"], capture_output=True, text=True).stderr  # noqa: S603
    return f"{version.partition(':')[2]}, nginx {said.strip().rpartition('/')[2]}"


def centrifuge() -> str:
    root, version = debian("go", *GO_PACKAGES)
    (PLACE / "bin").mkdir(exist_ok=True)
    paths = f"{root}/usr/share/gocode:/usr/share/gocode"
    program = SOURCES / "programs/centrifuge_server.go"
    words = ("go", "build", "-o", PLACE / "bin/centrifuge", program)
    run(*words, GO111MODULE="off", GOFLAGS="", GOPATH=paths)
    return f"{version.partition('+')[0]} (2021), {go_version()}"


def centrifugo() -> str:
    program = PLACE / "bin/centrifugo"
    if not program.exists():
        run("go", "install", CENTRIFUGO, GOBIN=str(PLACE / "bin"), GOFLAGS="")
    return f"{CENTRIFUGO.rpartition('@v')[2]}, {go_version()}"


def go_version() -> str:
    return run("go", "version").split()[2].replace("go", "Go ")


INSTALLERS: dict[str, Callable[[], str]] = {
    "centrifugo": centrifugo,
    "centrifuge": centrifuge,
    "nchan": nchan,
    "bun": bun,
    "socket.io": socket_io,
    "picows": distribution("picows"),
    "websockets": distribution("websockets"),
    "starlette": starlette,
    "channels": channels,
    "python-socketio": python_socketio,
}


def main() -> None:
    PLACE.mkdir(exist_ok=True)
    notes: dict[str, dict[str, str]] = {}
    for name, install in INSTALLERS.items():
        try:
            notes[name] = {"version": install()}
        except Missing as reason:
            notes[name] = {"missing": str(reason)}
        kind, word = next(iter(notes[name].items()))
        sys.stdout.write(f"{name:16} {'not installed: ' if kind == 'missing' else ''}{word}\n")
    NOTES.write_text(json.dumps(notes, indent=1) + "\n")


if __name__ == "__main__":
    main()
