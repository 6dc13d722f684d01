"""Content safety over real HTTP: texts before anybody reads them, files in quarantine until the verdict."""

from __future__ import annotations

import asyncio
import base64
import json
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.safety.texts import PORTION, TEXT_LIMIT, TooMuchText, is_file, portions, texts_of
from tests.file_world import picture
from tests.raw_ws import Json, RawSocket
from tests.redis_server import RedisServer
from tests.support_world import APP, CALLBACK_TOKEN, PATIENCE, Gate, gate, gates
from tests.timing import MS

OPEN = {
    "allow_subscribe_for_client": True,
    "allow_publish_for_client": True,
    "history_size": 100,
    "history_ttl": "1m",
}
CHANNELS = {
    **OPEN,
    "namespaces": {
        "chat": {**OPEN, "content_check": "text"},
        "post": {**OPEN, "content_check": "text", "content_check_fields": ["text", "reply.text"]},
        "wall": {**OPEN, "content_check": "all"},
    },
}


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Gate]:
    async with gate(channels=CHANNELS, files={"directory": str(tmp_path)}) as one:
        yield one


async def rules(world: Gate, **wanted: Any) -> None:
    answer = await world.http.post("/sandbox/safety", json=wanted)
    assert answer.status_code == 204, answer.text


async def checked(world: Gate) -> Json:
    return dict((await world.http.get("/sandbox/safety")).json())


async def fault(world: Gate, kind: str, api: str = "msg_sec_check", **more: Any) -> None:
    answer = await world.http.post("/sandbox/faults", json={"kind": kind, "api": api, **more})
    assert answer.status_code == 204, answer.text


async def heard(phone: RawSocket, what: str = "") -> Json:
    """The data of the next publication, of one that contains `what`."""
    async with asyncio.timeout(PATIENCE):
        while True:
            pub = (await phone.reply()).get("push", {}).get("pub")
            if pub is not None and what in json.dumps(pub["data"]):
                return dict(pub)


def outcomes(world: Gate, kind: str = "text") -> Json:
    counts = world.metrics._content_checks.items()
    return {outcome: count for (each, outcome), count in counts if count and each == kind}


# ---------------------------------------------------------------------------- which texts; pure
def test_all_strings_are_text_and_names_and_numbers_are_none() -> None:
    data = json.dumps(
        {"a": "one", "n": 1, "list": ["two", {"b": "three"}], "empty": " ", "none": None}
    ).encode()
    assert texts_of(data, ()) == ["one", "two", "three"]


def test_only_the_named_fields_are_text() -> None:
    data = json.dumps({"text": "yes", "id": "no", "reply": [{"text": "also", "id": "no"}, 7]}).encode()
    assert texts_of(data, ("text", "reply.text")) == ["yes", "also"]
    assert texts_of(b'"bare"', ("text",)) == []
    with pytest.raises(ValueError, match="nested"):
        texts_of(b"[" * 100_000 + b"]" * 100_000, ())


def test_a_name_that_stands_twice_hides_no_text() -> None:
    data = b'{"text":"shown by some readers","text":"shown by others","n":%s}' % (b"9" * 5000)
    for fields in ((), ("text",)):
        assert texts_of(data, fields) == ["shown by some readers", "shown by others"]


def test_portions_fit_and_cut_no_phrase_in_two() -> None:
    assert portions([]) == []
    assert portions(["a", "b"]) == ["a\nb"]
    long = "".join(chr(0x4E00 + number % 5000) for number in range(6_000))
    found = portions(["short", long])
    assert all(len(each) <= PORTION for each in found)
    for start in range(0, 6_000 - 50):
        assert any(long[start : start + 50] in each for each in found)
    with pytest.raises(TooMuchText):
        portions(["x" * (TEXT_LIMIT + 1)])


# ---------------------------------------------------------------------------- texts
async def test_a_text_reaches_others_only_if_it_passes(world: Gate) -> None:
    reader, _ = await world.mini_program("reader")
    await reader.call("subscribe", channel="chat:1")
    writer, _ = await world.mini_program("writer")
    for word, code in (("sandbox-risky", 440), ("sandbox-review", 441)):
        reply = await writer.call("publish", channel="chat:1", data={"text": f"a {word} text"})
        assert (reply["error"]["code"], reply["error"].get("temporary", False)) == (code, False)
    assert "publish" in await writer.call("publish", channel="chat:1", data={"text": "hello"})
    assert (await heard(reader))["data"] == {"text": "hello"}
    history = await world.result("history", channel="chat:1", limit=10)
    assert [each["data"]["text"] for each in history["publications"]] == ["hello"]
    assert outcomes(world) == {"pass": 1, "risky": 1, "review": 1}
    # A channel without the option asks nobody.
    assert "publish" in await writer.call("publish", channel="free", data="sandbox-risky")
    assert len((await checked(world))["texts"]) == 3


async def test_only_the_fields_that_are_text_are_checked(world: Gate) -> None:
    writer, _ = await world.mini_program("writer")
    data: Json = {"text": "hello", "id": "sandbox-risky", "reply": {"text": "sandbox-review"}}
    assert (await writer.call("publish", channel="post:1", data=data))["error"]["code"] == 441
    data["reply"]["text"] = "fine"
    assert "publish" in await writer.call("publish", channel="post:1", data=data)
    assert (await checked(world))["texts"] == ["hello\nsandbox-review", "hello\nfine"]


async def test_what_somebody_should_look_at_can_be_let_through(tmp_path: Path) -> None:
    safety = {"review": "pass"}
    async with gate(channels=CHANNELS, safety=safety, files={"directory": str(tmp_path)}) as world:
        writer, _ = await world.mini_program("writer")
        assert "publish" in await writer.call("publish", channel="chat:1", data="sandbox-review")
        assert (await writer.call("publish", channel="chat:1", data="sandbox-risky"))["error"]["code"] == 440


async def test_the_same_text_is_asked_once(world: Gate) -> None:
    writers = [(await world.mini_program(f"writer-{number}"))[0] for number in range(4)]
    await asyncio.gather(*(each.call("publish", channel="chat:1", data="good morning") for each in writers))
    assert "publish" in await writers[0].call("publish", channel="chat:1", data="good morning")
    assert (await checked(world))["texts"] == ["good morning"]
    checker = world.server._parts.safety.texts  # type: ignore[union-attr]
    assert not any("good morning" in str(each) for each in checker._known)


async def test_remembered_texts_are_bounded(tmp_path: Path) -> None:
    async with gate(channels=CHANNELS, safety={"cache_size": 3}, files={"directory": str(tmp_path)}) as world:
        writer, _ = await world.mini_program("writer")
        for number in range(6):
            await writer.call("publish", channel="chat:1", data=f"text {number}")
        assert len(world.server._parts.safety.texts) == 3  # type: ignore[union-attr]


async def test_long_texts_are_cut_and_too_long_ones_refused(world: Gate) -> None:
    writer, _ = await world.mini_program("writer")
    assert "publish" in await writer.call(
        "publish", channel="chat:1", data="".join(map(chr, range(0x4E00, 0x4E00 + 6_000)))
    )
    texts = (await checked(world))["texts"]
    assert len(texts) == 3
    assert all(len(each) <= 2500 for each in texts)
    hidden = "字" * 2_495 + "sandbox-risky" + "字" * 3_000
    assert (await writer.call("publish", channel="chat:1", data=hidden))["error"]["code"] == 440
    assert (await writer.call("publish", channel="chat:1", data="x" * 10_001))["error"]["code"] == 107


async def test_publications_of_one_client_keep_their_order(world: Gate) -> None:
    reader, _ = await world.mini_program("reader")
    await reader.call("subscribe", channel="chat:1")
    writer, _ = await world.mini_program("writer")
    await fault(world, "slow", seconds=0.2)
    for number in range(8):
        await writer.send_command("publish", channel="chat:1", data=f"text {number}")
    assert [(await heard(reader))["data"] for _ in range(8)] == [f"text {number}" for number in range(8)]


@pytest.mark.parametrize(("unavailable", "published"), [("refuse", False), ("pass", True)])
async def test_what_cannot_be_checked_is_decided_by_the_operator(
    tmp_path: Path, unavailable: str, published: bool
) -> None:
    safety = {"unavailable": unavailable, "timeout": "300ms"}
    async with gate(channels=CHANNELS, safety=safety, files={"directory": str(tmp_path)}) as world:
        writer, told = await world.mini_program("writer")
        by_jwt = await world.phone("web")
        await rules(world, away=[])
        for kind in ("bad_gateway", "html", "quota", "busy"):
            await fault(world, kind)
            reply = await writer.call("publish", channel="chat:1", data=f"while {kind}")
            assert ("publish" in reply) is published, reply
            if not published:
                assert (reply["error"]["code"], reply["error"]["temporary"]) == (442, True)
        assert ("publish" in await by_jwt.call("publish", channel="chat:1", data="a page")) is published
        await rules(world, away=[told["openid"]])
        assert ("publish" in await writer.call("publish", channel="chat:1", data="away")) is published
        assert outcomes(world) == {"unavailable": 4, "openid": 2}


async def test_wechats_quota_is_shared_by_all_nodes(redis: RedisServer, tmp_path: Path) -> None:
    redis.command("FLUSHALL")
    more: dict[str, Any] = {
        "channels": CHANNELS,
        "safety": {"calls_per_minute": 2},
        "files": {"directory": str(tmp_path)},
    }
    async with gates(redis.url, **more) as both:
        writers = [(await each.mini_program("writer"))[0] for each in both]
        while time.time() % 60 > 55:  # not over the end of a minute
            await asyncio.sleep(1)
        replies = [
            await writers[number % 2].call("publish", channel="chat:1", data=f"text {number}")
            for number in range(3)
        ]
        assert ["publish" in each for each in replies] == [True, True, False]
        assert replies[2]["error"]["code"] == 442


async def test_a_check_that_hangs_costs_its_sender_an_error_and_nobody_else_anything(tmp_path: Path) -> None:
    safety = {"timeout": "1s"}
    async with gate(channels=CHANNELS, safety=safety, files={"directory": str(tmp_path)}) as world:
        reader = await world.phone("reader", "news")
        writers = [(await world.mini_program(f"writer-{number}"))[0] for number in range(8)]

        async def p99() -> float:
            delays = []
            for number in range(150):
                began = time.perf_counter()
                await world.result("publish", channel="news", data=number)
                assert (await heard(reader))["data"] == number
                delays.append(time.perf_counter() - began)
            return statistics.quantiles(delays, n=100)[-1]

        quiet = await p99()
        await fault(world, "silence", times=1000, seconds=30)
        sent = [
            asyncio.create_task(each.call("publish", channel="chat:1", data=f"{place}"))
            for place, each in enumerate(writers)
        ]
        hanging = await p99()
        began = time.perf_counter()
        for reply in await asyncio.gather(*sent):
            assert reply["error"]["code"] == 442
        assert time.perf_counter() - began < 3_000 * MS
        # Whoever waited for the check would have waited for a second.
        assert hanging < 500 * MS, (quiet, hanging)
        print(f"p99 of other pushes: {quiet * 1000:.1f} ms, {hanging * 1000:.1f} ms while the check hangs")
        # The sign-in has connections and a breaker of its own.
        await world.mini_program("somebody else")


# ---------------------------------------------------------------------------- files
async def upload(
    world: Gate, token: str, content: bytes | None = None, name: str = "a.png", channel: str = "wall:1"
) -> httpx.Response:
    return await world.http.post(
        "/files",
        headers={"Authorization": f"Bearer {token}"},
        data={"channel": channel, "visibility": "channel"},
        files={"file": (name, picture("PNG") if content is None else content)},
    )


async def status(world: Gate, file: str, token: str, path: str = "") -> int:
    answer = await world.http.get(f"/files/{file}{path}", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code


async def readers(world: Gate) -> tuple[RawSocket, RawSocket, str, str]:
    """Who sends, who is in the channel, and their tokens."""
    reader, other = await world.mini_program("reader")
    await reader.call("subscribe", channel="wall:1")
    sender, told = await world.mini_program("sender")
    return sender, reader, told["token"], other["token"]


async def test_a_picture_is_unseen_until_wechat_has_looked_at_it(world: Gate) -> None:
    sender, reader, token, other = await readers(world)
    await rules(world, delay=0.5)
    answer = await upload(world, token)
    assert answer.status_code == 200, answer.text
    file = answer.json()
    assert file["state"] == "checking"
    for each in (token, other):
        assert await status(world, file["id"], each) == 404
    assert await status(world, file["id"], other, "/info") == 404
    about = await world.http.get(f"/files/{file['id']}/info", headers={"Authorization": f"Bearer {token}"})
    assert about.json()["state"] == "checking"
    link = await world.http.post(f"/files/{file['id']}/link", headers={"Authorization": f"Bearer {token}"})
    assert link.status_code == 404
    assert (await world.result("history", channel="wall:1", limit=10))["publications"] == []
    told = await heard(reader, "file")
    assert told["data"]["file"]["id"] == file["id"]
    assert "state" not in told["data"]["file"]
    assert (await heard(sender, '"state": "done"'))["data"]["id"] == file["id"]
    assert await status(world, file["id"], other) == 200
    assert (await checked(world))["files"][0].startswith(
        f"{world.http.base_url}/files/{file['id']}?inspect=1"
    )
    async with asyncio.timeout(PATIENCE):
        while outcomes(world, "media") != {"pass": 1}:
            await asyncio.sleep(10 * MS)
    assert outcomes(world, "text") == {"pass": 1}  # of the name


async def test_no_client_passes_a_file_off_as_one_that_was_looked_at(world: Gate) -> None:
    sender, _, _, _ = await readers(world)
    forged = {"type": "file", "file": {"id": "0" * 32, "type": "image/png"}}
    reply = await sender.call("publish", channel="wall:1", data=forged)
    assert reply["error"]["code"] == 107, reply
    for harmless in ({"type": "text", "text": "a file"}, {"file": "open"}, "file", [forged]):
        reply = await sender.call("publish", channel="wall:1", data=harmless)
        assert "publish" in reply, reply


@pytest.mark.parametrize(
    "data",
    [
        b' {"type":"file","file":{}}',
        b'{"type":"file","file":1,"type":"x"}',
        b'{"typ\\u0065":"fil\\u0065","file":{}}',
    ],
)
def test_a_file_is_known_however_it_is_spelt(data: bytes) -> None:
    assert is_file(data)


@pytest.mark.parametrize(("word", "reason"), [("sandbox-risky", "risky"), ("sandbox-review", "review")])
async def test_a_picture_that_is_refused_is_gone_and_its_sender_told(
    world: Gate, word: str, reason: str
) -> None:
    sender, _, token, _ = await readers(world)
    await rules(world, delay=0)  # the push may be here before the answer to the question
    file = (await upload(world, token, picture("PNG") + word.encode())).json()
    told = (await heard(sender, "refused"))["data"]
    assert (told["id"], told["type"], told["reason"]) == (file["id"], "upload", reason)
    assert await status(world, file["id"], token, "/info") == 404
    assert (await world.result("history", channel="wall:1", limit=10))["publications"] == []


@pytest.mark.parametrize(("late", "state"), [("delete", "refused"), ("release", "done")])
async def test_a_verdict_that_never_comes_has_a_deadline(tmp_path: Path, late: str, state: str) -> None:
    safety = {"media_timeout": "200ms", "media_late": late}
    async with gate(channels=CHANNELS, safety=safety, files={"directory": str(tmp_path)}) as world:
        sender, _, token, other = await readers(world)
        await rules(world, silent=True)
        file = (await upload(world, token)).json()
        media = world.server._parts.safety.media  # type: ignore[union-attr]
        assert await media.sweep() == 0
        await asyncio.sleep(300 * MS)
        assert await media.sweep() == 1
        assert (await heard(sender, state))["data"]["id"] == file["id"]
        assert await status(world, file["id"], other) == (404 if late == "delete" else 200)


async def test_what_wechat_cannot_check_does_not_go_in(world: Gate) -> None:
    _, _, token, _ = await readers(world)
    answer = await upload(world, token, b"just a text", "a.txt")
    assert (answer.status_code, answer.json()["code"]) == (403, 424)
    answer = await upload(world, token, name="sandbox-risky.png")
    assert (answer.status_code, answer.json()["code"]) == (403, 440)
    await fault(world, "bad_gateway", "media_check_async")
    answer = await upload(world, token)
    assert (answer.status_code, answer.json()["code"]) == (503, 442)
    assert not [each for each in Path(world.server._settings.files.directory).rglob("data")]
    # Elsewhere all of it may.
    assert (await upload(world, token, b"just a text", "a.txt", "free")).status_code == 200


async def test_only_wechats_own_link_opens_a_file_in_quarantine(world: Gate) -> None:
    _, _, token, _ = await readers(world)
    await rules(world, silent=True)
    file = (await upload(world, token)).json()
    url = (await checked(world))["files"][0]
    assert (await world.http.get(url)).content == picture("PNG")
    assert (await world.http.get(url[:-3] + "abc")).status_code == 404
    assert (await world.http.get(f"/files/{file['id']}?inspect=1")).status_code == 404
    assert (await world.http.get(url.replace("inspect=1&", ""))).status_code == 404


async def test_a_verdict_may_come_to_another_node_after_a_restart(redis: RedisServer, tmp_path: Path) -> None:
    redis.command("FLUSHALL")
    more: dict[str, Any] = {
        "channels": CHANNELS,
        "files": {"directory": str(tmp_path), "link_secret": "one for all nodes"},
    }
    async with gate(redis.url, **more) as first:
        _, told = await first.mini_program("sender")
        await rules(first, silent=True)
        file = (await upload(first, told["token"])).json()
        assert file["state"] == "checking"
    (trace,) = redis.command("HKEYS", "wxgw:media:{media}")
    async with gate(redis.url, **more) as second:
        reader, other = await second.mini_program("reader")
        await reader.call("subscribe", channel="wall:1")
        push = {
            "url": f"{second.http.base_url}/wx/callback/{APP}",
            "token": CALLBACK_TOKEN,
            "appid": APP,
            "message": {
                "MsgType": "event", "Event": "wxa_media_check", "appid": APP, "trace_id": trace, "version": 2,
                "CreateTime": int(time.time()), "FromUserName": told["openid"], "errcode": 0,
                "result": {"suggest": "pass", "label": 100},
            },
        }  # fmt: skip
        assert (await second.http.post("/sandbox/push", json=push)).json()["status"] == 200
        assert (await heard(reader, "file"))["data"]["file"]["id"] == file["id"]
        assert await status(second, file["id"], other["token"]) == 200
        async with asyncio.timeout(PATIENCE):
            while redis.command("HLEN", "wxgw:media:{media}"):
                await asyncio.sleep(10 * MS)


async def test_an_upload_in_pieces_goes_into_quarantine_too(world: Gate) -> None:
    sender, reader, token, other = await readers(world)
    content = picture("PNG")
    fields = {"channel": "wall:1", "filename": "a.png", "visibility": "channel"}
    metadata = ",".join(
        f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in fields.items()
    )
    headers = {"Authorization": f"Bearer {token}", "Tus-Resumable": "1.0.0"}
    size = {"Upload-Length": str(len(content)), "Upload-Metadata": metadata}
    made = await world.http.post("/files/resumable", headers=headers | size)
    assert made.status_code == 201, made.text
    kind = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    sent = await world.http.patch(made.headers["location"], headers=headers | kind, content=content)
    assert sent.status_code == 204, sent.text
    file = made.headers["location"].rpartition("/")[2]
    assert await status(world, file, other) == 404
    assert (await heard(reader, "file"))["data"]["file"]["id"] == file
    assert await status(world, file, other) == 200
    assert (await heard(sender, "done"))["data"]["id"] == file
