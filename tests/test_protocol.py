"""The wire: any bytes are commands or a `ClientError`; what goes out is what SDKs expect, to the byte."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from gateway import protocol
from gateway.client import METHODS
from gateway.errors import DISCONNECT_BAD_REQUEST, DISCONNECTS, ERRORS, ClientError, Disconnect, Error
from gateway.protocol import (
    EMPTY_RAW,
    PING,
    PONG,
    ClientInfo,
    Command,
    ConnectRequest,
    ConnectResult,
    EmptyResult,
    HistoryRequest,
    HistoryResult,
    PresenceResult,
    PresenceStatsResult,
    Publication,
    PublishRequest,
    RecoverPosition,
    RefreshResult,
    Result,
    RPCRequest,
    SendRequest,
    StreamPosition,
    SubRefreshResult,
    SubscribeRequest,
    SubscribeResult,
    decode,
    one_line,
    parse_raw,
    raw,
)

THOROUGH = settings(max_examples=300, deadline=None)
QUICK = settings(max_examples=100, deadline=None)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
requests = [method for method in METHODS if method not in ("pong", "close")]
field_names = st.sampled_from(
    "channel token data subs recover offset epoch limit since reverse method flag tf headers name".split()
)
command_like = st.dictionaries(
    st.sampled_from(["id", *requests]),
    st.integers(-5, 2**33) | st.dictionaries(field_names, json_values, max_size=4) | json_values,
    max_size=3,
)


def commands_or_refusal(message: bytes) -> list[Command] | None:
    """What `decode` makes of it; any exception but the one that is promised ends the test."""
    try:
        commands = decode(message)
    except ClientError as error:
        assert error.outcome is DISCONNECT_BAD_REQUEST
        assert error.detail
        return None
    assert commands
    for command in commands:
        assert command.method in METHODS
        assert command.id or command.method in ("send", "pong")
        assert (command.request is None) == (command.method == "pong")
    return commands


def the_only(message: bytes) -> Command:
    [command] = decode(message)
    return command


# ---------------------------------------------------------------------------- whatever the bytes
@THOROUGH
@given(st.binary(max_size=200))
@example(b"")
@example(b"\n\n")
@example(b"\xff\xfe")
@example(b'{"id":1,"rpc":{"method":"\xff"}}')
@example(b'{"id":1,"rpc":{"data":"\xc3"}}')
@example(b'{"id":1,"rpc":{"method":"\\ud800"}}')
@example(b'{"id":18446744073709551616,"rpc":{}}')
def test_any_bytes_are_commands_or_a_client_error(message: bytes) -> None:
    commands_or_refusal(message)


@THOROUGH
@given(command_like, st.booleans())
def test_any_json_is_commands_or_a_client_error(content: dict[str, Any], ascii_only: bool) -> None:
    commands_or_refusal(json.dumps(content, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))


@THOROUGH
@given(
    st.lists(command_like, min_size=1, max_size=3),
    st.integers(0, 10_000),
    st.binary(min_size=1, max_size=3),
    st.booleans(),
)
def test_broken_commands_are_commands_or_a_client_error(
    contents: list[dict[str, Any]], place: int, junk: bytes, cut: bool
) -> None:
    message = b"\n".join(json.dumps(content).encode() for content in contents)
    place %= len(message) + 1
    commands_or_refusal(message[:place] + junk + (b"" if cut else message[place + len(junk) :]))


@pytest.mark.parametrize("opening", [b"[", b'{"a":'], ids=["lists", "objects"])
@pytest.mark.parametrize("place", [b'{"id":1,"rpc":{"data":', b'{"id":1,"unknown":', b""])
@pytest.mark.parametrize("closed", [True, False])
def test_deep_nesting_is_a_client_error(opening: bytes, place: bytes, closed: bool) -> None:
    depth = 30_000
    message = place + opening * depth
    if closed:
        message += b"1" + (b"]" if opening == b"[" else b"}") * depth + (b"}}" if place else b"")
    assert commands_or_refusal(message) is None


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "not a command"),
        (b"\n", "without commands"),
        (b" \n \n", "without commands"),
        (b"[]", "not a command"),
        (b"null", "not a command"),
        (b'"connect"', "not a command"),
        (b'{"id":1}', "without a method"),
        (b'{"id":1,"rpc":null}', "not a command"),
        (b'{"id":1,"rpc":[]}', "not a command"),
        (b'{"rpc":{}}', "needs an id"),
        (b'{"id":0,"subscribe":{"channel":"a"}}', "needs an id"),
        (b'{"id":-1,"rpc":{}}', "not a command"),
        (b'{"id":4294967296,"rpc":{}}', "not a command"),
        (b'{"id":"1","rpc":{}}', "not a command"),
        (b'{"id":1,"rpc":{},"publish":{}}', "more than one method"),
        (b'{"id":1,"rpc":{"method":1}}', "not a command"),
        (b'{"id":1,"subscribe":{"channel":"a","offset":-1}}', "not a command"),
        (b'{"id":1,"subscribe":{"channel":"a","offset":9223372036854775808}}', "not a command"),
        (b'{"id":1,"rpc":{}} {"id":2,"rpc":{}}', "not a command"),
        (b'{"id":1,"rpc":{}}\nnonsense', "not a command"),
    ],
)
def test_what_is_no_command_is_refused_with_a_hint(message: bytes, why: str) -> None:
    with pytest.raises(ClientError, match=why) as caught:
        decode(message)
    assert caught.value.outcome is DISCONNECT_BAD_REQUEST


# ---------------------------------------------------------------------------- what commands say
def test_an_empty_object_is_the_pong() -> None:
    assert decode(PING) == [PONG]
    assert decode(b" { } ") == [PONG]
    assert decode(b'{}\n{"id":1,"rpc":{}}\n{}\n') == [
        PONG,
        Command(1, "rpc", RPCRequest()),
        PONG,
    ]


def test_send_needs_no_id() -> None:
    assert the_only(b'{"send":{"data":1}}').method == "send"


def test_unknown_fields_are_ignored_at_every_level() -> None:
    message = b'{"id":1,"new":{"x":[1]},"connect":{"dict":[],"subs":{"a":{"recover":true,"zzz":1}}}}'
    assert the_only(message) == Command(
        1, "connect", ConnectRequest(subs={"a": RecoverPosition(recover=True)})
    )


def test_a_frame_keeps_the_order_of_its_commands() -> None:
    frame = b"\n".join(b'{"id":%d,"rpc":{}}' % number for number in range(1, 500)) + b"\n"
    assert [command.id for command in decode(frame)] == list(range(1, 500))


@pytest.mark.parametrize("method", requests)
def test_every_method_stands_under_its_own_key(method: str) -> None:
    command = the_only(b'{"id":7,"%b":{}}' % method.encode())
    assert (command.id, command.method) == (7, method)
    assert type(command.request).__name__.lower() == method.replace("_", "") + "request"


@pytest.mark.parametrize("method", ["pong", "close", "id", "push"])
def test_what_is_no_method_of_the_wire_is_no_command(method: str) -> None:
    with pytest.raises(ClientError):
        decode(b'{"id":7,"%b":{}}' % method.encode())


def test_offsets_above_53_bits_stay_exact() -> None:
    request = the_only(b'{"id":1,"history":{"channel":"a","since":{"offset":9223372036854775807}}}').request
    assert isinstance(request, HistoryRequest)
    assert request.since == StreamPosition(2**63 - 1)


messy_json = st.sampled_from(
    [b"1", b"-0", b"1.50", b"1e2", b'"\\u5fae"', '"微信"'.encode(), b'{ "a" : [ 1 , 2 ] }', b"null", b'"\\/"',
     b'{"a":1,"a":2}', b"[ ]", b'{"b":\t1}', b'{"b":\r1}']
)  # fmt: skip


@QUICK
@given(messy_json | json_values.map(lambda value: json.dumps(value).encode()))
def test_embedded_json_passes_byte_for_byte(embedded: bytes) -> None:
    request = the_only(b'{"id":1,"publish":{"channel":"a","data":%b}}' % embedded).request
    assert isinstance(request, PublishRequest)
    assert bytes(request.data) == embedded
    push = protocol.encode_publication("a", Publication(request.data))
    assert push == b'{"push":{"channel":"a","pub":{"data":%b}}}' % embedded
    sent = the_only(b'{"send":{"data":%b}}' % embedded).request
    assert isinstance(sent, SendRequest)
    assert protocol.encode_message(sent.data) == b'{"push":{"message":{"data":%b}}}' % embedded


raws = json_values.map(raw)
subscribe_requests = st.builds(
    SubscribeRequest,
    channel=st.text(max_size=20),
    token=st.none() | st.text(max_size=10),
    recover=st.booleans(),
    offset=st.integers(0, 2**63 - 1),
    epoch=st.text(max_size=5),
    data=raws,
    positioned=st.booleans(),
    recoverable=st.booleans(),
    join_leave=st.booleans(),
    delta=st.sampled_from(["", "fossil"]),
    flag=st.integers(0, 3),
    tf=raws,
)
connect_requests = st.builds(
    ConnectRequest,
    token=st.none() | st.text(max_size=10),
    data=raws,
    subs=st.none()
    | st.dictionaries(
        st.text(max_size=5),
        st.builds(
            RecoverPosition, recover=st.booleans(), offset=st.integers(0, 9), epoch=st.text(max_size=3)
        ),
        max_size=3,
    ),
    name=st.text(max_size=5),
    headers=st.none() | st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
)
history_requests = st.builds(
    HistoryRequest,
    channel=st.text(max_size=5),
    limit=st.integers(-(2**31), 2**31 - 1),
    since=st.none() | st.builds(StreamPosition, st.integers(0, 2**63 - 1), st.text(max_size=3)),
    reverse=st.booleans(),
)
some_commands = st.one_of(
    st.tuples(st.just("subscribe"), subscribe_requests),
    st.tuples(st.just("connect"), connect_requests),
    st.tuples(st.just("history"), history_requests),
)


def comparable(value: Any) -> Any:
    """A struct as plain data, embedded JSON as its bytes."""
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, msgspec.Struct):
        return {name: comparable(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: comparable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [comparable(each) for each in value]
    return value


@QUICK
@given(st.lists(some_commands, min_size=1, max_size=4))
def test_what_was_encoded_decodes_to_the_same_commands(wanted: list[tuple[str, msgspec.Struct]]) -> None:
    lines = [
        msgspec.json.encode({"id": number, method: request})
        for number, (method, request) in enumerate(wanted, start=1)
    ]
    got = decode(b"\n".join(lines))
    assert [(command.id, command.method) for command in got] == [
        (number, method) for number, (method, _) in enumerate(wanted, start=1)
    ]
    for command, (_, request) in zip(got, wanted, strict=True):
        assert comparable(command.request) == comparable(request)


# ---------------------------------------------------------------------------- what goes out
@pytest.mark.parametrize(
    ("method", "result", "wire"),
    [
        ("publish", EmptyResult(), b"{}"),
        ("subscribe", SubscribeResult(), b"{}"),
        ("refresh", RefreshResult(), b"{}"),
        ("sub_refresh", SubRefreshResult(), b"{}"),
        ("presence", PresenceResult({}), b'{"presence":{}}'),
        (
            "presence",
            PresenceResult({"c": ClientInfo("", "")}),
            b'{"presence":{"c":{"user":"","client":""}}}',
        ),
        ("presence_stats", PresenceStatsResult(0, 0), b'{"num_clients":0,"num_users":0}'),
        ("history", HistoryResult([], "", 0), b'{"publications":[],"epoch":"","offset":0}'),
        (
            "connect",
            ConnectResult("c", "v", ping=25, pong=True),
            b'{"client":"c","version":"v","ping":25,"pong":true}',
        ),
        (
            "subscribe",
            SubscribeResult(
                recoverable=True, positioned=True, epoch="e", offset=3, was_recovering=True, recovered=True
            ),
            b'{"recoverable":true,"positioned":true,"epoch":"e","offset":3,"recovered":true,'
            b'"was_recovering":true}',
        ),
    ],
)
def test_zero_values_are_left_out_and_required_ones_are_not(method: str, result: Result, wire: bytes) -> None:
    assert protocol.encode_reply(7, method, result) == b'{"id":7,"%b":%b}' % (method.encode(), wire)


@QUICK
@given(json_values.map(raw))
def test_the_answer_to_an_rpc_is_embedded_byte_for_byte(data: Raw) -> None:
    assert protocol.encode_rpc(7, data) == b'{"id":7,"rpc":{"data":%b}}' % bytes(data)


def test_an_rpc_without_an_answer_has_an_empty_result() -> None:
    assert protocol.encode_rpc(7, EMPTY_RAW) == b'{"id":7,"rpc":{}}'


def test_client_info_always_names_user_and_client() -> None:
    info = ClientInfo("", "", raw({"a": 1}))
    assert protocol.encode_join("c", info) == (
        b'{"push":{"channel":"c","join":{"info":{"user":"","client":"","conn_info":{"a":1}}}}}'
    )
    assert protocol.encode_leave("c", info) == (
        b'{"push":{"channel":"c","leave":{"info":{"user":"","client":"","conn_info":{"a":1}}}}}'
    )


def test_a_publication_names_what_it_has() -> None:
    publication = Publication(raw(1), ClientInfo("u", "c"), 4, {"k": "v"})
    assert json.loads(protocol.encode_publication("news", publication)) == {
        "push": {
            "channel": "news",
            "pub": {"data": 1, "info": {"user": "u", "client": "c"}, "offset": 4, "tags": {"k": "v"}},
        }
    }


@pytest.mark.parametrize("error", ERRORS.values(), ids=str)
def test_error_replies_have_a_message_and_say_temporary_only_where_it_is(error: Error) -> None:
    body = json.loads(protocol.encode_error(3, error))
    expected: dict[str, object] = {"code": error.code, "message": error.message}
    if error.temporary:
        expected["temporary"] = True
    assert body == {"id": 3, "error": expected}
    assert json.loads(protocol.encode_error(3, error, "détail"))["error"]["message"] == "détail"


@pytest.mark.parametrize("disconnect", DISCONNECTS.values(), ids=str)
def test_a_disconnect_push_says_whether_to_come_back(disconnect: Disconnect) -> None:
    assert json.loads(protocol.encode_disconnect(disconnect)) == {
        "push": {
            "disconnect": {
                "code": disconnect.code,
                "reason": disconnect.reason,
                "reconnect": disconnect.reconnect,
            }
        }
    }


@QUICK
@given(st.text(max_size=30), st.text(max_size=30), raws)
def test_no_push_holds_a_raw_newline(channel: str, text: str, data: Raw) -> None:
    for wire in (
        protocol.encode_publication(channel, Publication(data, ClientInfo(text, text), 1, {text: text})),
        protocol.encode_unsubscribe(channel, 2000, text),
        protocol.encode_disconnect(Disconnect(4000, text)),
        protocol.encode_subscribe(channel, SubscribeResult(epoch=text, data=data)),
        protocol.encode_message(data),
        protocol.encode_refresh(True, 5),
        protocol.encode_error(1, Error(400, text or "x")),
    ):
        assert b"\n" not in wire
        json.loads(wire)


def test_a_refresh_push_for_a_connection_without_expiry_is_empty() -> None:
    assert protocol.encode_refresh(False, 0) == b'{"push":{"refresh":{}}}'


# ---------------------------------------------------------------------------- embedded JSON
@QUICK
@given(json_values, st.sampled_from([None, 1, 2]))
def test_one_line_has_one_line_and_the_same_value(value: object, indent: int | None) -> None:
    embedded = json.dumps(value, indent=indent).encode()
    line = bytes(one_line(embedded))
    assert b"\n" not in line
    assert b"\r" not in line
    assert json.loads(line) == value
    if b"\n" not in embedded:
        assert line == embedded


@pytest.mark.parametrize("embedded", [b"{\n", b'{"a":\r\n}', b"\n", b'"a\nb"'])
def test_one_line_refuses_what_is_no_json(embedded: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        one_line(embedded)


@QUICK
@given(json_values.filter(lambda value: not isinstance(value, int) or abs(value) < 2**63))
def test_raw_and_back(value: object) -> None:
    with contextlib.suppress(msgspec.DecodeError):  # an integer that no float holds
        assert parse_raw(raw(value)) == value


def test_an_absent_field_has_no_value() -> None:
    assert parse_raw(EMPTY_RAW) is None


def test_what_has_no_json_form_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        raw(object())
