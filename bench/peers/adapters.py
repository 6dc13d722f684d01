"""The servers of the comparison: which they are, how one is started, and which dialect it speaks."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path

from bench.install import INSTALLERS, NOTES, PLACE, SOURCES
from bench.peers.dialects import (
    CENTRIFUGE,
    CENTRIFUGE_V1,
    FLOOR,
    NCHAN,
    PLAIN,
    SOCKET_IO,
    Dialect,
    Publisher,
    by_lines,
    by_nchan,
    by_post,
    by_server_api,
)
from bench.servers import API_KEY, HMAC_SECRET, Server, floor_server, free_port, gateway_server
from gateway.version import __version__
from tests.certificates import Authority

SECRET = {"BENCH_SECRET": HMAC_SECRET}

NCHAN_CONF = """\
worker_processes 1;
worker_rlimit_nofile {files};
error_log {folder}/error.log;
pid {folder}/nginx.pid;
load_module {module};
events {{ worker_connections {files}; multi_accept on; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    nchan_shared_memory_size 256M;
    server {{
        listen 127.0.0.1:{websocket} backlog=4096;
        listen 127.0.0.1:{https} ssl;
        ssl_certificate {folder}/cert.pem;
        ssl_certificate_key {folder}/key.pem;
        client_max_body_size 1m;
        client_body_buffer_size 64k;
        nchan_channel_id bench;
        nchan_subscriber_first_message newest;
        nchan_message_buffer_length 20;
        keepalive_requests 1000000;
        location = /sub {{ nchan_subscriber websocket; }}
        location = /pub {{ nchan_publisher; }}
    }}
}}
"""

CENTRIFUGO_CONF = {
    "client": {"token": {"hmac_secret_key": HMAC_SECRET}, "allowed_origins": ["*"], "ping_interval": "3600s"},
    "channel": {"without_namespace": {"allow_subscribe_for_client": True}},
    "http_api": {"key": API_KEY},
    "log": {"level": "error"},
}


@dataclass(frozen=True)
class Adapter:
    """One server of the comparison.

    Attributes:
        title: its name in tables.
        language: what it is written in.
        start: makes the server, given a folder for its files.
        publisher: opens what tells it to publish messages of a size.
        note: what a reader has to know.
    """

    name: str
    title: str
    language: str
    dialect: Dialect
    start: Callable[[Path], Server]
    publisher: Callable[[dict[str, int], int], Awaitable[Publisher]]
    note: str = ""

    @property
    def missing(self) -> str:
        """Why it cannot be measured here; empty where it can."""
        if self.name not in INSTALLERS:
            return ""
        noted = _notes().get(self.name)
        if noted is None:
            if self.name == "websockets":  # the gateway's own environment has it, too
                return ""
            return "scripts/bench-peers has not been run"
        return noted.get("missing", "")

    @property
    def version(self) -> str:
        if self.name == "gateway":
            return __version__
        if self.name == "floor":
            return f"websockets {installed_version('websockets')}, uvloop {installed_version('uvloop')}"
        notes = _notes().get(self.name, {})
        if "missing" in notes:
            return ""
        return notes.get("version", installed_version("websockets"))


def _notes() -> dict[str, dict[str, str]]:
    return dict(json.loads(NOTES.read_text())) if NOTES.exists() else {}


# ---------------------------------------------------------------------------- how each is started
def _python(name: str, *, control: bool) -> Callable[[Path], Server]:
    def start(_: Path) -> Server:
        ports = {"websocket": free_port()} | ({"control": free_port()} if control else {})
        theirs = PLACE / "venv/bin/python"
        words = [str(theirs) if theirs.exists() else sys.executable, str(SOURCES / "programs" / f"{name}.py")]
        return Server(name, [*words, *map(str, ports.values())], ports, SECRET)

    return start


def _program(name: str, *words: str | Path, modules: bool = False) -> Callable[[Path], Server]:
    def start(_: Path) -> Server:
        port = free_port()
        environment = SECRET | ({"NODE_PATH": str(PLACE / "js/node_modules")} if modules else {})
        return Server(name, [*map(str, words), str(port)], {"websocket": port}, environment)

    return start


def _nchan(folder: Path) -> Server:
    authority = Authority(folder)
    pair = authority.issue("bench.example.com")
    shutil.copy(pair.cert, folder / "cert.pem")
    shutil.copy(pair.key, folder / "key.pem")
    ports = {"websocket": free_port(), "https": free_port()}
    module = PLACE / "debian/nchan/root/usr/lib/nginx/modules/ngx_nchan_module.so"
    (folder / "nginx.conf").write_text(NCHAN_CONF.format(folder=folder, module=module, files=15_000, **ports))
    words = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    return Server("nchan", [*words, "-g", "daemon off; master_process off;"], ports)


def _centrifugo(folder: Path) -> Server:
    port = free_port()
    listen = {"http_server": {"address": "127.0.0.1", "port": port}}
    (folder / "config.json").write_text(json.dumps(CENTRIFUGO_CONF | listen))
    words = [str(PLACE / "bin/centrifugo"), "--config", str(folder / "config.json")]
    return Server("centrifugo", words, {"websocket": port})


def _floor(_: Path) -> Server:
    return floor_server(128)


NODE = SOURCES / "programs/socketio_server.js"
BUN = (PLACE / "js/node_modules/.bin/bun", SOURCES / "programs/bun_server.js")

ADAPTERS: tuple[Adapter, ...] = (
    Adapter(
        "gateway",
        "wx-gateway",
        "Python",
        CENTRIFUGE,
        lambda folder: gateway_server(str(folder)),
        by_server_api,
    ),
    Adapter(
        "floor",
        "bare Sans-I/O server",
        "Python",
        FLOOR,
        _floor,
        by_lines,
        "no JSON, no state, no sign-in: what the gateway's design costs alone",
    ),
    Adapter(
        "centrifugo",
        "Centrifugo",
        "Go",
        Dialect(CENTRIFUGE.path, CENTRIFUGE.hello, CENTRIFUGE.ready, None),
        _centrifugo,
        by_server_api,
        "its rpc goes to a backend over HTTP: other work, not compared",
    ),
    Adapter(
        "centrifuge",
        "Centrifuge library",
        "Go",
        CENTRIFUGE_V1,
        _program("centrifuge", PLACE / "bin/centrifuge"),
        by_post,
        "Centrifugo's core as Debian packages it, of 2021",
    ),
    Adapter("nchan", "Nchan", "C", NCHAN, _nchan, by_nchan, "no sign-in, no rpc"),
    Adapter("bun", "Bun", "C++, JS", PLAIN, _program("bun", *BUN, modules=True), by_post),
    Adapter(
        "socket.io", "Socket.IO", "JS", SOCKET_IO, _program("socket.io", "node", NODE, modules=True), by_post
    ),
    Adapter("picows", "picows", "Cython", PLAIN, _python("picows_server", control=True), by_lines),
    Adapter(
        "websockets",
        "websockets, broadcast()",
        "Python",
        PLAIN,
        _python("websockets_server", control=True),
        by_lines,
    ),
    Adapter(
        "starlette",
        "Starlette, uvicorn",
        "Python",
        PLAIN,
        _python("starlette_server", control=False),
        by_post,
    ),
    Adapter(
        "channels",
        "Django Channels, daphne",
        "Python",
        PLAIN,
        _python("channels_server", control=False),
        by_post,
        "in-memory channel layer",
    ),
    Adapter(
        "python-socketio",
        "python-socketio, uvicorn",
        "Python",
        SOCKET_IO,
        _python("socketio_server", control=False),
        by_post,
    ),
)
