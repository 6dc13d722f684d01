"""One process of sockets: orders come as lines on standard input, tallies go as lines to standard output."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import sys
import time

import uvloop

from gateway.loadtest.crowd import Crowd
from gateway.loadtest.filing import send_files
from gateway.loadtest.plan import Order, decode_order, decode_plan
from gateway.loadtest.tally import Tally, Told, encode_told

LINE_LIMIT = 256 * 1024 * 1024
SAMPLE = 0.25


class Process:
    """Carries out orders, and tells four times a second what it saw."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._cpu = time.process_time()
        self._at = time.monotonic()

    async def serve(self, orders: asyncio.StreamReader) -> None:
        """Until the order to end, or until the leader is gone."""
        crowd = self._crowd
        crowd.spawn(crowd.watch())
        crowd.spawn(self._sample())
        while line := await orders.readline():
            order = decode_order(line)
            match order.do:
                case "connect":
                    crowd.spawn(self._connect())
                case "go":
                    self._go(order)
                case "drop":
                    crowd.spawn(self._drop())
                case "end":
                    await crowd.finish(order)
                    self._tell("done")
                    return

    async def _connect(self) -> None:
        await self._crowd.connect_all()
        self._tell("connected", personal=self._crowd.personal())

    def _go(self, order: Order) -> None:
        crowd, going = self._crowd, bool(self._crowd.until)
        crowd.until = order.until
        if going:
            return
        crowd.baseline = -1
        for calling in crowd.scenario.rpc:
            crowd.spawn(crowd.call(calling))
        crowd.spawn(send_files(crowd))
        crowd.spawn(crowd.churn())

    async def _drop(self) -> None:
        back = await self._crowd.drop()
        self._tell("back", seconds=back / 1e6)

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE)
            self._tell("sample")

    def _tell(self, event: str, *, seconds: float = 0.0, personal: list[str] | None = None) -> None:
        crowd, now, used = self._crowd, time.monotonic(), time.process_time()
        tally, crowd.tally = crowd.tally, Tally()
        told = Told(
            event,
            tally,
            crowd.connected,
            (used - self._cpu) / max(now - self._at, 0.001),
            seconds,
            personal or [],
        )
        self._cpu, self._at = used, now
        _write(encode_told(told))


def _write(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


async def _main() -> None:
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader(limit=LINE_LIMIT)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    plan = decode_plan(await orders.readline())
    loop.set_exception_handler(
        lambda _, context: _broken(str(context.get("exception") or context["message"]))
    )
    await Process(Crowd(plan)).serve(orders)


def _broken(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        _write(encode_told(Told("broken", text=text)))


def main() -> int:
    """Runs one process; started by the leader, not by people."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # Ten thousand phones are objects that stay: walking them again and again would show as latency.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    try:
        uvloop.run(_main())
    except (BrokenPipeError, KeyboardInterrupt):
        return 1
    except Exception as error:
        _broken(f"{type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    os._exit(main())
