"""Sign-ins by code through the sandbox: where the session tokens of the measurement come from."""

from __future__ import annotations

import http.client
import json

from websockets.sync.client import connect


def session_tokens(http_port: int, websocket_port: int, count: int) -> list[str]:
    """Tokens of `count` users, each signed in by a sandbox code once."""
    sandbox = http.client.HTTPConnection("127.0.0.1", http_port)
    tokens = []
    for number in range(count):
        body = json.dumps({"user": f"bench-{number}"})
        sandbox.request("POST", "/sandbox/login", body, {"Content-Type": "application/json"})
        code = json.loads(sandbox.getresponse().read())["code"]
        with connect(f"ws://127.0.0.1:{websocket_port}/connection/websocket", compression=None) as socket:
            socket.send(json.dumps({"id": 1, "connect": {"data": {"code": code}}}))
            tokens.append(str(json.loads(socket.recv().splitlines()[0])["connect"]["data"]["token"]))
    sandbox.close()
    return tokens
