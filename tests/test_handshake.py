"""The opening handshake: any request gets an answer, and one that helps whoever reads it."""

from __future__ import annotations

import gc
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.extensions import ClientExtensionFactory
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from gateway.metrics.labels import HANDSHAKES
from gateway.websocket.handshake import HEAD_LIMIT, PATH, Handshakes, Opened
from gateway.websocket.peers import Peers

UPGRADE = {
    "Host": "gw.example.com",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def handshakes(*, origins: tuple[str, ...] = (), compression: bool = True) -> Handshakes:
    return Handshakes(Peers(("127.0.0.1/32",), origins), message_limit=65536, compression=compression)


def head(path: str = PATH, *more: str, without: str = "", method: str = "GET") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in UPGRADE.items() if k != without), *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(request: bytes, peer: str = "203.0.113.9", refusal: str = "") -> Opened:
    return handshakes().answer(request, peer, refusal)


def status(opened: Opened) -> int:
    return int(opened.response.split(b" ", 2)[1])


def header(opened: Opened, name: str) -> str:
    lines = opened.response.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return ", ".join(line.partition(": ")[2] for line in lines if line.lower().startswith(name.lower() + ":"))


def body(opened: Opened) -> bytes:
    return opened.response.partition(b"\r\n\r\n")[2]


# ---------------------------------------------------------------------------- accepted
@pytest.mark.parametrize(
    ("offered", "chosen", "protobuf"),
    [
        ([], None, False),
        (["centrifuge-json"], "centrifuge-json", False),
        (["centrifuge-protobuf"], "centrifuge-protobuf", True),
        (["centrifuge-protobuf", "centrifuge-json"], "centrifuge-json", False),
    ],
)
@pytest.mark.parametrize("compression", [True, False])
def test_a_client_of_the_library_is_accepted(
    offered: list[str], chosen: str | None, protobuf: bool, compression: bool
) -> None:
    factories: list[ClientExtensionFactory] = [ClientPerMessageDeflateFactory()]
    client = ClientProtocol(
        parse_uri("ws://gw.example.com/connection/websocket"),
        subprotocols=[Subprotocol(each) for each in offered] or None,
        extensions=factories,
    )
    client.send_request(client.connect())
    opened = handshakes(compression=compression).answer(b"".join(client.data_to_send()), "203.0.113.9", "")
    assert (opened.label, opened.protobuf, opened.ip) == ("accepted", protobuf, "203.0.113.9")
    client.receive_data(opened.response)
    assert client.handshake_exc is None
    assert isinstance(client.events_received()[0], Response)
    assert client.subprotocol == chosen
    assert bool(client.extensions) is bool(opened.extensions) is compression


def test_frames_are_compressed_without_context_so_that_one_serves_all() -> None:
    opened = answer(head(PATH, "Sec-WebSocket-Extensions: permessage-deflate"))
    agreed = header(opened, "Sec-WebSocket-Extensions")
    assert "server_no_context_takeover" in agreed
    assert "client_no_context_takeover" in agreed


def test_a_subprotocol_that_is_none_of_ours_is_not_echoed() -> None:
    opened = answer(head(PATH, "Sec-WebSocket-Protocol: chat, mqtt"))
    assert opened.label == "accepted"
    assert header(opened, "Sec-WebSocket-Protocol") == ""


@pytest.mark.parametrize(
    ("query", "protobuf"),
    [
        ("?format=protobuf", True),
        ("?cf_protocol=protobuf", True),
        ("?x=1&format=protobuf", True),
        ("?format=json", False),
        ("?xformat=protobuf", False),
        ("?", False),
    ],
)
def test_a_query_may_ask_for_protobuf(query: str, protobuf: bool) -> None:
    opened = answer(head(PATH + query))
    assert (opened.label, opened.protobuf) == ("accepted", protobuf)


def test_the_address_is_the_one_that_our_proxy_saw() -> None:
    lines = ("X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 198.51.100.7")
    assert answer(head(PATH, *lines), "127.0.0.1").ip == "198.51.100.7"
    assert answer(head(PATH, *lines), "203.0.113.9").ip == "203.0.113.9"


# ---------------------------------------------------------------------------- refused
@pytest.mark.parametrize(
    ("request_head", "label", "code"),
    [
        (head("/"), "wrong_path", 404),
        (head("/connection/websocket/"), "wrong_path", 404),
        (head("/connection/sse"), "wrong_path", 404),
        (head(without="Upgrade"), "not_websocket", 426),
        (head(without="Connection"), "not_websocket", 426),
        (head(without="Sec-WebSocket-Key"), "bad_request", 400),
        (head(without="Sec-WebSocket-Version"), "bad_request", 400),
        (head(PATH, "Sec-WebSocket-Version: 8", without="Sec-WebSocket-Version"), "bad_request", 400),
        (head(PATH, "Sec-WebSocket-Key: x", without="Sec-WebSocket-Key"), "bad_request", 400),
        (head(PATH, "Sec-WebSocket-Key: x"), "bad_request", 400),
        (head(PATH, "Origin: https://evil.com"), "forbidden_origin", 403),
        (head(PATH, "Origin: http://["), "forbidden_origin", 403),
        (head(PATH, "Origin: https://gw.example.com", "Origin: https://evil.com"), "forbidden_origin", 403),
        (head(PATH, "Origin: https://gw.example.com", "Host: evil.com"), "forbidden_origin", 403),
        (head(PATH, "Origin: https://gw.example.com", without="Host"), "forbidden_origin", 403),
    ],
)
def test_a_request_that_is_refused_says_why(request_head: bytes, label: str, code: int) -> None:
    opened = answer(request_head)
    assert (opened.label, status(opened)) == (label, code)
    assert int(header(opened, "Content-Length")) == len(body(opened)) > 20
    assert "close" in header(opened, "Connection").lower()
    assert not opened.extensions


def test_our_own_refusals_are_json() -> None:
    for request in (head("/"), head(without="Upgrade"), head(PATH, "Origin: https://evil.com")):
        opened = answer(request)
        content = json.loads(body(opened))
        assert content == {"status": status(opened), "message": content["message"]}
        assert content["message"]


def test_who_opens_the_address_in_a_browser_learns_what_it_is() -> None:
    opened = answer(head(without="Upgrade"))
    assert header(opened, "Upgrade") == "websocket"
    assert b"gateway nginx" in body(opened)


@pytest.mark.parametrize("refusal", ["full", "draining"])
def test_a_node_that_takes_nobody_says_when_to_come_again(refusal: str) -> None:
    opened = answer(head(), refusal=refusal)
    assert (opened.label, status(opened)) == (refusal, 503)
    assert header(opened, "Retry-After") == "5"
    assert answer(head("/"), refusal=refusal).label == "wrong_path"


@pytest.mark.parametrize("origin", ["https://gw.example.com", "HTTPS://GW.EXAMPLE.COM"])
def test_a_page_of_our_own_host_may_connect(origin: str) -> None:
    assert answer(head(PATH, f"Origin: {origin}")).label == "accepted"


def test_allowed_origins_are_patterns() -> None:
    several = handshakes(origins=("https://*.example.org",))
    assert several.answer(head(PATH, "Origin: https://a.example.org"), "", "").label == "accepted"
    assert several.answer(head(PATH, "Origin: https://gw.example.com"), "", "").label == "forbidden_origin"


@pytest.mark.parametrize(
    "request_head",
    [
        b"",
        b"\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET /connection/websocket\r\n\r\n",
        b"GET /connection/websocket HTTP/1.0\r\n\r\n",
        b"GET /connection/websocket HTTP/2\r\n\r\n",
        head(method="POST"),
        head(PATH, "no colon here"),
        head(PATH, "Bad Name: x"),
        head(PATH, "X: \x00"),
        head(PATH, "Content-Length: 5"),
        head(PATH, "Transfer-Encoding: chunked"),
        head(PATH, *("X: y" for _ in range(300))),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40 + b"\r\n\r\n",
        b"A" * (HEAD_LIMIT + 1),
        b"GET /connection/websocket HTTP/1.1\r\n" + b"X: " + b"y" * HEAD_LIMIT,
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_what_is_no_request_is_answered_too(request_head: bytes) -> None:
    opened = answer(request_head)
    assert opened.label == "bad_request"
    assert 400 <= status(opened) < 506


lines = st.sampled_from(
    [f"{name}: {value}" for name, value in UPGRADE.items()]
    + [
        "Origin: https://gw.example.com",
        "Origin: null",
        "Sec-WebSocket-Protocol: centrifuge-json",
        "Sec-WebSocket-Protocol: ,,;",
        "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=99",
        "Sec-WebSocket-Extensions: ;;;",
        "X-Forwarded-For: 1.2.3.4, x",
        "Connection: keep-alive",
        "Host: [",
    ]
)


def up_to_the_empty_line(stream: bytes) -> bytes:
    """What a connection hands over; more than that is never in one call."""
    stream += b"\r\n\r\n"
    return stream[: stream.index(b"\r\n\r\n") + 4]


junk_lines = st.text(st.characters(codec="latin-1"), max_size=20)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([PATH, "/", PATH + "?format=protobuf", "*", "http://x/", PATH + "#x", "//"]),
    st.lists(lines | junk_lines, max_size=12),
    st.sampled_from(["127.0.0.1", "203.0.113.9", "::1", ""]),
    st.sampled_from(["", "full", "draining"]),
)
def test_any_request_gets_one_answer(path: str, more: list[str], peer: str, refusal: str) -> None:
    request = up_to_the_empty_line("\r\n".join([f"GET {path} HTTP/1.1", *more]).encode("latin-1"))
    opened = answer(request, peer, refusal)
    assert opened.response.startswith(b"HTTP/1.1 ")
    assert opened.label in HANDSHAKES
    assert (status(opened) == 101) is (opened.label == "accepted")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_get_one_answer(request_head: bytes) -> None:
    opened = answer(up_to_the_empty_line(request_head))
    assert opened.response.startswith(b"HTTP/1.1 4")
    assert opened.label in HANDSHAKES


@pytest.mark.parametrize(
    "request_head",
    [
        head(),
        head(PATH, "Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Protocol: centrifuge-json"),
        head("/elsewhere"),
        head(without="Upgrade"),
    ],
    ids=["accepted", "with extras", "wrong path", "no upgrade"],
)
def test_a_handshake_leaves_nothing_for_the_garbage_collector(request_head: bytes) -> None:
    """A cycle per connection would make the collector hold the loop when thousands come at once."""
    door = handshakes()
    door.answer(request_head, "203.0.113.9", "")
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            door.answer(request_head, "203.0.113.9", "")
        assert gc.collect() == 0
    finally:
        gc.enable()


# ---------------------------------------------------------------------------- the quick way
ODD = (
    "",
    "Upgrade: WebSocket",
    "upgrade:websocket ",
    "Upgrade: websocket, h2c",
    "Connection: keep-alive, Upgrade",
    "Connection: close",
    "Connection: ,,Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==",
    "Sec-WebSocket-Key: short",
    "Sec-WebSocket-Version: 13, 8",
    "Sec-WebSocket-Protocol: centrifuge-json",
    "Sec-WebSocket-Protocol: mqtt,centrifuge-protobuf",
    "Sec-WebSocket-Protocol: ,",
    "Sec-WebSocket-Extensions: permessage-deflate",
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    "Origin: https://gw.example.com",
    "Origin: https://evil.com",
    "Host: evil.com",
    "X-Forwarded-For: 198.51.100.7",
    "X-Forwarded-For: 198.51.100.7, 6.6.6.6",
    "X-Real-Name:\t caf\u00e9 ",
    "Cookie: a=b",
    "Content-Length: 0",
    "Content-Length: 7",
    "Transfer-Encoding: chunked",
    "A b: c",
    " folded: line",
    "no colon",
    "Bad: \x00",
)


def what(opened: Opened) -> tuple[object, ...]:
    lines = [line for line in opened.response.split(b"\r\n") if not line.startswith(b"Date: ")]
    extensions = [type(each) for each in opened.extensions]
    return lines, opened.label, opened.ip, opened.protobuf, extensions, opened.headers


@settings(max_examples=400, deadline=None)
@given(
    lines=st.lists(st.sampled_from(ODD), max_size=4),
    without=st.sampled_from(["", *UPGRADE]),
    path=st.sampled_from([PATH, PATH + "?format=protobuf", PATH + "?x=1", "/", PATH + "#", "*", "/\u00e9"]),
    method=st.sampled_from(["GET"] * 4 + ["POST", "get"]),
    peer=st.sampled_from(["127.0.0.1", "203.0.113.9"]),
    compression=st.booleans(),
)
def test_the_quick_way_and_the_library_agree(
    lines: list[str], without: str, path: str, method: str, peer: str, compression: bool
) -> None:
    request = head(path, *(each for each in lines if each), without=without, method=method)
    door = Handshakes(
        Peers(("127.0.0.1/32",), ()),
        message_limit=65536,
        compression=compression,
        kept_headers=["cookie", "x-real-name"],
    )
    quick = door._quickly(request, peer)
    if quick is not None:
        assert what(quick) == what(door._by_library(request, peer, ""))


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("Sec-WebSocket-Protocol: centrifuge-json",),
        ("Origin: https://gw.example.com", "User-Agent: Mozilla/5.0", "Accept-Language: zh-CN"),
        ("X-Forwarded-For: 198.51.100.7", "X-Real-IP: 198.51.100.7", "Cookie: a=b"),
    ],
)
def test_ordinary_clients_take_the_quick_way(more: tuple[str, ...]) -> None:
    request = head(PATH, *more)
    quick = handshakes()._quickly(request, "203.0.113.9")
    assert quick is not None
    assert what(quick) == what(handshakes()._by_library(request, "203.0.113.9", ""))
    assert header(quick, "Date")


def test_nobody_is_let_in_quickly_while_there_is_no_room() -> None:
    assert answer(head(), refusal="full").label == "full"
