"""Server CPU and memory of the gateway, beside a bare server of the same design, in one run.

Gateway and reference run on core 0, the driver on core 1, and they are measured in turns, round by round;
the table shows the median of the rounds with least and most, their ratio, and whether the target is met.

The reference ("floor", bench/floor.py) has the same transport design as the gateway - asyncio.Protocol on
uvloop, Sans-I/O handshake, whole frames parsed by hand, each frame built once, one write per connection
per turn - but no JSON, no state and no features. Its fan-outs are asked for over a control connection.

The gateway's fan-outs are asked for by one POST /api/publish each, ten in a turn by one POST /api/batch.
What these calls cost is part of the value that is held against the target: nothing is subtracted. The
same calls are also made to a channel that nobody listens to, and the rows "without the API call" have
that subtracted. With 1,000 subscribers a call's cost is spread over 1,000 messages (10,000 in a batch).

Every subscriber's messages are counted after each round; a run in which one is missing fails.

CPU is the server process's own clock (user + system, all threads). Memory is PSS, so kernel socket
buffers are not in it. The embedded broker is used; personal channels and pings are off. With --redis the
way through a real redis-server is measured instead, which shares core 1 with the driver; with --nginx what
a real nginx with TLS in front costs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from rich.console import Console

from bench import measures, nginx_front, redis_path
from bench.driver import BenchError
from bench.files import files
from bench.hold import hold
from bench.measures import Plan
from bench.report import Row, machine, save, show
from bench.servers import DRIVER_CORE

MEASURES: dict[str, Callable[[Plan], Awaitable[list[Row]]]] = {
    "fanout": measures.fan_out,
    "rpc": measures.rpc,
    "connect": measures.connect,
    "memory": measures.memory,
    "api": measures.api,
    "hold": hold,
    "files": files,
}

REDIS: dict[str, Callable[[Plan], Awaitable[list[Row]]]] = {
    "received": redis_path.received,
    "workers": redis_path.workers,
    "latency": redis_path.latency,
    "accepted": redis_path.accepted,
}

NGINX: dict[str, Callable[[Plan], Awaitable[list[Row]]]] = {
    "front-delivery": nginx_front.delivery,
    "front-memory": nginx_front.memory,
    "front-handshakes": nginx_front.handshakes,
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="3 short rounds: a first impression in a minute")
    parser.add_argument("--files", action="store_true", help="only what concerns files: --only files")
    parser.add_argument("--rounds", type=int, help="rounds of each measurement (5, quick 3)")
    parser.add_argument(
        "--redis", action="store_true", help="the way through Redis, with a real redis-server"
    )
    parser.add_argument("--nginx", action="store_true", help="what nginx with TLS in front costs")
    names = [*MEASURES, *REDIS, *NGINX]
    parser.add_argument("--only", action="append", choices=names, help="this one alone; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all values there")
    return parser.parse_args()


async def run(names: list[str], plan: Plan, console: Console) -> tuple[list[Row], bool]:
    """All rows that could be measured, and whether all could."""
    rows: list[Row] = []
    complete = True
    for name in names:
        console.print(f"[dim]{name} …[/dim]")
        try:
            rows += await (MEASURES | REDIS | NGINX)[name](plan)
        except (BenchError, TimeoutError, OSError) as error:
            complete = False
            console.print(f"[red]{name}: {type(error).__name__}: {error}[/red]", markup=True)
    return rows, complete


def main() -> int:
    wanted = arguments()
    if (os.cpu_count() or 1) > DRIVER_CORE:
        os.sched_setaffinity(0, {DRIVER_CORE})
    plan = Plan(wanted.rounds or (3 if wanted.quick else 5), 0.3 if wanted.quick else 1.0)
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    console.print(", ".join(f"{name} {value}" for name, value in machine().items()))
    everything = (
        ["files"] if wanted.files else list(NGINX if wanted.nginx else REDIS if wanted.redis else MEASURES)
    )
    rows, complete = uvloop.run(run(wanted.only or everything, plan, console))
    show(rows, console)
    if wanted.json:
        save(rows, wanted.json)
    return 0 if complete and not any(row.verdict == "FAIL" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
