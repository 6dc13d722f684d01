"""Proves that nothing is lost: publishes numbered messages to 50 channels while Redis, the network and the
workers fail, and checks that each client heard every accepted message exactly once and in order.

A real gateway (a supervisor, two workers, the HTTP process), a real Redis behind a proxy that misbehaves,
real clients (centrifuge-python) that come back by themselves. A message is accepted when the server API
answered it with a position; until then it is published again under the same idempotency key. Where Redis
lost its data each client must have been told: a declared re-sync instead of a silent gap.

The stall of a client is its longest time without any publication around a fault, the fault itself included.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from chaos.faults import FAULTS
from chaos.run import Plan, Run, run
from chaos.table import records_of, rows_of, show
from chaos.tamper import TAMPER

SHORT = Plan(times=1, people=8, pause=(4.5, 5.0), calm=0.5, settle=30.0)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="each fault once: about a minute")
    parser.add_argument("--times", type=int, help="how often each fault happens (10, short 1)")
    parser.add_argument("--only", action="append", help="faults whose name contains this; may be repeated")
    parser.add_argument("--tamper", choices=TAMPER, help="spoil the records: the run must fail then")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write what was accepted and heard there")
    parser.add_argument("--log", type=Path, metavar="FILE", help="write the gateway's log there")
    return parser.parse_args()


def plan_of(wanted: argparse.Namespace) -> Plan:
    base = asdict(SHORT if wanted.short else Plan())
    if wanted.times:
        base["times"] = wanted.times
    if wanted.only:
        base["faults"] = tuple(name for name in FAULTS if any(part in name for part in wanted.only))
    return Plan(**base)


def keep(result: Run, wanted: argparse.Namespace) -> None:
    if wanted.log:
        wanted.log.write_text(result.log)
    if wanted.save:
        records = [record.to_json() for record in records_of(result)]
        accepted = [asdict(each) for each in result.publisher.accepted]
        wanted.save.write_text(json.dumps({"accepted": accepted, "records": records}))


def main() -> int:
    wanted = arguments()
    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)
    result = asyncio.run(run(plan_of(wanted), lambda line: console.print(line, style="dim")))
    if wanted.tamper:
        TAMPER[wanted.tamper](records_of(result), random.Random())  # noqa: S311
    rows = rows_of(result)
    show(rows, console)
    keep(result, wanted)
    publisher = result.publisher
    problems = [person.gone for person in result.people if person.gone]
    if publisher.given_up:
        problems.append(f"{publisher.given_up} messages were never accepted")
    if "Traceback" in result.log:
        problems.append("the gateway's log has a traceback")
    for problem in problems:
        console.print(problem)
    good = all(row.good for row in rows) and not problems
    console.print("every accepted message came once and in order" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
