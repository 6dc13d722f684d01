"""Files: uploads beside a plain Starlette app, downloads beside nginx alone, and pushes beside uploads.

Uploads are hashed, sniffed, made durable (fsync) and renamed into place here; the Starlette app only takes
them into a temporary file. Downloads go through nginx, which asks the gateway and then sends the file itself.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import traffic
from bench.driver import Crowd
from bench.measures import READY, Plan, caller_for, running, settle
from bench.report import Row
from bench.servers import DRIVER_CORE, Server, bench_token, free_port, gateway_server
from bench.transfer import download, upload

MEGABYTES = 50
DOWNLOAD = 200
"""Megabytes: the most that wx.downloadFile takes."""
LOADERS = 4
MILLI = 1e3

FILES_TOML = """
[files]
directory = "{folder}/files"
max_upload_size = "1GB"
quota_bytes_per_day = 0
quota_files_per_day = 0
{more}
"""

NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log error;
{user}
events {{ worker_connections 256; }}
http {{
    access_log off;
    sendfile on;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream gateway {{ server 127.0.0.1:{http}; keepalive 8; }}
    server {{
        listen 127.0.0.1:{port};
        location /files/ {{
            proxy_pass http://gateway;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
        location /protected/ {{ internal; alias {folder}/files/files/; }}
        location /direct/ {{ alias {folder}/files/files/; }}
    }}
}}
"""


def with_files(folder: str, more: str = "") -> Server:
    """The measured gateway, with files in `folder`."""
    server = gateway_server(folder)
    config = Path(folder) / "gateway.toml"
    text = config.read_text()
    config.write_text(text + FILES_TOML.format(folder=folder, more=more))
    return server


def starlette_server(folder: str = "") -> Server:
    ports = {"http": free_port()}
    arguments = [sys.executable, "-m", "bench.starlette_upload", str(ports["http"]), folder]
    return Server("starlette", arguments, ports)


def nginx_server(folder: str, http: int) -> Server:
    port = free_port()
    config = Path(folder) / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, http=http, port=port, user="user root;"))
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    return Server("nginx", [program, "-c", str(config), "-e", f"{folder}/nginx.log"], {"http": port})


async def files(plan: Plan) -> list[Row]:
    """All of it."""
    return [*await uploads(plan), await downloads(plan), *await pushes(plan)]


# ---------------------------------------------------------------------------- throughput
async def timed(work: Awaitable[object]) -> float:
    """Milliseconds that `work` takes."""
    began = time.perf_counter()
    await work
    return (time.perf_counter() - began) * MILLI


async def uploads(plan: Plan) -> list[Row]:
    """One large upload after the other."""
    kept = Row(
        f"upload of {MEGABYTES} MB",
        "ms",
        times=1.25,
        note="ours hashed, sniffed, fsynced; reference: plain Starlette that keeps the file; 1.25× is 0.8 of "
        "its throughput",
    )
    spooled = Row("  reference: Starlette that only takes it into a temporary file", "ms")
    with TemporaryDirectory() as folder, TemporaryDirectory() as other:
        ours, reference, temporary = with_files(folder), starlette_server(other), starlette_server()
        columns = ((ours, kept.ours), (reference, kept.reference), (temporary, spooled.reference))
        async with running(ours, reference, temporary):
            for turn in range(plan.rounds * 2 + 1):
                for server, column in columns:
                    took = await timed(upload(server.ports["http"], MEGABYTES, "bench"))
                    if turn:  # the first warms up
                        column.append(took)
    spooled.ours = kept.ours
    return [kept, spooled]


async def downloads(plan: Plan) -> Row:
    """One large download after the other, through nginx."""
    row = Row(
        f"download of {DOWNLOAD} MB through nginx",
        "ms",
        times=1.11,
        note="ours by X-Accel-Redirect; reference: nginx alone, the same file; 1.11× is 0.9 of its speed",
    )
    with TemporaryDirectory() as folder:
        ours = with_files(folder, 'accel_location = "/protected/"')
        nginx = nginx_server(folder, ours.ports["http"])
        async with running(ours, nginx):
            url = await upload(ours.ports["http"], DOWNLOAD, "bench")
            file_id = url.rpartition("/")[2]
            port = nginx.ports["http"]
            paths = (
                (f"/files/{file_id}", row.ours),
                (f"/direct/{file_id[:2]}/{file_id}/data", row.reference),
            )
            for turn in range(plan.rounds * 4 + 1):
                for path, column in paths:
                    took = await timed(download(port, path, DOWNLOAD, "bench"))
                    if turn:
                        column.append(took)
    return row


# ---------------------------------------------------------------------------- pushes beside uploads
async def pushes(plan: Plan) -> list[Row]:
    """How long a push to 100 subscribers takes, alone and while four uploads run in a process beside it."""
    apart = Row(
        f"push to 100 while {LOADERS} uploads run beside it: p99",
        "ms",
        times=1.5,
        note="uploads go to a process of their own on another core; reference: the same without uploads",
    )
    together = Row("  the same with uploads in the same process: p99", "ms")
    with TemporaryDirectory() as folder, TemporaryDirectory() as other:
        ours, sidecar = with_files(folder), with_files(other)
        async with running(ours, sidecar):
            # On the other core, with all of it that the driver leaves: the driver's clock is what measures.
            for thread in os.listdir(f"/proc/{sidecar.pid}/task"):
                os.sched_setaffinity(int(thread), {DRIVER_CORE})
                os.sched_setscheduler(int(thread), os.SCHED_IDLE, os.sched_param(0))
            crowd = Crowd("127.0.0.1", ours.ports["websocket"])
            hellos = [traffic.connect_frame(bench_token(f"user-{number}")) for number in range(100)]
            await crowd.join(hellos, READY)
            for _ in range(plan.rounds):
                await settle(ours)
                quiet = await push_p99(ours, crowd, plan)
                apart.reference.append(quiet)
                together.reference.append(quiet)
                async with loaded(sidecar.ports["http"]):
                    apart.ours.append(await push_p99(ours, crowd, plan))
                async with loaded(ours.ports["http"]):
                    together.ours.append(await push_p99(ours, crowd, plan))
            await crowd.leave()
    return [apart, together]


async def push_p99(server: Server, crowd: Crowd, plan: Plan) -> float:
    """Milliseconds from the API call until the last subscriber has it: the 99th percentile."""
    caller = await caller_for(server, "/api/publish", traffic.publish_body(plan.size))
    times = []
    for _ in range(plan.of(600)):
        crowd.expect(len(crowd.peers))
        began = time.perf_counter()
        await caller.call()
        await crowd.gathered()
        times.append((time.perf_counter() - began) * MILLI)
        await asyncio.sleep(0.003)
    caller.close()
    return statistics.quantiles(times, n=100, method="inclusive")[98]


@asynccontextmanager
async def loaded(port: int) -> AsyncIterator[None]:
    """Uploads at full speed, from a process of their own."""
    arguments = (sys.executable, "-m", "bench.uploader", str(port), str(LOADERS))
    process = await asyncio.create_subprocess_exec(*arguments)
    try:
        await asyncio.sleep(1)
        yield
    finally:
        process.kill()
        await process.wait()
