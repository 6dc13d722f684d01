"""The opening handshake, with requests that no browser would send."""

from __future__ import annotations

import asyncio
import json
import zlib

import pytest

from tests.gateway_process import GatewayProcess, token
from tests.raw_ws import (
    CONTINUATION,
    PATIENCE,
    TEXT,
    RawSocket,
    connect_command,
    frame,
    http_exchange,
    request,
    signed_in,
)


async def test_a_plain_get_is_told_what_this_is(gateway: GatewayProcess) -> None:
    head = b"GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\n\r\n"
    status, headers, body = await http_exchange(gateway.websocket_port, head)
    assert status == 426
    assert headers["upgrade"].lower() == "websocket"
    assert "websocket" in body.lower()
    assert int(headers["content-length"]) == len(body.encode())


@pytest.mark.parametrize("missing", ["Upgrade", "Connection"])
async def test_no_upgrade_without_asking_for_it(gateway: GatewayProcess, missing: str) -> None:
    status, _, _ = await http_exchange(
        gateway.websocket_port, request(gateway.websocket_port, without=missing)
    )
    assert status == 426


@pytest.mark.parametrize("key", ["", "short", "not base64 at all!", "dGhlIHNhbXBsZQ==", "x" * 200])
async def test_a_bad_key_is_a_bad_request(gateway: GatewayProcess, key: str) -> None:
    head = request(gateway.websocket_port, Sec_WebSocket_Key=key)
    status, _, body = await http_exchange(gateway.websocket_port, head)
    assert status == 400
    assert body


async def test_no_key_is_a_bad_request(gateway: GatewayProcess) -> None:
    head = request(gateway.websocket_port, without="Sec-WebSocket-Key")
    assert (await http_exchange(gateway.websocket_port, head))[0] == 400


@pytest.mark.parametrize("version", ["8", "0", "abc", "99999999999999999999"])
async def test_another_version_is_refused(gateway: GatewayProcess, version: str) -> None:
    head = request(gateway.websocket_port, Sec_WebSocket_Version=version)
    status, _, _ = await http_exchange(gateway.websocket_port, head)
    assert status in (400, 426)


async def test_another_path_is_not_found(gateway: GatewayProcess) -> None:
    status, _, body = await http_exchange(gateway.websocket_port, request(gateway.websocket_port, "/chat"))
    assert status == 404
    assert body


@pytest.mark.parametrize("method", ["POST", "HEAD", "DELETE"])
async def test_other_methods_are_refused(gateway: GatewayProcess, method: str) -> None:
    head = request(gateway.websocket_port).replace(b"GET", method.encode(), 1)
    status, _, _ = await http_exchange(gateway.websocket_port, head)
    assert status in (400, 405)


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), b"\r\n\r\n"])
async def test_what_is_no_http_is_hung_up_on(gateway: GatewayProcess, junk: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.websocket_port)
    writer.write(junk + b"\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        answer = await reader.read()
    writer.close()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer


async def test_a_head_without_end_is_hung_up_on(gateway: GatewayProcess) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.websocket_port)
    try:
        writer.write(b"GET / HTTP/1.1\r\n" + b"X-Long: " + b"x" * 1_000_000)
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read()
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer
    except ConnectionError:
        pass
    finally:
        writer.close()


async def test_the_subprotocol_is_echoed_when_offered(gateway: GatewayProcess) -> None:
    async with await signed_in(gateway, Sec_WebSocket_Protocol="centrifuge-json") as socket:
        assert socket.headers["sec-websocket-protocol"] == "centrifuge-json"


async def test_no_subprotocol_when_none_is_offered(gateway: GatewayProcess) -> None:
    async with await signed_in(gateway) as socket:
        assert "sec-websocket-protocol" not in socket.headers


async def test_ours_is_chosen_among_others(gateway: GatewayProcess) -> None:
    async with await signed_in(gateway, Sec_WebSocket_Protocol="chat, centrifuge-json") as socket:
        assert socket.headers["sec-websocket-protocol"] == "centrifuge-json"


async def test_a_handshake_that_comes_byte_by_byte(gateway: GatewayProcess) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.websocket_port)
    socket = RawSocket(reader, writer)
    async with socket:
        await socket.dribble(request(gateway.websocket_port))
        async with asyncio.timeout(PATIENCE):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        await socket.connect(token("dribble"))


async def test_commands_right_behind_the_handshake(gateway: GatewayProcess) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.websocket_port)
    async with RawSocket(reader, writer) as socket:
        await socket.send(request(gateway.websocket_port) + frame(TEXT, connect_command()))
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(b"\r\n\r\n")
        assert "connect" in await socket.reply()


async def test_deflate_is_used_when_offered_and_understood_both_ways(gateway: GatewayProcess) -> None:
    async with await RawSocket.open(
        gateway.websocket_port,
        Sec_WebSocket_Extensions="permessage-deflate; client_no_context_takeover; server_no_context_takeover",
    ) as socket:
        accepted = socket.headers.get("sec-websocket-extensions", "")
        assert accepted.startswith("permessage-deflate")
        assert "server_no_context_takeover" in accepted
        squeeze = zlib.compressobj(wbits=-15)
        body = squeeze.compress(connect_command()) + squeeze.flush(zlib.Z_SYNC_FLUSH)
        await socket.send(frame(TEXT, body[:-4], rsv=4))
        got = await socket.frame()
        payload = got.payload
        if got.rsv & 4:
            payload = zlib.decompressobj(wbits=-15).decompress(payload + b"\x00\x00\xff\xff")
        assert "connect" in json.loads(payload.split(b"\n")[0])


@pytest.mark.parametrize("parts", [1, 3])
async def test_a_small_frame_that_unpacks_to_a_huge_message(gateway: GatewayProcess, parts: int) -> None:
    async with await RawSocket.open(
        gateway.websocket_port, Sec_WebSocket_Extensions="permessage-deflate"
    ) as socket:
        squeeze = zlib.compressobj(wbits=-15)
        body = squeeze.compress(bytes(50_000_000)) + squeeze.flush(zlib.Z_SYNC_FLUSH)
        body = body[: 60_000 * parts - 4]
        size = len(body) // parts + 1
        for number in range(parts):
            opcode, piece = (CONTINUATION if number else TEXT), body[number * size : (number + 1) * size]
            await socket.send(frame(opcode, piece, fin=number == parts - 1, rsv=0 if number else 4))
        await socket.closed_with(1009)
