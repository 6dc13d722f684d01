"""A real nginx in a folder of its own, on free ports, ended by its process id."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.config import Settings
from gateway.nginx.render import render_main, render_site
from gateway.nginx.site import Node, Site
from tests.certificates import Pair
from tests.gateway_process import GatewayProcess, free_port
from tests.timing import MS

READY = 10_000 * MS
SHUTDOWN_TIMEOUT = round(200 * MS * 1000)
"""Milliseconds that old workers keep their sockets after a reload."""


def program() -> str:
    """Where nginx is; without it the test is skipped on a laptop, and fails in CI."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        missing = "nginx is missing: scripts/test installs it"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


def site_for(gateway: GatewayProcess, folder: Path, pair: Pair, domain: str, **more: object) -> Site:
    """The site in front of `gateway`, on a free port, with its folders inside of `folder`."""
    values: dict[str, object] = {
        "domain": domain,
        "cert": str(pair.cert),
        "key": str(pair.key),
        "listen": (f"127.0.0.1:{free_port()}",),
        "http_listen": (f"127.0.0.1:{free_port()}",),
        "nodes": (Node("127.0.0.1", gateway.websocket_port, gateway.http_port),),
        "logs": str(folder),
        "www": str(folder / "www"),
    }
    return Site(**(values | more))  # type: ignore[arg-type]


class NginxProcess:
    """nginx with the sites given, under the main file that `gateway nginx --part main` writes.

    Args:
        folder: where its configuration, its logs and its temporary files go.
        sites: whole texts of conf.d files.
        ports: which answer when it is up.
    """

    def __init__(
        self, folder: Path, sites: Sequence[str], ports: Sequence[int], settings: Settings | None = None
    ) -> None:
        self._folder = folder
        self._ports = ports
        self._program = program()
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "conf.d").mkdir(parents=True)
        for number, text in enumerate(sites):
            (folder / "conf.d" / f"{number}.conf").write_text(text)
        (folder / "nginx.conf").write_text(self._main(settings or Settings()))

    def _main(self, settings: Settings) -> str:
        folder = self._folder
        text = render_main(Site("test.example.com", connections=4000), settings)
        temporary = "".join(
            f"    {kind}_temp_path {folder}/tmp-{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        for old, new in (
            ("user www-data;", "user root;" if os.getuid() == 0 else ""),
            ("/run/nginx.pid", f"{folder}/nginx.pid"),
            ("/var/log/nginx", str(folder)),
            ("/etc/nginx/conf.d", f"{folder}/conf.d"),
            ("worker_processes auto;", "worker_processes 2;"),
            ("worker_shutdown_timeout 10m;", f"worker_shutdown_timeout {SHUTDOWN_TIMEOUT}ms;"),
            ("http {\n", f"http {{\n{temporary}"),
        ):
            assert old in text
            text = text.replace(old, new)
        return text

    def _command(self, *more: str) -> list[str]:
        return [self._program, "-p", str(self._folder), "-c", str(self._folder / "nginx.conf"), *more]

    def check(self) -> str:
        """`nginx -t`; what it says."""
        done = subprocess.run(self._command("-t"), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def start(self) -> NginxProcess:
        self.check()
        self._process = subprocess.Popen(
            self._command("-g", "daemon off;"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + READY
        while not all(_listens(port) for port in self._ports):
            assert self._process.poll() is None, self.log("error.log")
            assert time.monotonic() < deadline, self.log("error.log")
            time.sleep(5 * MS)
        return self

    def reload(self, *, wait: bool = True) -> None:
        """`nginx -s reload`; `wait` until the old workers have gone."""
        before = self._workers()
        subprocess.run(self._command("-s", "reload"), check=True, capture_output=True)
        deadline = time.monotonic() + READY
        while wait and before & self._workers():
            assert time.monotonic() < deadline, "the old workers stay"
            time.sleep(5 * MS)

    def _workers(self) -> set[str]:
        assert self._process is not None
        pid = self._process.pid
        return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(READY)
            self._process = None

    def log(self, name: str) -> str:
        path = self._folder / name
        return path.read_text(errors="replace") if path.exists() else ""

    def __enter__(self) -> NginxProcess:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 100 * MS):
        return True
    return False


def render(site: Site, settings: Settings, *changes: tuple[str, str] | Callable[[str], str]) -> str:
    """The site's text, with changes that make it a bad one."""
    text = render_site(site, settings)
    for change in changes:
        if callable(change):
            text = change(text)
        else:
            assert change[0] in text, change[0]
            text = text.replace(*change)
    return text


def port_of(addresses: Sequence[str]) -> int:
    """Of the first one."""
    return int(addresses[0].rpartition(":")[2])
