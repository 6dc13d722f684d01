"""The socket held against RFC 6455, with bytes that no library would send."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.gateway_process import GatewayProcess, unique
from tests.raw_ws import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    RawSocket,
    connect_command,
    frame,
    signed_in,
    text,
)

STATS = {"id": 9, "presence_stats": {"channel": "lobby:nobody"}}


# ---------------------------------------------------------------------------- messages
async def test_text_and_binary_frames_are_both_taken(gateway: GatewayProcess) -> None:
    async with await signed_in(gateway) as socket:
        for opcode in (TEXT, BINARY):
            await socket.send(frame(opcode, json.dumps(STATS).encode()))
            assert (await socket.reply())["id"] == 9


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_fragments_make_one_message(gateway: GatewayProcess, size: int) -> None:
    async with await RawSocket.open(gateway.websocket_port) as socket:
        message = connect_command()
        parts = [message[start : start + size] for start in range(0, len(message), size)]
        await socket.send(frame(TEXT, parts[0], fin=False))
        for part in parts[1:]:
            await socket.send(frame(CONTINUATION, part, fin=False))
        await socket.send(frame(CONTINUATION, b""))
        assert "connect" in await socket.reply()


async def test_pings_between_fragments_are_answered_at_once(gateway: GatewayProcess) -> None:
    async with await RawSocket.open(gateway.websocket_port) as socket:
        message = connect_command()
        await socket.send(frame(TEXT, message[:10], fin=False) + frame(PING, b"now"))
        assert await socket.frame() == Frame(PONG, b"now")
        await socket.send(frame(PONG, b"unasked") + frame(CONTINUATION, message[10:]))
        assert "connect" in await socket.reply()


@pytest.mark.parametrize("payload", [b"", b"x", b"x" * 125])
async def test_a_ping_gets_its_payload_back(gateway: GatewayProcess, payload: bytes) -> None:
    async with await signed_in(gateway) as socket:
        await socket.send(frame(PING, payload))
        assert await socket.frame() == Frame(PONG, payload)


async def test_an_unasked_pong_frame_is_nothing(gateway: GatewayProcess) -> None:
    async with await signed_in(gateway) as socket:
        await socket.send(frame(PONG, b"") + text(STATS))
        assert (await socket.reply())["id"] == 9


async def test_a_message_dribbled_byte_by_byte(gateway: GatewayProcess) -> None:
    async with await RawSocket.open(gateway.websocket_port) as socket:
        await socket.dribble(frame(TEXT, connect_command()))
        assert "connect" in await socket.reply()


async def test_many_frames_in_one_write_are_answered_in_order(gateway: GatewayProcess) -> None:
    async with await signed_in(gateway) as socket:
        await socket.send(b"".join(text(STATS | {"id": number}) for number in range(10, 210)))
        assert [(await socket.reply())["id"] for _ in range(200)] == list(range(10, 210))


async def test_a_thousand_pipelined_commands(gateway: GatewayProcess) -> None:
    """In frames of 20 commands, all sent before the first answer is read."""
    async with await signed_in(gateway) as socket:
        starts = range(10, 1_010, 20)
        frames = [text(*(STATS | {"id": number} for number in range(start, start + 20))) for start in starts]
        await socket.send(b"".join(frames))
        replies = [await socket.reply() for _ in range(1_000)]
        assert [reply["id"] for reply in replies] == list(range(10, 1_010))
        assert not [reply for reply in replies if "error" in reply]


async def test_frames_split_at_every_place(gateway: GatewayProcess) -> None:
    """A small frame, a big one, a ping and a fragment pair, cut in two at each byte in turn."""
    filler = {"id": 8, "presence_stats": {"channel": "lobby:" + "n" * 150}}
    data = text(STATS) + text(filler) + frame(PING, b"p")
    data += frame(TEXT, b'{"id":7,"presence_stats"', fin=False)
    data += frame(CONTINUATION, b':{"channel":"lobby:n"}}')
    async with await signed_in(gateway) as socket:
        for cut in range(1, len(data), 3):
            await socket.send(data[:cut])
            await asyncio.sleep(0)
            await socket.send(data[cut:])
            seen: list[object] = []
            while len(seen) < 4:
                got = await socket.frame()
                lines = got.payload.split(b"\n") if got.opcode == TEXT else []
                seen += [json.loads(line)["id"] for line in lines] or ["pong"]
            assert sorted(map(str, seen)) == ["7", "8", "9", "pong"], f"cut at {cut}"


async def test_a_message_of_no_bytes_is_a_frame_without_commands(gateway: GatewayProcess) -> None:
    async with await signed_in(gateway) as socket:
        await socket.send(frame(TEXT, b""))
        await socket.closed_with(3501)


# ---------------------------------------------------------------------------- violations
BAD_FRAMES = {
    "reserved bit 1": (frame(TEXT, b"{}", rsv=4), 1002),
    "reserved bit 2": (frame(TEXT, b"{}", rsv=2), 1002),
    "reserved bit 3": (frame(TEXT, b"{}", rsv=1), 1002),
    "reserved opcode 3": (frame(0x3, b"{}"), 1002),
    "reserved control opcode 11": (frame(0xB, b""), 1002),
    "unmasked": (frame(TEXT, b"{}", mask=b""), 1002),
    "unmasked ping": (frame(PING, b"", mask=b""), 1002),
    "ping of 126 bytes": (frame(PING, b"x" * 126), 1002),
    "close of 126 bytes": (frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002),
    "fragmented ping": (frame(PING, b"", fin=False), 1002),
    "continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "text inside a fragmented message": (frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"), 1002),
    "close payload of one byte": (frame(CLOSE, b"\x03"), 1002),
    "close code 999": (frame(CLOSE, (999).to_bytes(2)), 1002),
    "close code 1005": (frame(CLOSE, (1005).to_bytes(2)), 1002),
    "close code 1006": (frame(CLOSE, (1006).to_bytes(2)), 1002),
    "close code 5000": (frame(CLOSE, (5000).to_bytes(2)), 1002),
    "invalid utf-8": (frame(TEXT, b'{"id":9,"rpc":{"method":"\xff\xfe"}}'), 1007),
    "utf-8 cut off": (frame(TEXT, b"\xe4\xbd"), 1007),
    "utf-8 surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "utf-8 overlong": (frame(TEXT, b"\xc0\xaf"), 1007),
    "invalid utf-8 over two fragments": (
        frame(TEXT, b"\xe4\xbd", fin=False) + frame(CONTINUATION, b"x"),
        1007,
    ),
    "a size with the highest bit": (b"\x81\xff" + (1 << 63).to_bytes(8) + b"mask", None),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
async def test_a_violation_ends_the_connection(gateway: GatewayProcess, name: str) -> None:
    data, code = BAD_FRAMES[name]
    async with await signed_in(gateway) as socket:
        await socket.send(data)
        if code is None:
            end = await socket.closing()
            assert end.code in (1002, 1009)
            assert end.push
        else:
            await socket.closed_with(code)


@pytest.mark.parametrize("name", ["reserved bit 2", "unmasked", "invalid utf-8", "utf-8 cut off"])
async def test_a_violation_before_sign_in_says_so_too(gateway: GatewayProcess, name: str) -> None:
    data, code = BAD_FRAMES[name]
    assert code is not None
    async with await RawSocket.open(gateway.websocket_port) as socket:
        await socket.send(data)
        await socket.closed_with(code)


async def test_a_multibyte_character_may_be_cut_by_fragments(gateway: GatewayProcess) -> None:
    body = json.dumps({"id": 9, "rpc": {"method": "echo", "data": "早上好"}}, ensure_ascii=False).encode()
    cut = body.index("早".encode()) + 1
    async with await signed_in(gateway) as socket:
        await socket.send(frame(TEXT, body[:cut], fin=False) + frame(CONTINUATION, body[cut:]))
        assert (await socket.reply())["rpc"] == {"data": "早上好"}


@pytest.mark.parametrize("fragments", [1, 10])
async def test_a_message_over_the_limit(gateway: GatewayProcess, fragments: int) -> None:
    part = b"x" * (70_000 // fragments)
    async with await signed_in(gateway) as socket:
        for number in range(fragments):
            opcode = CONTINUATION if number else TEXT
            await socket.send(frame(opcode, part, fin=number == fragments - 1))
        end = await socket.closed_with(1009, to_eof=False)
        assert not [reply for reply in end.replies if "id" in reply]


async def test_the_header_of_a_huge_frame_is_enough(gateway: GatewayProcess) -> None:
    async with await signed_in(gateway) as socket:
        await socket.send(b"\x81\xff" + (1 << 40).to_bytes(8) + b"mask")
        await socket.closed_with(1009, to_eof=False)


async def test_a_message_at_the_limit_is_taken(gateway: GatewayProcess) -> None:
    command = json.dumps({"id": 9, "rpc": {"method": "echo", "data": ""}})
    command = command.replace('""', '"' + "x" * (64 * 1024 - len(command)) + '"')
    assert len(command) == 64 * 1024
    async with await signed_in(gateway) as socket:
        await socket.send(text(command))
        assert len((await socket.reply())["rpc"]["data"]) > 65_000


# ---------------------------------------------------------------------------- closing
@pytest.mark.parametrize(
    "payload", [b"", (1000).to_bytes(2), (1001).to_bytes(2) + "再见".encode(), b"\x0f\xa0"]
)
async def test_a_close_is_answered_with_the_same_code(gateway: GatewayProcess, payload: bytes) -> None:
    async with await signed_in(gateway) as socket:
        await socket.send(frame(CLOSE, payload))
        end = await socket.closing()
        assert end.push is None, "who goes needs no advice"
        assert end.code == (int.from_bytes(payload[:2]) if payload else end.code)
        assert end.code != 1006


async def test_nothing_is_answered_after_a_close(gateway: GatewayProcess) -> None:
    async with await signed_in(gateway) as socket:
        await socket.send(frame(CLOSE, (1000).to_bytes(2)) + text(STATS) + text(STATS))
        end = await socket.closing()
        assert end.replies == []
        assert end.code == 1000


async def test_commands_before_a_close_in_one_write_are_done(gateway: GatewayProcess) -> None:
    """Last words: an app that publishes and leaves has said what it said."""
    channel = unique("news")
    async with await signed_in(gateway) as other, await signed_in(gateway) as socket:
        for each in (other, socket):
            await each.call("subscribe", channel=channel)
        words = [text({"id": 9 + n, "publish": {"channel": channel, "data": n}}) for n in range(3)]
        await socket.send(b"".join(words) + frame(CLOSE, (1000).to_bytes(2)))
        assert (await socket.closing()).code == 1000
        assert [(await other.reply())["push"]["pub"]["data"] for _ in range(3)] == [0, 1, 2]


async def test_a_client_that_half_closes_is_let_go(gateway: GatewayProcess) -> None:
    async with await signed_in(gateway) as socket:
        socket.end()
        end = await socket.closing()
        assert end.code is None


async def test_the_server_does_not_wait_for_ever_for_the_answer_to_its_close(gateway: GatewayProcess) -> None:
    """A client that does not answer the close frame: the server hangs up by itself."""
    async with await signed_in(gateway) as socket:
        await socket.send(frame(TEXT, b"no json"))
        seen = []
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            while True:
                seen.append((await socket.frame()).opcode)
        assert seen[-1] == CLOSE
