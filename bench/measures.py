"""The measurements. Each runs gateway and reference in turns, in one run, on the same core.

CPU is that of the whole server process between two readings while nothing else is asked of it. A round
ends when the last subscriber has its last message, and every subscriber's count is checked after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory

from bench import traffic
from bench.driver import BenchError, Caller, Crowd, FloorControl, open_caller
from bench.report import Row
from bench.servers import API_KEY, Server, baseline_server, bench_token, floor_server, gateway_server
from bench.signing import session_tokens

READY = b'"subscribe":'
MICRO = 1e6


@dataclass(frozen=True)
class Plan:
    """How much to do. `scale` shortens every measurement alike."""

    rounds: int = 5
    scale: float = 1.0
    size: int = 128

    def of(self, count: int) -> int:
        return max(1, int(count * self.scale))


@asynccontextmanager
async def running(*servers: Server) -> AsyncIterator[None]:
    """The servers, started; stopped whatever happens."""
    async with AsyncExitStack() as stack:
        for server in servers:
            stack.push_async_callback(server.stop)
            await server.start()
        yield


@asynccontextmanager
async def gateway_and_floor(plan: Plan) -> AsyncIterator[tuple[Server, Server]]:
    with TemporaryDirectory() as folder:
        ours, floor = gateway_server(folder), floor_server(plan.size)
        async with running(ours, floor):
            yield ours, floor


async def cost(server: Server, work: Awaitable[object]) -> float:
    """µs of the server's CPU that `work` costs."""
    before = server.cpu()
    await work
    return (server.cpu() - before) * MICRO


async def settle(server: Server) -> None:
    """Until the server has nothing left to do: less than 1 % of a core."""
    for _ in range(200):
        if await cost(server, asyncio.sleep(0.05)) < 500:
            return
    raise BenchError(f"{server.name} does not come to rest")


async def caller_for(server: Server, path: str, body: bytes) -> Caller:
    return await open_caller(server.ports["internal"], traffic.http_post(path, body, API_KEY))


# ---------------------------------------------------------------------------- fan-out
async def fan_out(plan: Plan) -> list[Row]:
    """1,000 subscribers: one publication per turn, ten per turn, and the calls that cause them alone."""
    one = Row("fan-out, 1 publication per turn", "µs/message", times=1.25)
    ten = Row("fan-out, 10 publications per turn", "µs/message", times=1.5)
    net_one = Row("  the same without the API call", "µs/message")
    net_ten = Row("  ten, without the API call", "µs/message")
    people = 1000
    async with gateway_and_floor(plan) as (ours, floor):
        crowds = [Crowd("127.0.0.1", server.ports["websocket"]) for server in (ours, floor)]
        hellos = [traffic.connect_frame(bench_token(f"user-{number}")) for number in range(people)]
        for crowd in crowds:
            await crowd.join(hellos, READY)
        loop = asyncio.get_running_loop()
        _, control = await loop.create_connection(FloorControl, "127.0.0.1", floor.ports["control"])
        for burst, row, net in ((1, one, net_one), (10, ten, net_ten)):
            turns = plan.of(100 if burst == 1 else 40)
            call = await _publisher(ours, burst, plan.size, traffic.CHANNEL)
            nobody = await _publisher(ours, burst, plan.size, "nobody")

            async def of_floor(publications: int) -> None:
                control.fan_out(publications)

            async def of_gateway(publications: int, call: Caller = call) -> None:
                await call.call()

            for number in range(plan.rounds + 1):
                messages = people * burst * turns
                reference = await cost(floor, _turns(crowds[1], of_floor, burst, turns))
                value = await cost(ours, _turns(crowds[0], of_gateway, burst, turns))
                alone = await cost(ours, nobody.call(turns))
                if number:  # the first round warms up
                    row.reference.append(reference / messages)
                    row.ours.append(value / messages)
                    net.ours.append((value - alone) / messages)
                    net.reference.append(reference / messages)
            call.close()
            nobody.close()
        for crowd in crowds:
            await crowd.leave()
    return [one, net_one, ten, net_ten]


async def _publisher(server: Server, burst: int, size: int, channel: str) -> Caller:
    if burst == 1:
        return await caller_for(server, "/api/publish", traffic.publish_body(size, channel))
    return await caller_for(server, "/api/batch", traffic.batch_body(burst, size, channel))


async def _turns(crowd: Crowd, trigger: Callable[[int], Awaitable[None]], burst: int, turns: int) -> None:
    """`turns` times: `burst` publications in one go, and wait until all have them."""
    people = len(crowd.peers)
    for _ in range(turns):
        crowd.expect(people * burst)
        await trigger(burst)
        await crowd.gathered()
    crowd.check_even(burst * turns)


# ---------------------------------------------------------------------------- requests
async def rpc(plan: Plan) -> list[Row]:
    """64 clients, each with one request on its way at any time."""
    row = Row("RPC, 64 clients, closed loop", "µs/request", times=2.0)
    people, total = 64, plan.of(20_000)
    async with gateway_and_floor(plan) as (ours, floor):
        crowds = [Crowd("127.0.0.1", server.ports["websocket"]) for server in (ours, floor)]
        hellos = [traffic.connect_frame(bench_token(f"user-{number}")) for number in range(people)]
        for crowd in crowds:
            await crowd.join(hellos, READY)
        for number in range(plan.rounds + 1):
            reference = await closed_loop(floor, crowds[1], total, traffic.rpc_frame())
            value = await closed_loop(ours, crowds[0], total, traffic.rpc_frame())
            if number:
                row.reference.append(reference)
                row.ours.append(value)
    return [row]


async def closed_loop(server: Server, crowd: Crowd, total: int, request: bytes) -> float:
    """µs of the server's CPU per request, while each peer has one on its way at any time."""
    before = server.cpu()
    crowd.expect(total)
    for peer in crowd.peers:
        peer.messages = 0
        peer.request = request
        peer.transport.write(request)
    await crowd.gathered()
    spent, answered = server.cpu() - before, sum(peer.messages for peer in crowd.peers)
    for peer in crowd.peers:
        peer.request = b""
    await settle(server)
    return spent * MICRO / answered


# ---------------------------------------------------------------------------- connections
async def connect(plan: Plan) -> list[Row]:
    """Handshake, sign-in by token and one subscription, 32 at once."""
    session = Row("connect + session token + subscribe", "µs/connection", note="reference: handshake + echo")
    jwt = Row("connect + JWT (HS256) + subscribe", "µs/connection", note="reference: handshake + echo")
    count = plan.of(400)
    async with gateway_and_floor(plan) as (ours, floor):
        tokens = await asyncio.to_thread(session_tokens, ours.ports["http"], ours.ports["websocket"], 50)
        for row, words in ((session, tokens), (jwt, [bench_token(f"user-{n}") for n in range(50)])):
            hellos = [traffic.connect_frame(words[number % 50]) for number in range(count)]
            for number in range(plan.rounds + 1):
                reference = await _joining(floor, hellos)
                value = await _joining(ours, hellos)
                if number:
                    row.reference.append(reference)
                    row.ours.append(value)
    return [session, jwt]


async def _joining(server: Server, hellos: list[bytes]) -> float:
    crowd = Crowd("127.0.0.1", server.ports["websocket"])
    spent = await cost(server, crowd.join(hellos, READY))
    await crowd.leave()
    await settle(server)
    return spent / len(hellos)


async def memory(plan: Plan) -> list[Row]:
    """PSS of 2,000 idle connections, signed in and subscribed once; fresh servers each round."""
    row = Row("memory, idle, 1 subscription", "KB", most=12.0)
    people = plan.of(2000)
    hellos = [traffic.connect_frame(bench_token(f"user-{number}")) for number in range(people)]
    for _ in range(min(plan.rounds, 3)):
        async with gateway_and_floor(plan) as (ours, floor):
            row.reference.append(await _weight(floor, hellos))
            row.ours.append(await _weight(ours, hellos))
    return [row]


async def _weight(server: Server, hellos: list[bytes]) -> float:
    await _joining(server, hellos[:50])  # what is loaded at first use is not a connection's
    before = server.memory()
    crowd = Crowd("127.0.0.1", server.ports["websocket"])
    await crowd.join(hellos, READY)
    await settle(server)
    weight = (server.memory() - before) / len(hellos)
    await crowd.leave()
    return weight


async def growth(plan: Plan) -> list[Row]:
    """What 100 rounds of connect and drop leave behind: memory after them beside that after the first ten."""
    row = Row(
        "memory after 100 rounds of connect and drop", "KB", times=1.02, note="reference: after 10 rounds"
    )
    hellos = [traffic.connect_frame(bench_token(f"user-{number}")) for number in range(plan.of(100))]
    with TemporaryDirectory() as folder:
        ours = gateway_server(folder)
        async with running(ours):
            for number in range(1, 101):
                crowd = Crowd("127.0.0.1", ours.ports["websocket"])
                await crowd.join(hellos, READY)
                await crowd.leave()
                if number == 10:
                    await settle(ours)
                    row.reference.append(ours.memory())
            await settle(ours)
            row.ours.append(ours.memory())
    return [row]


# ---------------------------------------------------------------------------- server API
async def api(plan: Plan) -> list[Row]:
    """`/api/publish` to nobody beside a bare Starlette route; items of a broadcast and of a batch."""
    single = Row(
        "/api/publish", "µs/call", times=1.3, note="reference: a bare Starlette route, uvicorn + httptools"
    )
    broadcast = Row("/api/broadcast, 100 channels", "µs/item")
    batch = Row("/api/batch, 100 publish commands", "µs/item")
    items, people = 100, 8
    with TemporaryDirectory() as folder:
        ours, bare = gateway_server(folder), baseline_server()
        async with running(ours, bare):
            body = traffic.publish_body(plan.size, "nobody")
            calls = plan.of(500)
            callers = [await caller_for(ours, "/api/publish", body) for _ in range(people)]
            post = traffic.http_post("/api/publish", body, API_KEY)
            others = [await open_caller(bare.ports["http"], post) for _ in range(people)]
            wide = await caller_for(ours, "/api/broadcast", traffic.broadcast_body(items, plan.size))
            many = await caller_for(ours, "/api/batch", traffic.batch_body(items, plan.size, "nobody"))
            turns = plan.of(40)
            for number in range(plan.rounds + 1):
                reference = await cost(bare, _calls(others, calls)) / (people * calls)
                value = await cost(ours, _calls(callers, calls)) / (people * calls)
                per_channel = await cost(ours, wide.call(turns)) / (turns * items)
                per_command = await cost(ours, many.call(turns)) / (turns * items)
                if number:
                    single.reference.append(reference)
                    single.ours.append(value)
                    broadcast.ours.append(per_channel)
                    batch.ours.append(per_command)
    return [single, broadcast, batch]


async def _calls(callers: list[Caller], times: int) -> None:
    await asyncio.gather(*(caller.call(times) for caller in callers))
