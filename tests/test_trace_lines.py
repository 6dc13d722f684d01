"""What support staff see of a message: what it is, never what opens a door, and no input breaks it."""

from __future__ import annotations

import json
import timeit
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.sessions import new_token
from gateway.frames import deflated_text_frame, text_frame
from gateway.protection.lines import PAYLOAD_LIMIT, lines
from gateway.websocket.tracing import messages

TOKEN = new_token()


def shortest(work: Callable[[], object]) -> float:
    """Of five runs, in seconds."""
    return min(timeit.repeat(work, number=1, repeat=5))


def one(direction: str, message: Any, payloads: bool = True) -> dict[str, Any]:
    (line,) = lines(direction, json.dumps(message).encode(), payloads)
    return line


@pytest.mark.parametrize(
    ("direction", "message", "wanted"),
    [
        ("out", {}, {"kind": "ping"}),
        ("in", {}, {"kind": "pong"}),
        ("in", {"id": 7, "subscribe": {"channel": "x"}}, {"kind": "subscribe", "id": 7, "channel": "x"}),
        ("out", {"id": 7, "error": {"code": 103, "message": "no"}}, {"kind": "error", "code": 103}),
        ("out", {"push": {"channel": "news", "pub": {"data": 1}}}, {"kind": "pub", "channel": "news"}),
        ("out", {"push": {"disconnect": {"code": 1, "reason": "no"}}}, {"kind": "disconnect", "code": 1}),
        ("in", [1], {"kind": "undecodable"}),
        ("in", 7, {"kind": "undecodable"}),
    ],
)  # fmt: skip
def test_each_message_has_its_kind(direction: str, message: Any, wanted: dict[str, Any]) -> None:
    line = one(direction, message)
    assert wanted.items() <= line.items()
    assert line["bytes"] == len(json.dumps(message))


def test_several_objects_in_one_message_are_several_lines() -> None:
    assert [line["kind"] for line in lines("in", b'{"id":1,"rpc":{}}\n{"id":2,"send":{}}\n', False)] == [
        "rpc",
        "send",
    ]


@pytest.mark.parametrize(
    "message",
    [
        {"id": 1, "connect": {"token": TOKEN}},
        {"id": 1, "connect": {"data": {"code": TOKEN}, "headers": {"Authorization": f"Bearer {TOKEN}"}}},
        {"id": 1, "connect": {"data": {"nested": [{"sessionKey": TOKEN}]}}},
        {"id": 1, "refresh": {"token": TOKEN}},
        {"id": 1, "rpc": {"data": {"anything": TOKEN}}},
        {"push": {"channel": "x", "pub": {"data": f"https://a.example/files/1?expires=1&signature={TOKEN}"}}},
        {"id": 1, "rpc": {"data": f"this does not work: Bearer {TOKEN}, why?"}},
        {"id": 1, "rpc": {"data": json.dumps({"headers": {"any": TOKEN}})}},
        {"id": 1, "rpc": {"data": f"look: eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.{TOKEN}"}},
        {"id": 1, "rpc": {"data": "." * (PAYLOAD_LIMIT - 20) + TOKEN}},
        {"push": {"channel": TOKEN, "pub": {"data": 1}}},
        {"push": {"disconnect": {"code": 1, "reason": TOKEN}}},
    ],
)
def test_nothing_that_opens_a_door_is_shown(message: Any) -> None:
    for payloads in (True, False):
        assert TOKEN not in json.dumps(one("in", message, payloads))


def test_payloads_are_shown_only_on_request_and_only_so_far() -> None:
    message = {"push": {"channel": "x", "pub": {"data": "word " * 5000}}}
    assert "payload" not in one("out", message, payloads=False)
    assert len(one("out", message)["payload"]) == PAYLOAD_LIMIT + 1


@pytest.mark.parametrize("inner", [123456, 1.5, ["hunter2"], {"value": "hunter2"}])
def test_what_a_secret_name_holds_is_hidden_whatever_it_is(inner: Any) -> None:
    payload = one("in", {"id": 1, "rpc": {"data": {"password": inner}}})["payload"]
    assert json.loads(payload) == {"data": {"password": "[hidden]"}}
    assert '"code":103' in one("out", {"id": 1, "error": {"code": 103, "message": "no"}})["payload"]


@pytest.mark.parametrize("data", ["x" * 60_000, ["ab"] * 12_000])
def test_what_is_too_long_to_be_shown_is_not_looked_through(data: Any) -> None:
    message = json.dumps({"id": 1, "rpc": {"data": data}}).encode()
    ratio = shortest(lambda: list(lines("in", message, True))) / shortest(lambda: json.loads(message))
    assert ratio < 30, f"a line costs {ratio:.0f} times as much as reading the message"


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_break_it(message: bytes, payloads: bool) -> None:
    for line in lines("in", message, payloads):
        json.dumps(line)


def test_deep_messages_do_not_break_it() -> None:
    deep = b'{"id":1,"rpc":{"data":' + b"[" * 5000 + b"]" * 5000 + b"}}"
    (line,) = lines("in", deep, True)
    assert line["kind"] in ("rpc", "undecodable")


def test_frames_of_ours_are_read_back_also_compressed_ones() -> None:
    texts = [b"{}", b"x" * 200, b"y" * 70_000]
    assert list(messages(b"".join(text_frame(each) for each in texts))) == texts
    assert list(messages(deflated_text_frame(b"z" * 1000))) == [b"z" * 1000]
