"""The dashboard over real HTTP: its login, who is let in, and what can be asked through it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from gateway.http import attempts
from gateway.http.attempts import Attempts
from gateway.http.cookie import COOKIE, Cookies
from gateway.http.page import FILES
from gateway.server import restart_needed
from tests.http_world import KEY, World, running_world, settings_for
from tests.rooms import Clock

PASSWORD = "correct horse battery"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    settings = settings_for(admin={"password": PASSWORD, "hosts": ["ops.example.com"]})
    async with running_world(settings) as running:
        yield running


async def log_in(world: World, password: str = PASSWORD, **headers: str) -> httpx.Response:
    return await world.http.post("/dashboard/login", json={"password": password}, headers=headers)


async def ask(world: World, method: str, params: object = None, **headers: str) -> httpx.Response:
    return await world.http.post(f"/dashboard/api/{method}", json=params or {}, headers=headers)


# ---------------------------------------------------------------------------- the page
async def test_the_page_and_all_its_files_are_there_before_the_login(world: World) -> None:
    moved = await world.http.get("/dashboard")
    assert (moved.status_code, moved.headers["location"]) == (308, "dashboard/")
    page = await world.http.get("/dashboard/")
    assert page.status_code == 200
    assert 'data-desk=""' in page.text, "its questions go below /dashboard/"
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "connect-src 'self';" in policy
    links = re.findall(r'(?:src|href)="(static/[^"]+)"', page.text)
    assert set(links) == {"static/app.js", "static/app.css"}
    for name in FILES:
        answer = await world.http.get(f"/dashboard/static/{name}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, FILES[name])
        again = await world.http.get(
            f"/dashboard/static/{name}", headers={"If-None-Match": answer.headers["etag"]}
        )
        assert (again.status_code, again.content) == (304, b"")


async def test_without_a_password_there_is_only_a_page_that_says_so() -> None:
    async with running_world() as world:
        assert (await world.http.get("/dashboard/")).status_code == 200
        assert (await world.http.get("/dashboard/config")).json() == {"access": "off"}
        assert (await log_in(world, "")).status_code == 404
        assert (await ask(world, "info")).status_code == 401
        forged = Cookies("", None, 60).make(0)
        assert (await ask(world, "info", Cookie=f"{COOKIE}={forged}")).status_code == 401


# ---------------------------------------------------------------------------- the login
async def test_the_right_password_opens_it_until_the_logout(world: World) -> None:
    assert (await world.http.get("/dashboard/config")).json() == {"access": "login"}
    answer = await log_in(world)
    assert (answer.status_code, answer.content) == (204, b"")
    cookie = answer.headers["set-cookie"]
    assert re.fullmatch(
        rf"{COOKIE}=[\w.-]+; Path=/dashboard; Max-Age=43200; HttpOnly; SameSite=Strict", cookie
    )
    config = (await world.http.get("/dashboard/config")).json()
    assert config["access"] == "open"
    assert {"stats", "publish", "disconnect"} <= set(config["methods"])
    (node,) = (await ask(world, "stats")).json()["result"]["nodes"]
    assert node["uid"] == "node-1"
    assert (await world.http.post("/dashboard/logout", json={})).status_code == 204
    assert (await ask(world, "stats")).status_code == 401


@pytest.mark.parametrize(
    "password", ["", "wrong", PASSWORD[:-1], PASSWORD + "x", PASSWORD.upper(), "正确", "x" * 900]
)
async def test_a_wrong_password_opens_nothing(world: World, password: str) -> None:
    with capture_logs() as logs:
        answer = await log_in(world, password)
    assert (answer.status_code, answer.json()["code"]) == (403, 103)
    assert "set-cookie" not in answer.headers
    assert logs == [{"event": "wrong password for the dashboard", "ip": "127.0.0.1", "log_level": "warning"}]
    assert (await ask(world, "info")).status_code == 401


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"password":1}', b'{"pass":"x"}', b"\xff", b"[" * 3000, b" " * 5000]
)
async def test_what_is_no_login_is_told_so(world: World, body: bytes) -> None:
    answer = await world.http.post("/dashboard/login", content=body, headers=JSON)
    assert answer.status_code == 400
    assert answer.json() == {"code": 107, "message": "a login has a password"}


async def test_after_five_wrong_passwords_the_right_one_has_to_wait(world: World) -> None:
    for _ in range(attempts.PER_ADDRESS):
        assert (await log_in(world, "wrong")).status_code == 403
    refused = await log_in(world)
    assert (refused.status_code, refused.json()["code"]) == (429, 111)
    assert 1 <= int(refused.headers["retry-after"]) <= attempts.MINUTE
    # Somebody else, seen through the proxy that is ours, is not made to wait for that.
    assert (await log_in(world, **{"X-Forwarded-For": "203.0.113.7"})).status_code == 204


def test_guesses_of_many_addresses_are_limited_together() -> None:
    clock = Clock()
    guesses = Attempts(clock)
    for number in range(attempts.PER_PROCESS):
        assert guesses.wait(f"10.0.0.{number}") == 0
        guesses.failed(f"10.0.0.{number}")
        clock.now += 0.5
    assert guesses.wait("10.0.1.1") == 30
    clock.now += 31
    assert guesses.wait("10.0.1.1") == 0


async def test_another_password_after_a_reload_logs_everybody_out(world: World) -> None:
    await log_in(world)
    changed = settings_for(admin={"password": "another long password"})
    assert "admin.password" not in restart_needed(settings_for(admin={"password": PASSWORD}), changed)
    world.dashboard.load(changed)
    assert (await ask(world, "info")).status_code == 401
    assert (await log_in(world)).status_code == 403
    assert (await log_in(world, "another long password")).status_code == 204
    assert (await ask(world, "info")).status_code == 200
    world.dashboard.load(settings_for())
    assert (await world.http.get("/dashboard/config")).json() == {"access": "off"}


# ---------------------------------------------------------------------------- the cookie
def test_a_cookie_opens_until_it_expires_and_in_every_process_with_the_same_password() -> None:
    value = Cookies(PASSWORD, None, 60).make(1000)
    other_process = Cookies(PASSWORD, None, 60)
    header = f"theme=dark; {COOKIE}={value}; more=1".encode()
    assert other_process.opens(header, 1059)
    assert not other_process.opens(header, 1060)
    assert not Cookies(PASSWORD + "!", None, 60).opens(header, 1001), "another password ends it"
    assert not Cookies(PASSWORD, b"k" * 32, 60).opens(header, 1001), "another session key too"


@pytest.mark.parametrize(
    "forge",
    [
        lambda value: "",
        lambda value: value[:-1],
        lambda value: value + "A",
        lambda value: "9" + value,
        lambda value: value.replace(".", ".A", 1),
        lambda value: value.rpartition(".")[0] + "." + "A" * 43,
        lambda value: "x" * 9000 + value,
    ],
)
def test_a_cookie_that_was_touched_opens_nothing(forge: Any) -> None:
    cookies = Cookies(PASSWORD, None, 60)
    value = cookies.make(1000)
    assert cookies.opens(f"{COOKIE}={value}".encode(), 1001)
    assert not cookies.opens(f"{COOKIE}={forge(value)}".encode(), 1001)


async def test_behind_tls_the_cookie_is_for_tls_alone(world: World) -> None:
    answer = await log_in(world, Host="ops.example.com", **{"X-Forwarded-Proto": "https"})
    assert answer.headers["set-cookie"].endswith("; Secure")


# ---------------------------------------------------------------------------- who may ask
@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:9000", "localhost.evil.example", "127.0.0.1.nip.io", "[::1]evil.example"],
)
async def test_a_name_that_was_bent_to_this_machine_gets_nothing(world: World, host: str) -> None:
    await log_in(world)
    for path in ("/dashboard/", "/dashboard/config", "/dashboard/static/app.js"):
        assert (await world.http.get(path, headers={"Host": host})).status_code == 403
    assert (await log_in(world, Host=host)).status_code == 403
    assert (await ask(world, "info", Host=host)).status_code == 403


@pytest.mark.parametrize(
    "host", ["localhost:9000", "127.0.0.1", "[::1]:9000", "10.0.0.5:9000", "OPS.example.com:8443"]
)
async def test_our_own_names_are_let_in(world: World, host: str) -> None:
    assert (await log_in(world, Host=host)).status_code == 204


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "text/plain; charset=application/json"},
    ],
)
async def test_a_page_of_somebody_else_does_nothing_with_our_cookie(
    world: World, headers: dict[str, str]
) -> None:
    await log_in(world)
    body = b'{"channel":"news","data":1}'
    for path in ("/dashboard/api/publish", "/dashboard/login", "/dashboard/logout"):
        answer = await world.http.post(path, content=body, headers=JSON | headers)
        assert (answer.status_code, answer.json()["code"]) == (403, 103), path
    assert (await world.result("history", {"channel": "news"}))["publications"] == []


async def test_the_page_itself_may_publish_and_is_written_down(world: World) -> None:
    await log_in(world)
    own = str(world.http.base_url)
    with capture_logs() as logs:
        answer = await ask(world, "publish", {"channel": "news", "data": 1}, Origin=own)
        await ask(world, "stats")
    assert answer.json()["result"]["offset"] == 1
    told = [(line["event"], line["method"], line["ip"]) for line in logs]
    assert told == [("from the dashboard", "publish", "127.0.0.1")], "reading is not worth a line"


async def test_no_api_key_is_good_here_and_no_cookie_there(world: World) -> None:
    assert (await ask(world, "info", **{"X-API-Key": KEY})).status_code == 401
    await log_in(world)
    assert (await world.http.post("/api/info", json={})).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/dashboard/nothing", 404),
        ("GET", "/dashboard/static/nothing", 404),
        ("GET", "/dashboard/static/..%2fpage.py", 404),
        ("POST", "/dashboard/", 405),
        ("GET", "/dashboard/login", 404),
        ("GET", "/dashboard/api/info", 405),
        ("POST", "/dashboard/api/nothing", 404),
        ("POST", "/dashboard/api/", 200),
        ("GET", "/dashboardx", 404),
    ],
)
async def test_what_is_not_there_is_answered_in_json(
    world: World, method: str, path: str, status: int
) -> None:
    await log_in(world)
    answer = await world.http.request(method, path, headers=JSON)
    assert answer.status_code == status
    assert answer.json()
