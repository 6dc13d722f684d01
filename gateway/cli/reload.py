"""`gateway dev --reload`: the gateway in a process of its own, started again when a file of Python changes.

The process is told to go as at any end, so phones hear of a shutdown (3001) and come back by themselves. One
that cannot start - an error in a file that is being edited - is left until the next change.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import typer
from watchfiles import PythonFilter, watch

STOP_PATIENCE: Final = 10.0
"""Seconds that the process has to leave."""
LOOK_INTERVAL: Final = 200
"""Milliseconds between two looks whether we are told to stop."""
WATCHED: Final = "--watched"
"""Tells the process that its standard input ends when this one does."""


def run_reloading(arguments: Sequence[str], folder: Path) -> int:
    """Run `gateway dev` with `arguments` until a signal; the exit code. Watches all of `folder`."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    command = [sys.executable, "-m", "gateway", "dev", *arguments, WATCHED]
    # Whoever edits does not want to wait until phones have been told one after the other.
    environment = {"GATEWAY_SHUTDOWN__DRAIN": "0s", **os.environ}
    typer.echo(f"watching {folder} for changes of Python files")
    process = _start(command, environment)
    changes = watch(
        folder,
        watch_filter=PythonFilter(),
        stop_event=stop,
        rust_timeout=LOOK_INTERVAL,
        yield_on_timeout=True,
        raise_interrupt=False,
    )
    for changed in changes:
        if changed and not stop.is_set():
            names = sorted({str(Path(path).relative_to(folder)) for _, path in changed})
            typer.echo(f"changed: {', '.join(names)}; starting again")
            _end(process)
            process = _start(command, environment)
    return _end(process)


def _start(command: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C is for us, who tell it once; a second signal would cut it short.
    return subprocess.Popen(  # noqa: S603 (ourselves)
        command, env=environment, stdin=subprocess.PIPE, start_new_session=True
    )


def _end(process: subprocess.Popen[bytes]) -> int:
    """Tell it to go, wait until it has; its exit code."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdin is not None:
        process.stdin.close()
    return process.returncode
