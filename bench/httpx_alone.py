"""POSTs by httpx and nothing else: prints the µs of CPU for one.

python -m bench.httpx_alone URL TOTAL AT_ONCE
"""

from __future__ import annotations

import asyncio
import sys
import time

import httpx
import uvloop

WARM_UP = 200
BODY = (
    b'{"client":"8d6f0d52-3c4e-4d8e-9b59-0242ac120002","transport":"websocket","protocol":"json",'
    b'"encoding":"json","user":"user-17","method":"echo","data":{"n":"^"}}'
)


async def main(url: str, total: int, at_once: int) -> None:
    left = 0

    async def work(client: httpx.AsyncClient) -> None:
        nonlocal left
        while left:
            left -= 1
            answer = await client.post(url, content=BODY, headers={"Content-Type": "application/json"})
            answer.raise_for_status().json()

    async def together(client: httpx.AsyncClient, count: int) -> None:
        nonlocal left
        left = count
        await asyncio.gather(*(work(client) for _ in range(at_once)))

    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        await together(client, WARM_UP)
        began = time.process_time()
        await together(client, total)
        sys.stdout.write(f"{(time.process_time() - began) * 1e6 / total}\n")


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
