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

With --peers the other servers of this field are measured beside it, those that scripts/bench-peers could
install (see bench/compare.py), and the result is kept in bench/results. --docs writes docs/performance.md,
its charts and the READMEs' tables from the newest result.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from rich.console import Console

from bench import measures, nginx_front, redis_path
from bench.backends import backends
from bench.compare import QUICK, SMOKE, Comparison, Extent, chosen
from bench.documents import write_documents
from bench.driver import BenchError
from bench.files import files
from bench.hold import hold
from bench.inbox import inbox
from bench.install import INSTALLERS
from bench.measures import Plan
from bench.report import Row, machine, save, show
from bench.results_file import FOLDER, Result
from bench.servers import DRIVER_CORE

MEASURES: dict[str, Callable[[Plan], Awaitable[list[Row]]]] = {
    "fanout": measures.fan_out,
    "rpc": measures.rpc,
    "backends": backends,
    "connect": measures.connect,
    "memory": measures.memory,
    "growth": measures.growth,
    "api": measures.api,
    "hold": hold,
    "files": files,
    "inbox": inbox,
}

REDIS: dict[str, Callable[[Plan], Awaitable[list[Row]]]] = {
    "received": redis_path.received,
    "workers": redis_path.workers,
    "scale": redis_path.scale,
    "latency": redis_path.latency,
    "accepted": redis_path.accepted,
}

NGINX: dict[str, Callable[[Plan], Awaitable[list[Row]]]] = {
    "front-delivery": nginx_front.delivery,
    "front-memory": nginx_front.memory,
    "front-handshakes": nginx_front.handshakes,
}

BESIDE_PEERS = ("api", "hold", "growth", "scale", "received", "latency")
"""What no peer does, and belongs to the picture."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="3 short rounds: a first impression in a minute")
    parser.add_argument("--files", action="store_true", help="only what concerns files: --only files")
    parser.add_argument("--inbox", action="store_true", help="only acknowledged delivery: --only inbox")
    parser.add_argument("--rounds", type=int, help="rounds of each measurement (5, quick 3)")
    parser.add_argument(
        "--redis", action="store_true", help="the way through Redis, with a real redis-server"
    )
    parser.add_argument("--nginx", action="store_true", help="what nginx with TLS in front costs")
    parser.add_argument("--peers", action="store_true", help="beside the servers of scripts/bench-peers")
    parser.add_argument(
        "--peer", action="append", choices=INSTALLERS, metavar="NAME",
        help=f"with --peers: only beside this one; may be repeated ({', '.join(INSTALLERS)})",
    )  # fmt: skip
    parser.add_argument(
        "--smoke", action="store_true", help="with --peers: a handful of clients each, to see that all work"
    )
    parser.add_argument("--docs", action="store_true", help="write the documents from the newest result")
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


async def compare(wanted: argparse.Namespace, console: Console) -> Result:
    """The gateway beside its peers, and then what only the gateway does."""
    began = time.monotonic()
    extent = SMOKE if wanted.smoke else QUICK if wanted.quick else Extent()
    comparison = Comparison(chosen(wanted.peer), extent, console)
    await comparison.run()
    plan = Plan(2, 0.3) if wanted.quick else Plan(3, 0.6)
    beside = () if wanted.peer or wanted.smoke else BESIDE_PEERS
    rows, complete = await run(list(beside), plan, console)
    if not complete:
        console.print("[red]what is red above is missing from the result[/red]")
    return Result(
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        quick=wanted.quick or wanted.smoke,
        minutes=(time.monotonic() - began) / 60,
        machine=machine(),
        crowds=list(extent.crowds),
        sizes=list(extent.sizes),
        tls_crowd=extent.tls_crowd,
        contestants=comparison.contestants,
        own=[{"name": r.name, "unit": r.unit, "ours": r.ours, "reference": r.reference} for r in rows],
    )


def with_peers(wanted: argparse.Namespace, console: Console) -> int:
    if wanted.smoke and not wanted.json:
        wanted.json = Path(os.devnull)
    result = uvloop.run(compare(wanted, console))
    path = wanted.json or FOLDER / f"{result.date}.json"
    result.save(path)
    console.print(
        f"{path} after {result.minutes:.1f} minutes; scripts/bench --docs makes the documents of it"
    )
    failed = [each for each in result.contestants if each.problems]
    return 1 if failed else 0


def main() -> int:
    wanted = arguments()
    if wanted.docs:
        write_documents(Result.newest())
        return 0
    if (os.cpu_count() or 1) > DRIVER_CORE:
        os.sched_setaffinity(0, {DRIVER_CORE})
    plan = Plan(wanted.rounds or (3 if wanted.quick else 5), 0.3 if wanted.quick else 1.0)
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    console.print(", ".join(f"{name} {value}" for name, value in machine().items()))
    if wanted.peers:
        return with_peers(wanted, console)
    everything = (
        ["inbox"]
        if wanted.inbox
        else ["files"]
        if wanted.files
        else list(NGINX if wanted.nginx else REDIS if wanted.redis else MEASURES)
    )
    rows, complete = uvloop.run(run(wanted.only or everything, plan, console))
    show(rows, console)
    if wanted.json:
        save(rows, wanted.json)
    return 0 if complete and not any(row.verdict == "FAIL" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
