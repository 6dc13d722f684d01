"""Uploads at full speed until it is ended: the load beside which pushes are timed.

Usage: python -m bench.uploader PORT COUNT
"""

from __future__ import annotations

import asyncio
import os
import sys

from bench.transfer import upload


async def load(port: int, count: int) -> None:
    # It stands for phones, which use no CPU of this machine: it takes what nobody else wants.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

    async def forever(number: int) -> None:
        while True:
            await upload(port, 20, f"loader-{number}")

    await asyncio.gather(*(forever(number) for number in range(count)))


if __name__ == "__main__":
    asyncio.run(load(int(sys.argv[1]), int(sys.argv[2])))
