"""The checker itself: its short run, and that it is not content with records that were spoilt."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from chaos.proxy import Proxy
from chaos.tamper import TAMPER
from chaos.team import ROOT
from chaos.verdict import Accepted, Record, Stay, Verdict, judge
from tests.timing import MS

SHORT_RUN = 240_000 * MS
"""Seconds for a run that takes about 45 on an idle machine; faults last as long as they last."""


@pytest.fixture(scope="module")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Each fault once: exit code, output, what was accepted and what was heard."""
    file = tmp_path_factory.mktemp("chaos") / "run.json"
    done = subprocess.run(
        [ROOT / "scripts" / "chaos", "--short", "--save", file],
        capture_output=True,
        text=True,
        timeout=SHORT_RUN,
    )
    saved = json.loads(file.read_text()) if file.exists() else {"accepted": [], "records": []}
    accepted = [Accepted(**each) for each in saved["accepted"]]
    records = [Record.from_json(each) for each in saved["records"]]
    output = done.stdout + done.stderr
    return {"code": done.returncode, "output": output, "accepted": accepted, "records": records}


@pytest.mark.timeout(260)
def test_nothing_is_lost_whatever_fails(short_run: dict[str, Any]) -> None:
    assert short_run["code"] == 0, short_run["output"]
    assert len(short_run["accepted"]) > 1000
    assert len(short_run["records"]) == 8 * 50
    assert not judge(short_run["accepted"], short_run["records"]).problems


@pytest.mark.timeout(260)
@pytest.mark.parametrize("kind", TAMPER)
def test_a_spoilt_record_is_noticed(short_run: dict[str, Any], kind: str) -> None:
    """The same run, but the checker's own view of it is wrong."""
    for seed in range(5):
        records = deepcopy(short_run["records"])
        TAMPER[kind](records, random.Random(seed))
        assert judge(short_run["accepted"], records).problems, f"{kind}, seed {seed}"


# ---------------------------------------------------------------------------- the verdict
ACCEPTED = [Accepted("a", 100 + offset, "e", offset, 0.0) for offset in range(1, 6)]
ALL = [(offset, 100 + offset) for offset in range(1, 6)]


def verdict(*stays: Stay, accepted: list[Accepted] = ACCEPTED) -> Verdict:
    return judge(accepted, [Record("alice", "a", list(stays))])


def kinds(*stays: Stay, accepted: list[Accepted] = ACCEPTED) -> list[str]:
    return sorted(problem.kind for problem in verdict(*stays, accepted=accepted).problems)


def test_what_is_right() -> None:
    assert kinds(Stay("e", 0, 0.0, ALL)) == []
    assert kinds(Stay("e", 3, 0.0, ALL[3:])) == []
    assert len(verdict(Stay("e", 0, 0.0, ALL)).delivered) == 5


def test_a_lost_stream_ends_a_stay_and_is_counted() -> None:
    accepted = [*ACCEPTED, Accepted("a", 106, "f", 1, 0.0)]
    stays = Stay("e", 0, 0.0, ALL[:3]), Stay("f", 0, 7.0, [(1, 106)])
    assert kinds(*stays, accepted=accepted) == []
    assert verdict(*stays, accepted=accepted).resyncs == [7.0]


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        (ALL[:4], ["missing"]),
        (ALL[:1] + ALL[2:], ["missing"]),
        ([*ALL, ALL[2]], ["duplicated"]),
        ([ALL[1], ALL[0], *ALL[2:]], ["reordered"]),
        ([*ALL[:4], (5, 999)], ["wrong"]),
        ([*ALL, (6, 105)], ["duplicated"]),
        ([], ["missing"] * 5),
    ],
)
def test_what_is_wrong(heard: list[tuple[int, int]], expected: list[str]) -> None:
    assert kinds(Stay("e", 0, 0.0, heard)) == expected


def test_a_gap_that_is_passed_off_as_a_resync() -> None:
    assert kinds(Stay("e", 0, 0.0, ALL[:2]), Stay("e", 3, 1.0, ALL[3:])) == ["missing", "needless"]


def test_a_stream_that_goes_on_as_another_without_a_word() -> None:
    accepted = [*ACCEPTED, Accepted("a", 106, "f", 1, 0.0), Accepted("a", 107, "f", 2, 0.0)]
    assert "wrong" in kinds(Stay("e", 0, 0.0, [*ALL, (1, 106), (2, 107)]), accepted=accepted)


def test_a_record_without_a_subscribe() -> None:
    record = Record("alice", "a")
    record.heard(1, 101)
    assert [problem.kind for problem in judge(ACCEPTED, [record]).problems] == ["wrong"]


def test_records_survive_being_saved() -> None:
    record = Record("alice", "a", [Stay("e", 0, 1.5, list(ALL))], 2)
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_a_subscribe_that_recovered_goes_on_with_the_stay() -> None:
    record = Record("alice", "a")
    record.subscribed("e", 0, False, 1.0)
    record.heard(1, 101)
    record.subscribed("e", 1, True, 2.0)
    record.heard(2, 102)
    record.subscribed("f", 0, False, 3.0)
    assert [(stay.epoch, stay.heard) for stay in record.stays] == [("e", [(1, 101), (2, 102)]), ("f", [])]


# ---------------------------------------------------------------------------- the proxy
async def talk(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"SUBSCRIBE one\n")
    assert await asyncio.wait_for(reader.readline(), 5_000 * MS) == b"SUBSCRIBE one\n"
    return reader, writer


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether a line does not come back."""
    writer.write(b"two\n")
    try:
        return await asyncio.wait_for(reader.readline(), 100 * MS) == b""
    except TimeoutError:
        return True


@pytest.mark.parametrize("trouble", ["cut", "swallow", "hold"])
async def test_the_proxy_misbehaves_on_command(trouble: str) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = Proxy(server.sockets[0].getsockname()[1])
    await proxy.open()
    actions: dict[str, Callable[[], Any]] = {
        "cut": proxy.cut,
        "swallow": proxy.swallow,
        "hold": proxy.hold_messages,
    }
    reader, writer = await talk(proxy.port)
    try:
        held = actions[trouble]()
        if trouble == "cut":
            with pytest.raises(ConnectionError):
                await reader.read()
        else:
            assert await silent(reader, writer)
        if trouble == "hold":
            proxy.release(held)
            assert await asyncio.wait_for(reader.readline(), 5_000 * MS) == b"two\n"
        _, other = await talk(proxy.port)
        other.close()
    finally:
        writer.close()
        await proxy.close()
        server.close()
        await server.wait_closed()
