"""picows: a listener per connection, in Cython; a loop over everybody."""

from __future__ import annotations

import os
import sys

import jwt
import uvloop
from control import serve_control
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

SECRET = os.environ["BENCH_SECRET"]
everybody: set[WSTransport] = set()


class Listener(WSListener):
    def __init__(self) -> None:
        self._known = False

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        elif self._known:
            transport.send(WSMsgType.TEXT, frame.get_payload_as_bytes())
        else:
            jwt.decode(frame.get_payload_as_bytes(), SECRET, algorithms=["HS256"])
            self._known = True
            everybody.add(transport)
            transport.send(WSMsgType.TEXT, b"ready")

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        everybody.discard(transport)


def listener(_: WSUpgradeRequest) -> Listener:
    return Listener()


def publish(content: str) -> None:
    message = content.encode()
    for transport in everybody:
        transport.send(WSMsgType.TEXT, message)


async def main(port: int, control: int) -> None:
    await serve_control(control, publish)
    server = await ws_create_server(listener, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
