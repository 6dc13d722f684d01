"""The page of `gateway dev` at the level of HTTP: its files, its headers, what it asks, and the errors."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.backend.base import NoBackend
from gateway.config import dev_settings
from gateway.http.app import BODY_LIMIT
from gateway.http.page import FILES, STATIC
from gateway.server import Server

JSON = {"Content-Type": "application/json"}


async def serve(dev: bool, **overrides: Any) -> AsyncIterator[tuple[Server, httpx.AsyncClient]]:
    listen = dict.fromkeys(("websocket", "http", "internal"), "127.0.0.1:0")
    shutdown = {"drain": "0s", "timeout": "1s"}
    settings = dev_settings(None, {}, {"listen": listen, "shutdown": shutdown, **overrides})
    server = Server(settings, NoBackend(), dev=dev)
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.ports['http']}") as client:
            yield server, client
    finally:
        await server.stop()


@pytest.fixture
async def running() -> AsyncIterator[tuple[Server, httpx.AsyncClient]]:
    async for each in serve(dev=True):
        yield each


@pytest.fixture
def http(running: tuple[Server, httpx.AsyncClient]) -> httpx.AsyncClient:
    return running[1]


@pytest.fixture
def server(running: tuple[Server, httpx.AsyncClient]) -> Server:
    return running[0]


async def test_the_page_and_everything_it_links_to(http: httpx.AsyncClient) -> None:
    page = await http.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert 'data-desk="dev/"' in page.text, "its questions go below /dev/"
    links = re.findall(r'(?:src|href)="([^":]+)"', page.text)
    assert set(links) == {"static/app.js", "static/app.css"}
    for name in FILES:
        response = await http.get(f"/static/{name}")
        assert response.status_code == 200, name
        assert response.headers["content-type"] == FILES[name]
        assert response.headers["x-content-type-options"] == "nosniff"


async def test_the_first_look_costs_less_than_300_kilobytes(http: httpx.AsyncClient) -> None:
    """Before compression, and a third of it after."""
    sizes = {"plain": 0, "zipped": 0}
    for path in ("/", "/static/app.js", "/static/app.css"):
        plain = await http.get(path, headers={"Accept-Encoding": "identity"})
        zipped = await http.get(path)
        assert zipped.headers["content-encoding"] == "gzip"
        assert zipped.content == plain.content
        sizes["plain"] += len(plain.content)
        sizes["zipped"] += int(zipped.headers["content-length"])
    assert sizes["plain"] < 300_000
    assert sizes["zipped"] < 110_000


async def test_the_policy_lets_in_this_page_its_socket_and_nothing_else(
    http: httpx.AsyncClient, server: Server
) -> None:
    response = await http.get("/")
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert f"connect-src 'self' ws://127.0.0.1:{server.ports['websocket']};" in policy
    assert "unsafe" not in policy
    # What the policy would forbid must not be needed.
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", response.text)
    assert "://" not in response.text.replace("http://www.w3.org/2000/svg", "")
    for name in FILES:
        if name.startswith("app."):
            text = (await http.get(f"/static/{name}")).text
            assert not re.search(r"""(?:import|url|fetch)\(\s*["']?https?:""", text), "nothing from elsewhere"


@pytest.mark.parametrize("host", ["x; script-src *", "evil\texample", "a b", "", "[::1", "user@host"])
async def test_a_host_that_is_none_does_not_reach_the_policy(http: httpx.AsyncClient, host: str) -> None:
    for path in ("/", "/dev/config"):
        response = await http.get(path, headers={"Host": host})
        assert response.status_code in (200, 400, 403)
        shown = response.headers.get("content-security-policy", "") + response.text
        assert "script-src *" not in shown
        assert "evil" not in shown


async def test_the_config_names_the_ports_as_the_browser_sees_them(
    http: httpx.AsyncClient, server: Server
) -> None:
    ports = server.ports
    config = (await http.get("/dev/config")).json()
    assert config["websocket"] == f"ws://127.0.0.1:{ports['websocket']}/connection/websocket"
    assert config["api"] == f"http://127.0.0.1:{ports['internal']}/api"
    config = (await http.get("/dev/config", headers={"Host": "192.168.1.5:8001"})).json()
    assert config["websocket"] == f"ws://192.168.1.5:{ports['websocket']}/connection/websocket"
    config = (await http.get("/dev/config", headers={"Host": "[::1]:8001"})).json()
    assert config["api"] == f"http://[::1]:{ports['internal']}/api"


async def test_without_the_stand_in_for_wechat_there_are_no_phones(http: httpx.AsyncClient) -> None:
    assert (await http.get("/dev/config")).json()["phones"] is True
    async for _, other in serve(dev=True, wechat={"sandbox": False}):
        assert (await other.get("/dev/config")).json()["phones"] is False


async def test_the_command_of_the_page_works(http: httpx.AsyncClient) -> None:
    config = (await http.get("/dev/config")).json()
    async with httpx.AsyncClient(headers={"X-API-Key": config["api_key"]}) as client:
        content = '{"channel":"news","data":{"text":"hello from a shell"}}'
        response = await client.post(f"{config['api']}/publish", content=content)
    assert response.json()["result"]["offset"] == 1


async def test_no_page_shows_a_key_that_the_user_has_set() -> None:
    async for _, http in serve(dev=True, api={"keys": ["a key of somebody"]}):
        config = await http.get("/dev/config")
        assert config.json()["api_key"] == "YOUR-API-KEY"
        assert "a key of somebody" not in config.text


async def desk(http: httpx.AsyncClient, method: str, params: object) -> Any:
    answer = await http.post(f"/dev/api/{method}", json=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_desk_asks_the_methods_of_the_server_api_without_a_key(http: httpx.AsyncClient) -> None:
    data = {"channel": "news", "data": {"text": "很好"}}
    assert (await desk(http, "publish", data))["result"]["offset"] == 1
    assert await desk(http, "broadcast_all", {"data": 1}) == {"result": {}}
    assert (await desk(http, "publish", {"channel": "nowhere:x", "data": 1}))["error"]["code"] == 102
    assert (await desk(http, "connections", {}))["result"] == {"connections": [], "total": 0}
    assert len((await desk(http, "stats", {}))["result"]["nodes"]) == 1
    methods = (await http.get("/dev/config")).json()["methods"]
    assert {"publish", "stats", "connections", "block_user", "trace"} <= set(methods)


async def test_only_pages_of_this_origin_can_use_the_desk(http: httpx.AsyncClient) -> None:
    """A form or a plain fetch of another site needs no permission, but cannot send this content type."""
    body = b'{"channel":"news","data":1}'
    for headers in (
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {**JSON, "Origin": "http://localhost:10086"},
        {**JSON, "Sec-Fetch-Site": "same-site"},
        {**JSON, "Sec-Fetch-Site": "cross-site"},
    ):
        response = await http.post("/dev/api/publish", content=body, headers=headers)
        assert (response.status_code, response.json()["code"]) == (403, 103), headers


async def test_a_trace_is_for_the_page_alone(http: httpx.AsyncClient) -> None:
    for site in ("cross-site", "same-site"):
        answer = await http.get("/dev/api/trace?user=alice", headers={"Sec-Fetch-Site": site})
        assert (answer.status_code, answer.json()["code"]) == (403, 103)
    assert (await http.get("/dev/api/trace")).status_code == 400
    async with http.stream("GET", "/dev/api/trace?user=alice&seconds=1") as answer:
        assert answer.status_code == 200
        assert b'"begin"' in b"".join([chunk async for chunk in answer.aiter_bytes()])


async def test_without_a_login_there_is_no_trace_on_the_dashboard() -> None:
    async for server, _ in serve(dev=False, admin={"password": "a long password"}):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.ports['internal']}") as internal:
            path = "/dashboard/api/trace?user=alice&seconds=1"
            assert (await internal.get(path)).status_code == 401
            await internal.post("/dashboard/login", json={"password": "a long password"})
            assert (await internal.get(path)).status_code == 200
            assert (await internal.get(path, headers={"Sec-Fetch-Site": "cross-site"})).status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nothing", None, 404, 104),
        ("GET", "/static/nothing.js", None, 404, 104),
        ("GET", "/static/..%2fapp.py", None, 404, 104),
        ("GET", "/static/app.js/more", None, 404, 104),
        ("POST", "/", None, 405, 104),
        ("GET", "/dev/nothing", None, 404, 104),
        ("GET", "/dev/api/publish", None, 405, 104),
        ("POST", "/dev/api/nothing", b"{}", 404, 104),
        ("GET", "/docs/../app.py", None, 404, 104),
        ("GET", "/docs/openapi.json", None, 404, 104),
        ("POST", "/dev/api/publish", b"{", 400, 107),
        ("POST", "/dev/api/publish", b"[]", 400, 107),
        ("POST", "/dev/api/publish", b'{"channel":1,"data":1}', 400, 107),
        ("POST", "/dev/api/publish", b'{"channel":"\xff","data":1}', 400, 107),
        ("POST", "/dev/api/publish", b'{"channel":"\\ud800","data":1}', 400, 107),
        ("POST", "/sandbox/login", b'{"user":""}', 422, 107),
        ("POST", "/dev/api/publish", b" " * (BODY_LIMIT + 1), 413, 404),
    ],
)
async def test_every_error_is_a_code_and_a_message(
    http: httpx.AsyncClient, method: str, path: str, body: bytes | None, status: int, code: int
) -> None:
    response = await http.request(method, path, content=body, headers=JSON)
    assert response.status_code == status, response.text
    assert response.json().keys() == {"code", "message"}
    assert response.json()["code"] == code
    assert response.json()["message"]


async def test_a_body_without_a_length_has_the_same_limit(http: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(BODY_LIMIT // 65536 + 2):
            yield b" " * 65536

    response = await http.post("/dev/api/publish", content=chunks(), headers=JSON)
    assert (response.status_code, response.json()["code"]) == (413, 404)


async def test_a_sandbox_code(http: httpx.AsyncClient) -> None:
    response = await http.post("/sandbox/login", json={"user": "alice"})
    assert response.status_code == 200
    assert response.json()["code"]


async def test_serve_has_no_page_and_no_desk() -> None:
    async for _, http in serve(dev=False):
        for path in ("/", "/dev/config", "/static/app.js"):
            assert (await http.get(path)).status_code == 404
        assert (await http.post("/dev/api/publish", json={"data": 1})).status_code == 404


def test_every_file_of_the_page_is_served_and_packaged() -> None:
    assert {path.name for path in STATIC.iterdir()} == set(FILES)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8001", "localhost.evil.example", "127.0.0.1.nip.io"]
)
async def test_a_name_that_was_bent_to_this_machine_signs_nobody_in(
    http: httpx.AsyncClient, host: str
) -> None:
    """DNS rebinding: for the browser, a page of the internet is then the page of what listens here."""
    for path, body in (("/sandbox/login", {"user": "alice"}), ("/dev/api/publish", {"data": 1})):
        answer = await http.post(path, json=body, headers={"Host": host})
        assert (answer.status_code, answer.json()["code"]) == (403, 103)


@pytest.mark.parametrize("host", ["localhost:8001", "127.0.0.1", "192.168.1.5:8001", "[::1]:8001"])
async def test_this_machine_under_its_own_names_works(http: httpx.AsyncClient, host: str) -> None:
    answer = await http.post("/sandbox/login", json={"user": "alice"}, headers={"Host": host})
    assert answer.status_code == 200


async def test_a_page_of_the_internet_may_not_drive_the_gateway_of_a_laptop(http: httpx.AsyncClient) -> None:
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    for origin, allowed in (
        ("http://evil.example", False),
        ("null", False),
        ("http://localhost:10086", True),
    ):
        answer = await http.options("/sandbox/login", headers={"Origin": origin, **asks})
        assert (answer.headers.get("access-control-allow-origin") == origin) is allowed, origin
