"""Thousands of subscribers in a process that yields its core to anyone: the prober beside it must not wait.

Usage: python -m bench.receivers PORT COUNT < commands A line with a number: so many messages are coming
to each. Answers "ready" at the start and "done" to each line.
"""

from __future__ import annotations

import asyncio
import os
import sys

import uvloop

from bench import traffic
from bench.driver import Crowd
from bench.servers import bench_token

SOURCES = 4


async def receive(port: int, count: int) -> None:
    crowd = Crowd("127.0.0.1", port, SOURCES)
    await crowd.join([traffic.connect_frame(bench_token(f"user-{n}")) for n in range(count)], b'"subscribe":')
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    _say("ready")
    while line := await asyncio.to_thread(sys.stdin.readline):
        each = int(line)
        crowd.expect(each * count)
        _say("expecting")
        await crowd.gathered()
        crowd.check_even(each)
        _say("done")


def _say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(receive(int(sys.argv[1]), int(sys.argv[2])))
