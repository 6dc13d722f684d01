"""The formula: what a load needs. Pure arithmetic on the constants; each step says how it was reached."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gateway.capacity.constants import Constants

MICRO = 1e-6
KB, MB, GB = 1024, 1024**2, 1024**3


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of it.

    Attributes:
        connections: phones that are connected at a time.
        publish_rate: publications in a second.
        fanout: subscribers that a publication has, on average.
        size: bytes of data in a publication.
        rpc_rate: calls of the clients in a second, all together.
        subscriptions: of one client, its personal channel among them.
        reconnect: seconds within which everybody has to be back after an outage.
        channels: with subscribers or history.
    """

    connections: int
    publish_rate: float = 100.0
    fanout: float = 100.0
    size: int = 128
    rpc_rate: float = 0.0
    subscriptions: int = 2
    reconnect: float = 60.0
    channels: int = 0


@dataclass(frozen=True, slots=True)
class Box:
    """A machine: cores, bytes of memory, bits in a second of network."""

    cores: int = 8
    memory: float = 32 * GB
    network: float = 10e9


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the answer: `how` is the formula with its numbers, `boxes` how much of a box it fills."""

    name: str
    value: float
    unit: str
    how: str
    boxes: float = 0.0


@dataclass(frozen=True, slots=True)
class Need:
    """The whole answer.

    Attributes:
        steps: in the order in which they are worked out.
        bottlenecks: the steps that fill boxes, the fullest first.
    """

    steps: list[Step]
    workers: int
    shards: int
    nginx_boxes: int
    gateway_boxes: int

    @property
    def bottlenecks(self) -> list[Step]:
        return sorted((step for step in self.steps if step.boxes), key=lambda step: -step.boxes)


def message_us(constants: Constants, size: int) -> float:
    """CPU of one message of `size` bytes that is written by itself."""
    return constants.gateway.message_us + constants.gateway.message_us_per_kb * max(0, size - 128) / KB


def reached(workers: int, fanout: float) -> float:
    """How many of the processes have a subscriber of a publication, subscribers being spread at random."""
    return workers * (1 - math.pow(1 - 1 / workers, fanout))


def busy_cores(load: Load, constants: Constants, workers: int) -> float:
    """Cores that the sockets keep busy in normal times."""
    of = constants.gateway
    micros = (
        load.publish_rate * load.fanout * message_us(constants, load.size)
        + load.publish_rate * reached(workers, load.fanout) * of.received_us
        + load.rpc_rate * of.rpc_us
        + load.connections / of.ping_s * of.ping_us
    )
    return micros * MICRO


def most_publications(load: Load, constants: Constants) -> float:
    """Publications in a second that one process without Redis can take, its API calls included."""
    of = constants.gateway
    rest = load.rpc_rate * of.rpc_us + load.connections / of.ping_s * of.ping_us
    each = of.publish_us + load.fanout * message_us(constants, load.size)
    return max(0.0, 1e6 - rest) / each


def workers_for(load: Load, constants: Constants) -> tuple[int, float, float]:
    """Processes of sockets; cores in normal times, and while everybody comes back."""
    back = load.connections / load.reconnect * constants.gateway.connect_us * MICRO
    workers, normal, storm = 1, 0.0, 0.0
    for _ in range(100):  # more processes are reached by each publication, which needs more processes
        normal = busy_cores(load, constants, workers)
        storm = normal + back
        needed = max(1, math.ceil(normal / constants.plan.busy), math.ceil(storm / constants.plan.busy_back))
        if needed <= workers:
            break
        workers = needed
    return workers, normal, storm


def need(load: Load, constants: Constants, box: Box) -> Need:
    """Everything, step by step."""
    workers, normal, storm = workers_for(load, constants)
    api = load.publish_rate * constants.gateway.publish_us * MICRO / constants.plan.busy
    sockets = _sockets(load, constants, box, (workers, normal, storm, api))
    front = _front(load, constants, box)
    redis = _redis(load, constants, workers)
    network = _network(load, constants, box)
    by_name = {step.name: step for step in [*sockets, *front, *redis, *network]}
    memory, tls_memory = by_name["gateway memory"], by_name["nginx memory"]
    return Need(
        [
            Step(
                "messages",
                load.publish_rate * load.fanout,
                "/s",
                f"{load.publish_rate:,.0f} publications × {load.fanout:,.0f} subscribers",
            ),
            Step(
                "connects, everybody back",
                load.connections / load.reconnect,
                "/s",
                f"{load.connections:,} ÷ {load.reconnect:g} s",
            ),
            *by_name.values(),
        ],
        workers,
        round(by_name["Redis shards"].value),
        nginx_boxes=max(
            1,
            *(math.ceil(by_name[name].boxes) for name in ("nginx CPU", "bandwidth, everybody back")),
            math.ceil(tls_memory.boxes),
        ),
        gateway_boxes=max(1, math.ceil((workers + math.ceil(api)) / box.cores), math.ceil(memory.boxes)),
    )


def _sockets(
    load: Load, constants: Constants, box: Box, found: tuple[int, float, float, float]
) -> list[Step]:
    of, plan, net = constants.gateway, constants.plan, constants.network
    workers, normal, storm, api = found
    connects = load.connections / load.reconnect
    memory = (
        load.connections
        * (of.connection_kb + of.subscription_kb * (load.subscriptions - 1) + net.socket_kb)
        * KB
    ) + (workers + 1) * of.process_mb * MB
    return [
        Step(
            "socket CPU",
            normal,
            "cores",
            f"{load.publish_rate * load.fanout:,.0f}/s × {message_us(constants, load.size):.1f} µs + "
            f"{load.publish_rate:,.0f}/s × {reached(workers, load.fanout):.1f} processes × "
            f"{of.received_us} µs + "
            f"{load.rpc_rate:,.0f} RPC/s × {of.rpc_us} µs + "
            f"{load.connections:,} pings ÷ {of.ping_s:g} s × {of.ping_us} µs",
            normal / plan.busy / box.cores,
        ),
        Step(
            "socket CPU, everybody back",
            storm,
            "cores",
            f"{normal:.2f} + {connects:,.0f}/s × {of.connect_us:g} µs",
            storm / plan.busy_back / box.cores,
        ),
        Step(
            "workers",
            workers,
            "processes",
            f"the larger of {normal:.2f} ÷ {plan.busy} and {storm:.2f} ÷ {plan.busy_back}",
        ),
        Step("API", api, "cores", f"{load.publish_rate:,.0f}/s × {of.publish_us} µs ÷ {plan.busy}"),
        Step(
            "gateway memory",
            memory / GB,
            "GB",
            f"{load.connections:,} × ({of.connection_kb} + {load.subscriptions - 1} × {of.subscription_kb} + "
            f"{net.socket_kb}) KB + {workers + 1} × {of.process_mb:g} MB",
            memory / box.memory,
        ),
    ]


def _front(load: Load, constants: Constants, box: Box) -> list[Step]:
    nginx, plan, net = constants.nginx, constants.plan, constants.network
    messages, connects = load.publish_rate * load.fanout, load.connections / load.reconnect
    normal, shakes = messages * nginx.message_us * MICRO, connects * nginx.handshake_us * MICRO
    cores = max(normal / plan.busy, (normal + shakes) / plan.busy_back)
    memory = load.connections * (nginx.connection_kb + 2 * net.socket_kb) * KB
    return [
        Step(
            "nginx CPU",
            cores,
            "cores",
            f"the larger of {messages:,.0f}/s × {nginx.message_us} µs ÷ {plan.busy} and that with "
            f"{connects:,.0f} TLS handshakes/s × {nginx.handshake_us:g} µs ÷ {plan.busy_back}",
            cores / box.cores,
        ),
        Step(
            "nginx memory",
            memory / GB,
            "GB",
            f"{load.connections:,} × ({nginx.connection_kb:g} + 2 × {net.socket_kb}) KB",
            memory / box.memory,
        ),
        Step(
            "nginx address pairs",
            math.ceil(load.connections / nginx.box_connections),
            "",
            f"{load.connections:,} ÷ {nginx.box_connections:,} ports of a pair of addresses",
        ),
    ]


def _redis(load: Load, constants: Constants, workers: int) -> list[Step]:
    redis, plan = constants.redis, constants.plan
    reach, connects = reached(workers, load.fanout), load.connections / load.reconnect
    normal = load.publish_rate * (redis.publish_us + reach * redis.node_us) * MICRO
    storm = normal + connects * redis.connect_us * MICRO
    shards = max(1, math.ceil(normal / plan.busy), math.ceil(storm / plan.busy_back))
    channels = load.channels or load.connections
    return [
        Step(
            "Redis CPU",
            normal,
            "cores",
            f"{load.publish_rate:,.0f}/s × ({redis.publish_us:g} + {reach:.1f} processes × "
            f"{redis.node_us:g}) µs",
            normal / plan.busy / shards,
        ),
        Step(
            "Redis CPU, everybody back",
            storm,
            "cores",
            f"{normal:.2f} + {connects:,.0f}/s × {redis.connect_us:g} µs",
            storm / plan.busy_back / shards,
        ),
        Step("Redis shards", shards, "", "one uses one core, as full as a worker may be"),
        Step(
            "Redis memory",
            channels * redis.channel_kb * KB / GB,
            "GB",
            f"{channels:,} channels × {redis.channel_kb} KB, without what the history holds",
        ),
    ]


def _network(load: Load, constants: Constants, box: Box) -> list[Step]:
    net, messages = constants.network, load.publish_rate * load.fanout
    connects = load.connections / load.reconnect
    pings = load.connections / constants.gateway.ping_s
    bits = 8 * (messages * (load.size + net.frame_bytes) + pings * net.frame_bytes)
    back = bits + 8 * connects * net.connect_bytes
    return [
        Step(
            "bandwidth out",
            bits / 1e9,
            "Gbit/s",
            f"{messages:,.0f}/s × ({load.size} + {net.frame_bytes}) B × 8, and pings",
            bits / box.network,
        ),
        Step(
            "bandwidth, everybody back",
            back / 1e9,
            "Gbit/s",
            f"and {connects:,.0f}/s × {net.connect_bytes:,} B × 8",
            back / box.network,
        ),
    ]
