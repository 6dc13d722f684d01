"""The dashboard of `gateway serve` in a real browser: from the wrong password to the logout."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from tests.browser.walking import walk
from tests.gateway_process import GatewayProcess, token
from tests.raw_ws import RawSocket, request
from tests.sdk.python_phone import PythonPhone

PASSWORD = "a password that only this test knows"


async def test_a_client_is_found_disconnected_and_comes_back(gateway: GatewayProcess, tmp_path: Path) -> None:
    watched = GatewayProcess(tmp_path, more=f'[admin]\npassword = "{PASSWORD}"')
    watched.start()
    phone = PythonPhone()
    await phone.start(watched.url, token=token("alice"))
    turtle = await slow_reader(watched)
    await watched.api("block_user", user="mallory", reason="spam")
    try:
        await phone.connect()
        page = f"http://127.0.0.1:{watched.internal_port}/dashboard"
        off = f"http://127.0.0.1:{gateway.internal_port}/dashboard/"
        seen = await asyncio.to_thread(
            walk, "dashboard.js", page, "en", tmp_path, watched.log, PASSWORD, "alice", off
        )
        assert seen["trouble"] == []
        assert phone.data("#alice") == [{"from": "the dashboard"}]
        connected = phone.seen("connected")
        assert len(connected) == 2, "at first, and after it was disconnected"
        assert phone.seen("disconnected")[-1]["code"] == 4502, "blocked"
        assert PASSWORD not in watched.log()
        assert "who='dashboard 127.0.0.1'" in watched.log() or '"dashboard 127.0.0.1"' in watched.log()
    finally:
        await phone.stop()
        await turtle.__aexit__()
        watched.stop()


async def slow_reader(gateway: GatewayProcess) -> RawSocket:
    """A connection of the user turtle, with more on its way than it takes."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.connect(("127.0.0.1", gateway.websocket_port))
    reader, writer = await asyncio.open_connection(sock=plain, limit=1024)
    writer.write(request(gateway.websocket_port))
    await reader.readuntil(b"\r\n\r\n")
    turtle = RawSocket(reader, writer)
    await turtle.connect(token("turtle"))
    for _ in range(100):
        await gateway.publish("#turtle", "x" * 100_000)
        answer = await gateway.api("connections", user="turtle")
        if answer["result"]["connections"][0]["waiting_bytes"]:
            return turtle
    raise AssertionError("the kernel takes everything")
