"""Real S3 servers on free ports: moto's (from PyPI), and versitygw (a Go program) where it is installed."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import boto3
import httpx
from botocore.config import Config

from gateway.storage.s3 import Bucket
from tests.gateway_process import ROOT, free_port
from tests.timing import MS

KEY, SECRET = "tests", "the secret of the tests"
BUCKET = "files"


def versitygw() -> str:
    """The path of the program; empty where it is not installed. `scripts/test-tools` installs it."""
    beside = ROOT / ".venv" / "bin" / "versitygw"
    return str(beside) if beside.exists() else shutil.which("versitygw") or ""


@functools.cache
def moto_url() -> str:
    """The address of moto's server, started once."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    return _with_bucket(f"http://{host}:{port}")


@functools.cache
def versity_url() -> str:
    """The address of versitygw over a folder, started once; it ends with the tests."""
    folder = Path(tempfile.mkdtemp(prefix="gateway-s3-"))
    (folder / "data").mkdir()
    port = free_port()
    arguments = ["--access", KEY, "--secret", SECRET, "--port", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        [versitygw(), *arguments, "posix", "--sidecar", str(folder), str(folder / "data")]
        if not _has_xattr(folder)
        else [versitygw(), *arguments, "posix", str(folder / "data")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _PROCESSES.append((process, folder))
    deadline = time.monotonic() + 10_000 * MS
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)
            return _with_bucket(f"http://127.0.0.1:{port}")
        except httpx.TransportError:
            assert process.poll() is None, "versitygw did not start"
            assert time.monotonic() < deadline, "versitygw does not listen"
            time.sleep(10 * MS)


_PROCESSES: list[tuple[subprocess.Popen[bytes], Path]] = []


def stop_servers() -> None:
    """End what was started."""
    while _PROCESSES:
        process, folder = _PROCESSES.pop()
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def bucket(url: str, prefix: str = "", *, redirect: bool = True) -> Bucket:
    return Bucket(url, "us-east-1", KEY, SECRET, prefix, "path", redirect)


def _with_bucket(url: str) -> str:
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket=BUCKET)
    client.close()
    return f"{url}/{BUCKET}"


def _has_xattr(folder: Path) -> bool:
    probe = folder / "probe"
    probe.touch()
    try:
        os.setxattr(probe, "user.probe", b"1")
    except OSError:
        return False
    return True
