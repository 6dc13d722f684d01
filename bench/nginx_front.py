"""What the front costs: nginx with TLS, its site as `gateway nginx` renders it, before a real gateway.

nginx runs as one process, so that its CPU is one clock. It shares core 0 with the gateway; each process's own
CPU is counted, so that they may. The driver on core 1 does the phones' side of TLS.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import traffic
from bench.driver import BenchError, Caller, Crowd, Tls
from bench.measures import MICRO, READY, Plan, caller_for, cost, running, settle
from bench.report import Row
from bench.servers import Server, bench_token, free_port, gateway_server
from gateway.config import Settings
from gateway.nginx.render import render_main, render_site
from gateway.nginx.site import Node, Site
from tests.certificates import Authority

DOMAIN = "bench.example.com"
NO_LIMIT = 60_000
REQUEST = f"GET /nothing HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n".encode()

TARGET_MESSAGE = 7.8
TARGET_HANDSHAKE = 540.0
"""Of a bare nginx 1.22 with TLS: µs per delivered message, µs per handshake."""


class Front:
    """nginx as a server under measurement, and how to get in."""

    def __init__(self, server: Server, context: ssl.SSLContext) -> None:
        self.server = server
        self.context = context
        self.port = server.ports["https"]


BARE = """server {
    listen 127.0.0.1:%(https)d ssl;
    ssl_certificate %(cert)s;
    ssl_certificate_key %(key)s;
    access_log off;
    location / {
        proxy_pass http://127.0.0.1:%(gateway)d;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection upgrade;
    }
}
"""
"""The least that passes a socket on, with the defaults of nginx: what the site is held against."""


def nginx_server(folder: Path, gateway: Server, *, rsa_bits: int = 0, bare: bool = False) -> Front:
    """The rendered site and main file, changed only in where things are and in the limits per address."""
    folder.mkdir()
    authority = Authority(folder)
    pair = authority.issue(DOMAIN, rsa_bits=rsa_bits)
    ports = {"https": free_port()} if bare else {"https": free_port(), "http": free_port()}
    site = Site(
        DOMAIN,
        str(pair.cert),
        str(pair.key),
        listen=(f"127.0.0.1:{ports['https']}",),
        http_listen=(f"127.0.0.1:{ports.get('http', 80)}",),
        nodes=(Node("127.0.0.1", gateway.ports["websocket"], gateway.ports["http"]),),
        logs=str(folder),
        www=str(folder),
        connections=5000,
        connections_per_ip=NO_LIMIT,
        requests_per_second=NO_LIMIT,
        burst=NO_LIMIT,
    )
    text = render_site(site, Settings())
    if bare:
        text = BARE % {**ports, "cert": pair.cert, "key": pair.key, "gateway": gateway.ports["websocket"]}
    (folder / "site.conf").write_text(text)
    main = render_main(site, Settings())
    for old, new in (
        ("user www-data;", "user root;"),
        ("/run/nginx.pid", f"{folder}/nginx.pid"),
        ("/var/log/nginx", str(folder)),
        ("/etc/nginx/conf.d/*.conf", f"{folder}/site.conf"),
        (
            "http {\n",
            f"http {{\n    client_body_temp_path {folder}/body;\n    proxy_temp_path {folder}/proxy;\n",
        ),
    ):
        main = main.replace(old, new)
    (folder / "nginx.conf").write_text(main)
    words = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    server = Server("nginx", [*words, "-g", "daemon off; master_process off;"], ports)
    return Front(server, ssl.create_default_context(cafile=authority.root))


class TlsCrowd(Crowd):
    """Peers that come through TLS."""

    def __init__(self, front: Front, path: str = "/connection/websocket") -> None:
        super().__init__("127.0.0.1", front.port, path=path, tls=Tls(front.context, DOMAIN))


@asynccontextmanager
async def fronts(*, rsa_bits: int = 0) -> AsyncIterator[tuple[Server, Front, Front]]:
    """The gateway, our front of it, and a bare one."""
    with TemporaryDirectory() as folder:
        gateway = gateway_server(folder)
        ours = nginx_server(Path(folder) / "nginx", gateway, rsa_bits=rsa_bits)
        bare = nginx_server(Path(folder) / "bare", gateway, bare=True)
        async with running(gateway, ours.server, bare.server):
            yield gateway, ours, bare


# ---------------------------------------------------------------------------- measurements
async def delivery(plan: Plan) -> list[Row]:
    """1,000 subscribers, one publication per turn: straight to the gateway, and through nginx with TLS."""
    behind = Row(
        "gateway behind nginx + TLS", "µs/message", times=1.1, note="reference: the same without nginx"
    )
    ours = Row(
        "nginx + TLS",
        "µs/message",
        times=1.1,
        note=f"reference: a bare nginx; {TARGET_MESSAGE} on a quiet day",
    )
    people, turns = 1000, plan.of(60)
    async with fronts() as (gateway, front, bare):
        direct = Crowd("127.0.0.1", gateway.ports["websocket"])
        crowds = {"direct": direct, "front": TlsCrowd(front), "bare": TlsCrowd(bare)}
        calls = {}
        for channel, crowd in crowds.items():
            hellos = [traffic.connect_frame(bench_token(f"user-{n}"), channel) for n in range(people)]
            await crowd.join(hellos, READY)
            calls[channel] = await caller_for(
                gateway, "/api/publish", traffic.publish_body(plan.size, channel)
            )
        messages = people * turns
        for number in range(plan.rounds + 1):
            spent = {}
            for channel, crowd in crowds.items():
                before = front.server.cpu() + bare.server.cpu()
                cpu = await cost(gateway, take_turns(crowd, calls[channel], turns))
                spent[channel] = cpu, (front.server.cpu() + bare.server.cpu() - before) * MICRO
            if number:
                behind.reference.append(spent["direct"][0] / messages)
                behind.ours.append(spent["front"][0] / messages)
                ours.ours.append(spent["front"][1] / messages)
                ours.reference.append(spent["bare"][1] / messages)
        for crowd in crowds.values():
            await crowd.leave()
    return [behind, ours]


async def take_turns(crowd: Crowd, call: Caller, turns: int) -> None:
    """`turns` times: one publication, and wait until all have it."""
    for _ in range(turns):
        crowd.expect(len(crowd.peers))
        await call.call()
        await crowd.gathered()
    crowd.check_even(turns)


async def memory(plan: Plan) -> list[Row]:
    """PSS of idle wss connections, each signed in and having had one push."""
    row = Row("memory of nginx, idle wss", "KB/connection", times=0.9, note="reference: a bare nginx")
    gateway_row = Row("memory of the gateway behind it", "KB/connection", most=12.0)
    people = plan.of(2000)
    hellos = [traffic.connect_frame(bench_token(f"user-{number}")) for number in range(people)]
    for _ in range(min(plan.rounds, 3)):
        async with fronts() as (gateway, front, bare):
            row.ours.append(await _weight(front, gateway, hellos, plan, gateway_row))
            row.reference.append(await _weight(bare, gateway, hellos, plan))
    return [row, gateway_row]


async def _weight(
    front: Front, gateway: Server, hellos: list[bytes], plan: Plan, gateway_row: Row | None = None
) -> float:
    warm = TlsCrowd(front)
    await warm.join(hellos[:50], READY)
    await warm.leave()
    await settle(front.server)
    before = front.server.memory(), gateway.memory()
    crowd = TlsCrowd(front)
    await crowd.join(hellos, READY)
    call = await caller_for(gateway, "/api/publish", traffic.publish_body(plan.size))
    await take_turns(crowd, call, 1)
    await settle(front.server)
    weight = (front.server.memory() - before[0]) / len(hellos)
    if gateway_row is not None:
        gateway_row.ours.append((gateway.memory() - before[1]) / len(hellos))
    call.close()
    await crowd.leave()
    return weight


async def handshakes(plan: Plan) -> list[Row]:
    """A phone that comes for the first time, and one that comes back with its TLS session.

    What a visit costs without TLS is subtracted: accepting, one request, and closing. TLS 1.2 resumes without
    any key exchange; TLS 1.3 keeps one for forward secrecy and saves the signature, which is cheap with EC.
    """
    rows = []
    for kind, bits in (("EC P-256", 0), ("RSA 2048", 2048)):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            async with fronts(rsa_bits=bits) as (_, front, _bare):
                front.context.maximum_version = front.context.minimum_version = version
                rows += await _new_and_resumed(front, plan, f"{version.name}, {kind}")
    return rows


async def _new_and_resumed(front: Front, plan: Plan, name: str) -> list[Row]:
    new = Row(f"handshake, {name}, new", "µs", most=TARGET_HANDSHAKE)
    again = Row(f"handshake, {name}, resumed", "µs", times=0.5, note="reference: a new one")
    count = plan.of(400)
    for number in range(plan.rounds + 1):
        plain = await cost(front.server, asyncio.to_thread(_visit_plainly, front, count)) / count
        first = await cost(front.server, asyncio.to_thread(_visit, front, count, False)) / count
        second = await cost(front.server, asyncio.to_thread(_visit, front, count, True)) / count
        if number:
            new.ours.append(first - plain)
            again.reference.append(first - plain)
            again.ours.append(second - plain)
    return [new, again]


def _open(front: Front, session: ssl.SSLSession | None) -> ssl.SSLSocket:
    sock = socket.create_connection(("127.0.0.1", front.port))
    # As every client does: else the request waits for the acknowledgement of the handshake's last word.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return front.context.wrap_socket(sock, server_hostname=DOMAIN, session=session)


def _exchange(sock: ssl.SSLSocket) -> None:
    sock.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b"}"):
        data = sock.recv(4096)
        if not data:
            raise BenchError(f"nginx hung up: {answer[:200]!r}")
        answer += data


def _visit(front: Front, count: int, resume: bool) -> None:
    """Connect, ask, go; with `resume` each brings the session of the one before, as phones do."""
    session = None
    for number in range(count):
        with _open(front, session) as sock:
            if resume and number and not sock.session_reused:
                raise BenchError("the session was not resumed")
            _exchange(sock)
            session = sock.session if resume else None


def _visit_plainly(front: Front, count: int) -> None:
    """The same without TLS."""
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", front.server.ports["http"])) as sock:
            sock.sendall(REQUEST)
            if not sock.recv(4096).startswith(b"HTTP/1.1 301"):
                raise BenchError("no redirect from port 80")
