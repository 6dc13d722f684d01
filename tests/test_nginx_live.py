"""A real nginx with the rendered site in front of a real gateway: what a phone finds there."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.config import Settings, load
from gateway.nginx.site import MULTIPART_OVERHEAD, Site, read_timeout
from tests.certificates import Authority
from tests.crowd import Crowd
from tests.gateway_process import GatewayProcess, token, unique
from tests.nginx_process import NginxProcess, port_of, render, site_for
from tests.raw_ws import request
from tests.sdk.python_phone import PythonPhone
from tests.timing import MS, until

PING, PONG = 600 * MS, 500 * MS
UPLOAD_LIMIT = 256 * 1024
PATIENCE = 5_000 * MS
CROWD = 2_000

MakePhone = Callable[..., Awaitable[PythonPhone]]


class Front:
    """nginx, the gateway behind it, and what a client needs to know."""

    def __init__(self, folder: Path, **client: str) -> None:
        """`client`: keys of that section."""
        authority = Authority(folder)
        self.pair = authority.issue("localhost", "127.0.0.1")
        self.root = authority.root
        (folder / "gateway").mkdir()
        files = {
            "directory": f"{folder}/files",
            "max_upload_size": UPLOAD_LIMIT,
            "accel_location": "/protected/",
        }
        self.gateway = GatewayProcess(
            folder / "gateway", client=_toml(client), more=f"[files]\n{_toml(files)}"
        )
        self.settings: Settings = load(None, {}, {"client": client, "files": files})
        (folder / "www/verify").mkdir(parents=True)
        (folder / "www/verify/MP_verify_abc.txt").write_text("abc")
        (folder / "www/acme/.well-known/acme-challenge").mkdir(parents=True)
        (folder / "www/acme/.well-known/acme-challenge/answer").write_text("challenge")
        (folder / "h5").mkdir()
        (folder / "h5/index.html").write_text("<title>H5</title>")
        self.site: Site = site_for(
            self.gateway,
            folder,
            self.pair,
            "local.example.com",
            h5=str(folder / "h5"),
            connections_per_ip=CROWD + 100,
            requests_per_second=20_000,
            burst=20_000,
        )
        self.port = port_of(self.site.listens)
        self.http_port = port_of(self.site.http_listen)
        text = render(self.site, self.settings)
        self.nginx = NginxProcess(folder / "nginx", [text], [self.port, self.http_port], self.settings)
        self.folder = folder

    @property
    def url(self) -> str:
        return f"wss://127.0.0.1:{self.port}/connection/websocket"

    @property
    def https(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def context(self, *alpn: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.root)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def client(self, **more: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            verify=self.context(), base_url=self.https, trust_env=False, timeout=PATIENCE, **more
        )


def _toml(values: dict[str, Any]) -> str:
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items())


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    front = Front(Path(tmp_path_factory.mktemp("front")))
    front.gateway.start()
    with front.nginx:
        yield front
    front.gateway.stop()


@pytest.fixture
async def make_phone(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakePhone]:
    """Phones that believe in the test's authority, as real ones believe in the public ones."""
    phones: list[PythonPhone] = []

    async def make(front: Front, **options: Any) -> PythonPhone:
        monkeypatch.setenv("SSL_CERT_FILE", str(front.root))
        phone = PythonPhone()
        phones.append(phone)
        await phone.start(front.url, **options)
        return phone

    yield make
    for phone in phones:
        await phone.stop()


# ---------------------------------------------------------------------------- journeys
async def test_sign_in_and_push(front: Front, make_phone: MakePhone) -> None:
    phone = await make_phone(front, data={"code": await front.gateway.code(unique("user"))})
    me = (await phone.connect())["data"]
    await phone.subscribe(channel := unique("news"))
    await front.gateway.publish(channel, {"n": 1})
    assert (await phone.event("publication", channel=channel))["data"] == {"n": 1}
    await front.gateway.publish(f"#{me['openid']}", "for you")
    await phone.event("publication", server=True)


async def test_a_reload_loses_nothing(front: Front, make_phone: MakePhone) -> None:
    """The old workers hang up after their time; the phones come back and get what they missed."""
    phones = [await make_phone(front, token=token(unique("user"))) for _ in range(5)]
    channel = unique("news")
    for phone in phones:
        await phone.connect()
        await phone.subscribe(channel)
    sent = 0
    await asyncio.to_thread(front.nginx.reload, wait=False)
    while not all(len(phone.seen("connected")) > 1 for phone in phones):
        await front.gateway.publish(channel, sent)
        sent += 1
        await asyncio.sleep(5 * MS)
    await front.gateway.publish(channel, sent)
    for phone in phones:
        await phone.event("publication", channel=channel, data=sent)
        assert phone.data(channel) == list(range(sent + 1))
        assert phone.seen("subscribed", channel=channel)[-1]["recovered"]


async def test_a_restart_of_the_gateway_behind_it(front: Front, make_phone: MakePhone) -> None:
    """Phones are told, meet 502 while nothing listens, and come back; nginx is not touched."""
    phone = await make_phone(front, token=token(unique("user")))
    await phone.connect()
    await phone.subscribe(channel := unique("news"))
    await front.gateway.publish(channel, "before")
    await phone.event("publication", channel=channel, data="before")
    before = len(phone.events)
    await asyncio.to_thread(front.gateway.stop)
    assert (await phone.event("connecting", after=before))["code"] == 3001
    async with front.client() as http:
        answer = await http.get("/wx/session")
        assert answer.status_code == 502
        assert answer.json()["code"] == 100
    await asyncio.to_thread(front.gateway.start)
    await phone.event("connected", after=before)
    await phone.event("subscribed", after=before, channel=channel)
    await front.gateway.publish(channel, "after")
    await phone.event("publication", channel=channel, data="after")


@pytest.fixture
def lively(tmp_path: Path) -> Iterator[Front]:
    """A gateway that pings often, and an nginx that therefore waits for no longer than 3 s."""
    front = Front(tmp_path, ping_interval=f"{PING}s", pong_timeout=f"{PONG}s")
    front.gateway.start()
    with front.nginx:
        yield front
    front.gateway.stop()


async def test_idle_for_longer_than_nginx_waits(lively: Front, make_phone: MakePhone) -> None:
    """Only pings pass, for more than proxy_read_timeout: what 80 s are at the default of 25 s."""
    phone = await make_phone(lively, token=token(unique("user")))
    await phone.connect()
    await asyncio.sleep(read_timeout(lively.settings) * 1.3)
    assert len(phone.seen("connecting")) == 1, phone.events


# ---------------------------------------------------------------------------- who is it
async def test_a_forged_address_is_dropped(front: Front) -> None:
    """Of the headers that a client may send none says where it is."""
    forged = {name: "192.0.2.66" for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP")}
    transport = httpx.AsyncHTTPTransport(verify=front.context(), local_address="127.0.0.9")
    async with httpx.AsyncClient(transport=transport, base_url=front.https) as http:
        answer = await http.get("/connection/websocket", headers=forged)
    assert answer.status_code == 426
    assert answer.headers["X-Client-IP"] == "127.0.0.9"


@pytest.fixture
def strict_port(front: Front, tmp_path: Path) -> Iterator[int]:
    """Another nginx, that lets an address have two sockets and a request a second."""
    site = site_for(
        front.gateway,
        tmp_path,
        front.pair,
        "local.example.com",
        connections_per_ip=2,
        requests_per_second=1,
        burst=5,
    )
    port = port_of(site.listens)
    with NginxProcess(tmp_path / "nginx", [render(site, front.settings)], [port], front.settings):
        yield port


async def test_limits_of_one_address(front: Front, strict_port: int) -> None:
    sockets = [await asyncio.open_connection("127.0.0.1", strict_port, ssl=front.context()) for _ in range(3)]
    heads = []
    for reader, writer in sockets:
        writer.write(request(strict_port))
        heads.append(await reader.readuntil(b"\r\n\r\n"))
    assert [head.split()[1] for head in heads] == [b"101", b"101", b"429"]
    async with httpx.AsyncClient(verify=front.context(), base_url=f"https://127.0.0.1:{strict_port}") as http:
        answers = [await http.get("/wx/session") for _ in range(8)]
    refused = [each for each in answers if each.status_code == 429]
    assert refused and refused[0].json()["code"] == 111
    for _, writer in sockets:
        writer.close()


# ---------------------------------------------------------------------------- errors and limits
async def test_errors_are_json(front: Front) -> None:
    async with front.client() as http:
        for answer, status in (
            (await http.get("/nothing"), 404),
            (await http.get("/wx/nothing"), 404),
            (await http.post("/wx/login", content=bytes(1024 * 1024 + 1)), 413),
            (await http.post("/files", content=bytes(UPLOAD_LIMIT + MULTIPART_OVERHEAD + 1)), 413),
            (await http.get(f"/{'x' * 9000}"), 414),
        ):
            assert answer.status_code == status
            assert answer.headers["content-type"] == "application/json; charset=utf-8"
            assert set(answer.json()) == {"code", "message"}
            assert answer.headers["strict-transport-security"] == "max-age=31536000"


async def test_a_body_of_the_limit_reaches_the_gateway(front: Front) -> None:
    async with front.client() as http:
        answer = await http.post("/files", content=bytes(UPLOAD_LIMIT + MULTIPART_OVERHEAD))
    assert "nginx" not in answer.text
    assert "other requests" not in answer.text, "that is what nginx says of 413"


async def test_an_upload_and_its_download_by_nginx(front: Front) -> None:
    """The bytes come from the disk, by X-Accel-Redirect: exact length, Range, not compressed."""
    code = await front.gateway.code(unique("user"))
    async with front.client() as http:
        signed_in = (await http.post("/wx/login", json={"code": code})).json()
        headers = {"Authorization": f"Bearer {signed_in['token']}", "Accept-Encoding": "gzip"}
        content = b"%PDF-1.7\n" + bytes(range(256)) * 500
        sent = await http.post("/files", files={"file": ("a.pdf", content)}, headers=headers)
        assert sent.status_code in (200, 201), sent.text
        path = f"/files/{sent.json()['id']}"
        whole = await http.get(path, headers=headers)
        assert whole.content == content
        assert whole.headers["content-length"] == str(len(content))
        assert whole.headers["content-type"] == "application/pdf"
        assert "content-encoding" not in whole.headers
        assert "x-accel-redirect" not in whole.headers
        part = await http.get(path, headers={**headers, "Range": "bytes=9-12"})
        assert (part.status_code, part.content) == (206, content[9:13])
        known = await http.get(path, headers={**headers, "If-None-Match": whole.headers["etag"]})
        assert known.status_code == 304
        assert (await http.get(path)).status_code in (401, 403, 404)
        assert (await http.get(path, headers={**headers, "Range": "bytes=999999-"})).json()["code"] == 428


UNREACHABLE = (
    "/sandbox/stats", "/sandbox/login", "//sandbox/stats", "/wx/../sandbox/stats", "/wx/%2e%2e/sandbox/stats",
    "/files/..%2fsandbox/stats", "/metrics", "/healthz", "/readyz", "/health", "/api/info", "/api/publish",
    "/dashboard", "/dev/config", "/protected/anything", "/.wx-error/404",
)  # fmt: skip


@pytest.mark.parametrize("path", UNREACHABLE)
async def test_what_is_never_reachable(front: Front, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port, ssl=front.context())
    writer.write(f"GET {path} HTTP/1.1\r\nHost: local.example.com\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.split()[1] == b"404"
    assert json.loads(body)["code"] == 104


async def test_static_places(front: Front) -> None:
    async with front.client() as http:
        proof = await http.get("/MP_verify_abc.txt")
        assert (proof.status_code, proof.text) == (200, "abc")
        page = await http.get("/")
        assert page.text == "<title>H5</title>"
        assert page.headers["content-type"].startswith("text/html")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{front.http_port}") as http:
        moved = await http.get("/wx/session?x=1")
        assert (moved.status_code, moved.headers["location"]) == (
            301,
            "https://local.example.com/wx/session?x=1",
        )
        assert (await http.get("/.well-known/acme-challenge/answer")).text == "challenge"


async def test_the_log_has_no_queries(front: Front) -> None:
    async with front.client() as http:
        await http.get("/wx/callback?signature=a-secret-of-wechat", headers={"User-Agent": 'odd "agent"'})
    await until(lambda: "/wx/callback" in front.nginx.log("../wx-gateway.access.log"), within=8_000 * MS)
    lines = [json.loads(line) for line in front.nginx.log("../wx-gateway.access.log").splitlines()]
    assert "a-secret-of-wechat" not in json.dumps(lines)
    line = next(each for each in lines if each["path"] == "/wx/callback")
    assert line["agent"] == 'odd "agent"'
    assert line["ip"] == "127.0.0.1"


# ---------------------------------------------------------------------------- TLS
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls_is_refused(front: Front, version: str) -> None:
    context = front.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with socket.create_connection(("127.0.0.1", front.port)) as sock, pytest.raises(ssl.SSLError):
        context.wrap_socket(sock, server_hostname="localhost")


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_returning_phone_resumes_its_session_even_across_a_reload(front: Front, version: str) -> None:
    context = front.context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]

    def visit(session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool]:
        with socket.create_connection(("127.0.0.1", front.port)) as sock:
            with context.wrap_socket(sock, server_hostname="localhost", session=session) as tls:
                tls.sendall(b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                while tls.recv(4096):
                    pass
                return tls.session, bool(tls.session_reused)

    session, reused = visit(None)
    assert not reused
    session, reused = visit(session)
    assert reused
    front.nginx.reload()
    assert visit(session)[1]


async def test_http2_for_requests_and_http1_for_sockets(front: Front) -> None:
    async with front.client(http2=True) as http:
        answers = await asyncio.gather(*(http.get("/wx/nothing") for _ in range(10)))
    assert {each.http_version for each in answers} == {"HTTP/2"}
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port, ssl=front.context("http/1.1"))
    writer.write(request(front.port))
    assert (await reader.readline()).startswith(b"HTTP/1.1 101")
    writer.close()


# ---------------------------------------------------------------------------- many
async def test_two_thousand_sockets(front: Front) -> None:
    """All of them are signed in, each gets the push, and none is lost meanwhile."""
    crowd = Crowd(front.port, front.context(), channel := unique("crowd"), b'"everybody"')
    await crowd.join(CROWD)
    await front.gateway.publish(channel, "everybody")
    await crowd.heard(PATIENCE)
    crowd.leave()
