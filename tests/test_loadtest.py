"""The load test against a real gateway: each scenario counts what it should, and a faulty server fails it."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import ssl
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.auth.token_maker import make_token
from gateway.config.units import MB
from gateway.loadtest import scenario as scenarios
from gateway.loadtest.result import Result
from gateway.loadtest.run import Run, RunError
from gateway.loadtest.target import Target
from tests.certificates import Authority
from tests.dev_gateway import DevGateway, dev_gateway
from tests.faulty_proxy import FaultyProxy
from tests.gateway_process import ROOT
from tests.timing import MS

SECRET = "a secret of the load test's tests"
COMMAND = (sys.executable, "-m", "gateway", "dev", "gateway.loadtest.handlers")
PATIENCE = 40_000 * MS
SHIPPED = {name: scenarios.load(name) for name in scenarios.shipped()}
ROOMS = scenarios.text_of("rooms")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevGateway]:
    folder = Path(tmp_path_factory.mktemp("loadtest"))
    with dev_gateway(
        folder, COMMAND, GATEWAY_CLIENT__TOKEN_HMAC_SECRET=SECRET, GATEWAY_SHUTDOWN__DRAIN="0s"
    ) as gateway:
        yield gateway


@pytest.fixture
def target(running: DevGateway) -> Target:
    websocket, http, internal = running.ports
    return Target(
        url=f"ws://127.0.0.1:{websocket}",
        http=f"http://127.0.0.1:{http}",
        api=f"http://127.0.0.1:{internal}/api",
        key="dev",
    )


def small(name: str, clients: int = 20, **changes: Any) -> scenarios.Scenario:
    """A shipped scenario with few clients, for a second."""
    values = copy.deepcopy(SHIPPED[name])
    values["clients"]["count"] = clients
    values |= {"duration": "1s", "settle": "1s", **changes}
    return scenarios.check(values)


async def run(scenario: scenarios.Scenario, target: Target, processes: int = 1) -> Result:
    async with asyncio.timeout(PATIENCE):
        return await Run(scenario, target, processes, lambda _: None).run()


def check(result: Result) -> None:
    assert result.passed, (result.checks, result.total.errors)
    assert result.total.errors == {}
    assert not result.never_connected


# ---------------------------------------------------------------------------- the scenarios
async def test_idle_holds_all_and_ends_them(target: Target) -> None:
    result = await run(small("idle"), target)
    check(result)
    assert result.server["gateway_connections"] >= 20
    assert result.total.connects == result.total.attempts == 20


async def test_each_subscriber_gets_each_publication(target: Target) -> None:
    result = await run(small("fanout"), target, processes=2)
    check(result)
    assert result.total.published == 10
    assert result.total.messages == 10 * 20
    assert result.times["latency"].count == 200


async def test_rooms_and_ramp_and_personal_messages_go_to_whom_they_are_for(target: Target) -> None:
    rooms, ramp, personal = await asyncio.gather(
        run(small("rooms"), target), run(small("ramp"), target), run(small("personal"), target)
    )
    for result in (rooms, ramp, personal):
        check(result)
    assert rooms.total.messages == rooms.total.published * 20  # 20 clients are one room of 50
    assert personal.total.messages == personal.total.published == 200
    assert 0 < ramp.total.messages <= ramp.total.published * 20


async def test_calls_and_files_are_answered(target: Target) -> None:
    calls, files = await asyncio.gather(run(small("rpc"), target), run(small("files"), target))
    check(calls)
    check(files)
    assert calls.total.answers == calls.total.rpcs > 400
    assert files.total.downloads == files.total.uploads >= 9


async def test_a_storm_is_over_when_everybody_has_what_was_missed(target: Target) -> None:
    values = {"storm": {"after": "300ms", "within": "300ms", "rounds": 3}, "duration": "2s"}
    storm = small("storm", 100, **values, publish=[{"channel": "load-news", "per_second": 50}])
    result = await run(storm, target)
    check(result)
    assert [each.dropped for each in result.storms] == [100] * 3
    assert result.back is not None
    assert result.back < 15
    assert result.wechat_calls == 0
    assert result.total.connects == 400
    assert result.memory_growth is not None
    assert result.memory_growth < 5 * MB, "who is gone leaves nothing"
    assert result.total.caught_up > 0
    assert result.total.messages + result.total.caught_up == result.total.published * 100


async def test_slow_clients_are_let_go_and_the_others_miss_nothing(target: Target) -> None:
    publish = [{"channel": "load-news", "per_second": 40, "size": "250KB"}]
    result = await run(small("slow", 20, publish=publish, duration="2s"), target)
    check(result)
    assert result.total.slow_closed == 1
    assert result.total.messages == result.total.published * 19


async def test_a_shop_in_the_evening_with_clients_that_come_and_go(target: Target) -> None:
    shop = small("mixed", 30, churn={"per_minute": 1.0, "away": "200ms"}, duration="4s")
    result = await run(shop, replace(target, way="secret", secret=SECRET))
    # Files belong to sessions, which a JWT is not.
    result.total.errors.pop("upload: HTTP 401", None)
    assert not result.total.errors
    assert result.total.lost == result.total.duplicated == result.total.reordered == 0
    assert result.total.connects > 30, "some left and came back"
    assert result.total.answers == result.total.rpcs


def test_wss_is_verified_and_driven(target: Target, tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir()
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("localhost")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(pair.cert, pair.key)

    async def drive() -> None:
        async with FaultyProxy(int(target.url.rpartition(":")[2]), "none", server) as proxy:
            there = replace(target, url=f"wss://localhost:{proxy.port}")
            with pytest.raises(RunError, match="CERTIFICATE_VERIFY_FAILED: give --ca, or --insecure"):
                await run(small("idle"), there)
            check(await run(small("fanout"), replace(there, ca=str(authority.root))))
            check(await run(small("idle", 3), replace(there, verify=False)))

    asyncio.run(drive())


async def test_tokens_of_a_file_sign_in_and_sockets_come_from_given_addresses(target: Target) -> None:
    tokens = tuple(make_token(SECRET, {"sub": f"filed-{number}"}) for number in range(5))
    sources = ("127.0.0.2", "127.0.0.3")
    check(await run(small("idle", 5), replace(target, way="tokens", tokens=tokens, sources=sources)))


# ---------------------------------------------------------------------------- a server with faults
COUNTED = {"drops": "lost", "doubles": "duplicated", "reorders": "reordered"}


async def command(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "loadtest", *arguments,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    return await process.wait(), out.decode(), err.decode()


def on_its_own(fault: str, **limits: Any) -> dict[str, Any]:
    """A channel for each fault: the proxies would count each other's messages."""
    channel = f"load-{fault}"
    return {
        "name": "mine",
        "duration": "2s",
        "settle": "500ms",
        "clients": {"count": 20},
        "subscribe": [{"channel": channel}],
        "publish": [{"channel": channel, "per_second": 50}],
        "pass": {"lost": 0, "duplicated": 0, "reordered": 0, "errors": 0, **limits},
    }


async def through(fault: str, target: Target, **limits: Any) -> tuple[Result, int]:
    """What the load test says behind a proxy with this fault, and how often the proxy did it."""
    async with FaultyProxy(int(target.url.rpartition(":")[2]), fault) as proxy:
        there = replace(target, url=f"ws://127.0.0.1:{proxy.port}")
        return await run(scenarios.check(on_its_own(fault, **limits)), there), proxy.hurt


def failed(result: Result) -> list[str]:
    return [each.name for each in result.checks if not each.passed]


async def test_messages_that_a_server_loses_doubles_or_swaps_fail_it_each_counted(target: Target) -> None:
    for fault, (result, hurt) in zip(
        COUNTED, await asyncio.gather(*(through(fault, target) for fault in COUNTED)), strict=True
    ):
        assert failed(result) == [COUNTED[fault]], (fault, result.checks)
        assert getattr(result.total, COUNTED[fault]) == hurt > 0, "each is counted, none is guessed"


async def test_a_server_that_stalls_fails_by_its_p99_and_one_that_does_not_passes(target: Target) -> None:
    limit = 150 * MS
    stalling, _ = await through("stalls", target, p99=limit)
    assert failed(stalling) == ["p99"]
    sound, _ = await through("none", target, p99=limit)
    assert not failed(sound), sound.checks
    assert sound.total.messages == 100 * 20


async def test_the_command_ends_with_1_and_names_what_failed(target: Target, tmp_path: Path) -> None:
    scenario = tmp_path / "my.toml"
    scenario.write_text(
        'name = "mine"\nduration = "1s"\nsettle = "200ms"\n[clients]\ncount = 20\n'
        '[[subscribe]]\nchannel = "load-mine"\n[[publish]]\nchannel = "load-mine"\nper_second = 50\n'
    )
    async with FaultyProxy(int(target.url.rpartition(":")[2]), "drops") as proxy:
        code, out, err = await command(
            "--scenario", str(scenario), "--url", f"ws://127.0.0.1:{proxy.port}",
            "--http", target.http, "--api", target.api, "--api-key", "dev", "--json", "-", "--lost", "0",
        )  # fmt: skip
        assert code == 1, err
        assert f"FAIL  lost {proxy.hurt}, allowed 0" in err
        assert json.loads(out)["total"]["lost"] == proxy.hurt > 0


# ---------------------------------------------------------------------------- mistakes of whoever uses it
async def test_what_cannot_begin_says_why(target: Target) -> None:
    with pytest.raises(RunError, match="HTTP 401: give its --api-key"):
        await run(small("fanout"), replace(target, key="wrong"))
    with pytest.raises(RunError, match="is the gateway running"):
        await run(small("idle"), replace(target, url="ws://127.0.0.1:1"))
    with pytest.raises(RunError, match="--secret, --tokens or --anonymous"):
        await run(small("idle"), replace(target, http=target.api.removesuffix("/api")))


async def test_refusals_are_errors_by_code(target: Target) -> None:
    result = await run(small("idle", 3, subscribe=[{"channel": "no-such-namespace:x"}]), target)
    assert result.total.errors == {"subscribe: error 102 unknown channel": 3}
    assert [each.name for each in result.checks if not each.passed] == ["errors"]


async def test_by_itself_it_starts_a_gateway_and_writes_a_page(tmp_path: Path) -> None:
    page, values = tmp_path / "page.html", tmp_path / "all.json"
    code, _, err = await command(
        "fanout", "--start", "-n", "20", "--duration", "1s", "--html", str(page), "--json", str(values)
    )
    assert code == 0, err
    assert "pass  lost 0, allowed 0" in err
    text = page.read_text()
    assert text.count("<svg") >= 4
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "<script" not in text
    assert json.loads(values.read_text())["total"]["messages"] == 200


async def test_another_machine_needs_a_word() -> None:
    code, _, err = await command("idle", "--url", "wss://gateway.example.com")
    assert code == 2
    assert "--yes-this-is-mine" in err


async def test_a_printed_scenario_can_be_run_as_it_is() -> None:
    code, out, _ = await command("--print-scenario", "rooms")
    assert code == 0
    assert out == ROOMS
