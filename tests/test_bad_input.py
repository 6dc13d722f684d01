"""Bad input through the real socket: the specified error, a live server, and no traceback in its log."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.gateway_process import GatewayProcess, token, unique
from tests.raw_ws import TEXT, RawSocket, frame, text


async def signed_in(gateway: GatewayProcess) -> RawSocket:
    socket = await RawSocket.open(gateway.websocket_port)
    await socket.connect(token(unique("bad")))
    return socket


# ---------------------------------------------------------------------------- what is no command
NO_COMMANDS: dict[str, bytes] = {
    "text": b"hello",
    "half an object": b'{"id":1,"rpc":{',
    "list": b"[]",
    "string": b'"connect"',
    "number": b"12",
    "null": b"null",
    "NaN": b'{"id":NaN}',
    "only line breaks": b"\n\n\n",
    "spaces": b"   ",
    "nul bytes": b"\x00\x00\x00",
    "two objects on a line": b'{"id":5,"rpc":{}}{"id":6,"rpc":{}}',
    "good line, then a bad one": b'{"id":5,"presence_stats":{"channel":"plain:x"}}\n}',
    "unknown method": b'{"id":5,"fly":{}}',
    "no method": b'{"id":5}',
    "two methods": b'{"id":5,"rpc":{},"publish":{"channel":"x","data":1}}',
    "no id": b'{"rpc":{}}',
    "id 0": b'{"id":0,"rpc":{}}',
    "id -1": b'{"id":-1,"rpc":{}}',
    "id 2^32": b'{"id":4294967296,"rpc":{}}',
    "id 10^400": b'{"id":1%b,"rpc":{}}' % (b"0" * 400),
    "id 1.5": b'{"id":1.5,"rpc":{}}',
    "id text": b'{"id":"5","rpc":{}}',
    "id null": b'{"id":null,"rpc":{}}',
    "id true": b'{"id":true,"rpc":{}}',
    "method is null": b'{"id":5,"subscribe":null}',
    "method is a list": b'{"id":5,"subscribe":[]}',
    "method is a text": b'{"id":5,"subscribe":"news"}',
    "deep nesting": b'{"id":5,"rpc":{"data":' + b"[" * 30_000 + b"]" * 30_000 + b"}}",
    "deep nesting without end": b"[" * 60_000,
    "deep nesting of objects": b'{"a":' * 12_000,
    "ping": b'{"id":5,"ping":{}}',
    "unasked pong": b"{}",
    "lone surrogate": b'{"id":5,"subscribe":{"channel":"\\ud800"}}',
    "empty channel": b'{"id":5,"subscribe":{"channel":""}}',
    "no channel": b'{"id":5,"subscribe":{}}',
    "publish without channel": b'{"id":5,"publish":{"data":1}}',
    "presence without channel": b'{"id":5,"presence":{}}',
    "presence_stats without channel": b'{"id":5,"presence_stats":{}}',
    "history without channel": b'{"id":5,"history":{}}',
    "unsubscribe without channel": b'{"id":5,"unsubscribe":{}}',
    "sub_refresh without channel": b'{"id":5,"sub_refresh":{"token":"x"}}',
    "unknown delta": b'{"id":5,"subscribe":{"channel":"plain:x","delta":"zip"}}',
    "refresh without token": b'{"id":5,"refresh":{}}',
    "second connect": b'{"id":5,"connect":{}}',
}


@pytest.mark.parametrize("name", NO_COMMANDS)
async def test_it_ends_a_signed_in_connection(gateway: GatewayProcess, name: str) -> None:
    async with await signed_in(gateway) as socket:
        await socket.send(frame(TEXT, NO_COMMANDS[name]))
        await socket.closed_with(3501)


@pytest.mark.parametrize("name", [name for name in NO_COMMANDS if name != "second connect"])
async def test_it_ends_a_connection_that_has_not_signed_in(gateway: GatewayProcess, name: str) -> None:
    async with await RawSocket.open(gateway.websocket_port) as socket:
        await socket.send(frame(TEXT, NO_COMMANDS[name]))
        await socket.closed_with(3501)


@pytest.mark.parametrize(
    "method",
    "subscribe unsubscribe publish presence presence_stats history rpc refresh sub_refresh".split(),
)
async def test_a_command_before_connect(gateway: GatewayProcess, method: str) -> None:
    async with await RawSocket.open(gateway.websocket_port) as socket:
        await socket.send(text({"id": 1, method: {"channel": "plain:x", "token": "x", "data": 1}}))
        await socket.closed_with(3501)


async def test_a_send_before_connect(gateway: GatewayProcess) -> None:
    async with await RawSocket.open(gateway.websocket_port) as socket:
        await socket.send(text({"send": {"data": 1}}))
        await socket.closed_with(3501)


async def test_two_connects_in_one_frame(gateway: GatewayProcess) -> None:
    async with await RawSocket.open(gateway.websocket_port) as socket:
        first = {"id": 1, "connect": {"token": token(unique("bad"))}}
        await socket.send(text(first, first | {"id": 2}))
        end = await socket.closed_with(3501)
        assert "connect" in end.replies[0]


async def test_a_command_after_a_refused_connect(gateway: GatewayProcess) -> None:
    async with await RawSocket.open(gateway.websocket_port) as socket:
        await socket.send(text({"id": 1, "connect": {"token": token("late", ttl=-10)}}))
        assert (await socket.reply())["error"]["code"] == 109
        await socket.send(text({"id": 2, "rpc": {}}))
        await socket.closed_with(3501)


async def test_ten_thousand_commands_in_one_frame(gateway: GatewayProcess) -> None:
    """64 KB hold so many only as `{}`: pongs that nobody asked for."""
    async with await signed_in(gateway) as socket:
        await socket.send(frame(TEXT, b"\n".join([b"{}"] * 10_000)))
        await socket.closed_with(3501)


async def test_as_many_commands_as_a_frame_holds(gateway: GatewayProcess) -> None:
    command = b'{"id":%d,"rpc":{}}'
    async with await signed_in(gateway) as socket:
        for start in (10, 3_010):
            await socket.send(frame(TEXT, b"\n".join(command % n for n in range(start, start + 3_000))))
        end = await socket.closed_with(3013)
        ids = [reply["id"] for reply in end.replies if "id" in reply]
        assert ids == list(range(10, 10 + len(ids))), "answered in order up to the end"


async def test_a_frame_of_a_megabyte(gateway: GatewayProcess) -> None:
    async with await signed_in(gateway) as socket:
        await socket.send(frame(TEXT, b'{"id":5,"rpc":{"data":"%b"}}' % (b"x" * 1_000_000)))
        await socket.closed_with(1009, to_eof=False)


async def test_one_id_twice_is_answered_twice(gateway: GatewayProcess) -> None:
    async with await signed_in(gateway) as socket:
        stats = {"id": 7, "presence_stats": {"channel": "lobby:x"}}
        await socket.send(text(stats, stats))
        assert [(await socket.reply())["id"] for _ in range(2)] == [7, 7]


async def test_the_highest_id_comes_back(gateway: GatewayProcess) -> None:
    async with await signed_in(gateway) as socket:
        await socket.send(text({"id": 2**32 - 1, "presence_stats": {"channel": "plain:x"}}))
        assert (await socket.reply())["id"] == 2**32 - 1


# ---------------------------------------------------------------------------- channels
@pytest.mark.parametrize(
    ("channel", "code"),
    [
        ("plain:" + "x" * 249, None),
        ("plain:" + "x" * 250, 107),
        ("x" * 10_000, 107),
        ("plain:new\nline", 107),
        ("plain:nul\x00", 107),
        ("plain:del\x7f", 107),
        ("plain:聊天", 107),
        ("plain:\u202e", 107),
        ("nowhere:x", 102),
        (":x", 102),
        ("$private", 103),
        ("team:room#somebody,else", 103),
        ("team:room#", 103),
        ("secret:x", 103),
    ],
)
async def test_channel_names(gateway: GatewayProcess, channel: str, code: int | None) -> None:
    async with await signed_in(gateway) as socket:
        reply = await socket.call("subscribe", channel=channel)
        assert reply.get("error", {}).get("code") == code, reply


async def test_subscribing_twice(gateway: GatewayProcess) -> None:
    async with await signed_in(gateway) as socket:
        await socket.call("subscribe", channel="plain:twice")
        assert (await socket.call("subscribe", channel="plain:twice"))["error"]["code"] == 105


async def test_one_channel_more_than_allowed(gateway: GatewayProcess) -> None:
    async with await signed_in(gateway) as socket:
        codes = [
            (await socket.call("subscribe", channel=f"plain:{number}")).get("error", {}).get("code")
            for number in range(130)
        ]
        assert codes[:126] == [None] * 126
        assert codes[-1] == 106


@pytest.mark.parametrize(
    ("method", "fields", "code"),
    [
        ("publish", {"channel": "plain:x", "data": 1}, 103),
        ("publish", {"channel": "chat:x", "data": 1}, 103),
        ("publish", {"channel": "nowhere:x", "data": 1}, 102),
        ("presence", {"channel": "plain:x"}, 108),
        ("presence", {"channel": "chat:x"}, 103),
        ("presence", {"channel": "nowhere:x"}, 102),
        ("presence_stats", {"channel": "plain:x"}, 108),
        ("history", {"channel": "plain:x", "limit": 1}, 108),
        ("history", {"channel": "chat:x", "limit": 1}, 103),
        ("history", {"channel": "nowhere:x"}, 102),
        ("rpc", {"method": "unknown"}, 104),
        ("rpc", {}, 104),
        ("subscribe", {"channel": "plain:x", "type": 1}, 108),
        ("subscribe", {"channel": "plain:x", "token": "x"}, 103),
        ("subscribe", {"channel": "plain:x", "token": "x.y.z"}, 103),
        ("sub_refresh", {"channel": "plain:x", "token": "x"}, 103),
    ],
)
async def test_what_may_not_be_done(
    gateway: GatewayProcess, method: str, fields: dict[str, Any], code: int
) -> None:
    async with await signed_in(gateway) as socket:
        reply = await socket.call(method, **fields)
        assert reply["error"]["code"] == code, reply
        assert reply["error"]["message"]


async def test_history_that_cannot_be(gateway: GatewayProcess) -> None:
    async with await signed_in(gateway) as socket:
        channel = unique("chat:history")
        await socket.call("subscribe", channel=channel)
        reply = await socket.call("history", channel=channel, since={"offset": 1, "epoch": "no"})
        assert reply["error"]["code"] == 112
        reply = await socket.call("history", channel=channel, reverse=True, since={"offset": 0, "epoch": ""})
        assert reply["error"]["code"] == 107


async def test_a_send_that_nobody_takes(gateway: GatewayProcess) -> None:
    async with await signed_in(gateway) as socket:
        await socket.send(text({"send": {"data": {"a": 1}}}))
        await socket.closed_with(3508)


# ---------------------------------------------------------------------------- everything of the wrong type
FIELDS: dict[str, tuple[str, ...]] = {
    "connect": ("token", "data", "subs", "name", "version", "headers"),
    "subscribe": (
        "channel",
        "token",
        "recover",
        "offset",
        "epoch",
        "data",
        "positioned",
        "join_leave",
        "delta",
    ),
    "unsubscribe": ("channel",),
    "publish": ("channel", "data"),
    "presence": ("channel",),
    "presence_stats": ("channel",),
    "history": ("channel", "limit", "since", "reverse"),
    "rpc": ("method", "data"),
    "refresh": ("token",),
    "sub_refresh": ("channel", "token"),
}
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 2**31, 2**63, 2**64, 10**30, 1e308, "", "x", "\x00", "代码" * 50,
    "x" * 300, [], [1], [[]], {}, {"": None}, {"a": {"b": []}}, {"offset": "x"}, {"offset": -1},
    {"epoch": 5},
)  # fmt: skip


def odd_command(random_: random.Random) -> dict[str, Any]:
    method = random_.choice(list(FIELDS))
    names = random_.sample(FIELDS[method], random_.randint(1, len(FIELDS[method])))
    fields = {name: random_.choice(ODD_VALUES) for name in names}
    return {"id": random_.choice((1, 2, 77, 2**32 - 1)), method: fields}


@pytest.mark.parametrize("seed", range(8))
async def test_fields_of_every_wrong_type(gateway: GatewayProcess, seed: int) -> None:
    """Whatever is sent, the answer is a reply or a close that says why, and the next client is served."""
    random_ = random.Random(seed)
    for _ in range(40):
        anonymous = random_.random() < 0.2
        opened = RawSocket.open(gateway.websocket_port) if anonymous else signed_in(gateway)
        async with await opened as socket:
            command = odd_command(random_)
            await socket.send(text(command) + text({"id": 99, "fly": {}}))
            end = await socket.closing()
            end.check_advice()
            assert end.code in (3500, 3501, 3507), (command, end)
            own = [reply for reply in end.replies if "id" in reply]
            assert all(reply["id"] == command["id"] for reply in own), (command, end)


@pytest.mark.parametrize("seed", range(4))
async def test_random_bytes(gateway: GatewayProcess, seed: int) -> None:
    """Pure noise, and good frames with a byte changed: answered, closed with the reason, or waited for."""
    random_ = random.Random(seed)
    for _ in range(30):
        if random_.random() < 0.5:
            noise = random_.randbytes(random_.randint(1, 400))
        else:
            good = bytearray(text(odd_command(random_)))
            good[random_.randrange(len(good))] = random_.randrange(256)
            noise = bytes(good)
        async with await RawSocket.open(gateway.websocket_port) as socket:
            await socket.send(noise + text({"id": 5, "fly": {}}))
            socket.end()
            end = await socket.closing()
            if end.code is not None and end.replies:
                end.check_advice()
