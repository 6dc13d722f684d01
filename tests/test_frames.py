"""The fast path: how bytes arrive changes nothing, and the library only ever sees whole frames."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import CLIENT, SERVER, Protocol, State

from gateway.errors import DISCONNECT_MESSAGE_TOO_BIG, DISCONNECT_PROTOCOL_ERROR, ClientError
from gateway.frames import BINARY, LIBRARY, TEXT, FrameSplitter, Item, deflated_text_frame, text_frame

LIMIT = 1 << 20
QUICK = settings(max_examples=150, deadline=None)


def client_frame(opcode: Opcode, payload: bytes, *, fin: bool = True, mask: bool = True) -> bytes:
    """As a client's library writes it."""
    return Frame(opcode, payload, fin=fin).serialize(mask=mask)


def feed_in_pieces(splitter: FrameSplitter, stream: bytes, cuts: Iterable[int]) -> list[Item]:
    items, start = [], 0
    for cut in [*sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]:
        items += splitter.feed(stream[start:cut])
        start = cut
    return items


def messages(items: Sequence[Item]) -> list[tuple[int, bytes]]:
    """What a connection takes from `items`: the library parses its frames, fragments are put together."""
    library = Protocol(SERVER, state=State.OPEN, max_size=LIMIT)
    got: list[tuple[int, bytes]] = []
    parts: list[Frame] = []
    for kind, content in items:
        if kind != LIBRARY:
            assert not parts, "a whole message overtook the fragments of another one"
            got.append((kind, content))
            continue
        library.receive_data(content)
        assert library.parser_exc is None
        [frame] = cast("list[Frame]", library.events_received())  # one item is one whole frame
        if frame.opcode in (Opcode.PING, Opcode.PONG):
            got.append((int(frame.opcode), bytes(frame.data)))
            continue
        parts.append(frame)
        if frame.fin:
            got.append((int(parts[0].opcode), b"".join(bytes(part.data) for part in parts)))
            parts.clear()
    return got


payloads = st.one_of(
    st.binary(max_size=40),
    st.integers(120, 130).map(os.urandom),
    st.sampled_from([65535, 65536]).map(os.urandom),
)
opcodes = st.sampled_from([Opcode.TEXT, Opcode.BINARY])
controls = st.tuples(st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125))
Sent = tuple[str, Opcode, list[bytes], list[tuple[Opcode, bytes]]]
whole: st.SearchStrategy[Sent] = st.tuples(
    st.just("whole"), opcodes, st.lists(payloads, min_size=1, max_size=1), st.just([])
)
fragmented: st.SearchStrategy[Sent] = st.tuples(
    st.just("fragments"), opcodes, st.lists(payloads, min_size=2, max_size=4), st.lists(controls, max_size=3)
)
control: st.SearchStrategy[Sent] = st.tuples(
    st.just("control"), opcodes, st.just([]), st.lists(controls, min_size=1, max_size=1)
)


def serialize(sent: Sequence[Sent]) -> tuple[list[bytes], list[tuple[int, bytes]]]:
    """The frames that a client sends, and the messages that they are."""
    frames: list[bytes] = []
    expected: list[tuple[int, bytes]] = []
    for kind, opcode, parts, pings in sent:
        between = list(pings)
        for index, part in enumerate(parts):
            frames.append(
                client_frame(opcode if not index else Opcode.CONT, part, fin=index == len(parts) - 1)
            )
            if between and kind == "fragments" and index < len(parts) - 1:
                ping, payload = between.pop(0)
                frames.append(client_frame(ping, payload))
                expected.append((int(ping), payload))
        if parts:
            expected.append((int(opcode), b"".join(parts)))
        for ping, payload in between:
            frames.append(client_frame(ping, payload))
            expected.append((int(ping), payload))
    return frames, expected


@QUICK
@given(
    st.lists(st.one_of(whole, whole, fragmented, control), min_size=1, max_size=8),
    st.lists(st.integers(0, 200_000), max_size=6),
)
def test_any_split_of_any_frames_gives_the_same_messages(sent: list[Sent], cuts: list[int]) -> None:
    frames, expected = serialize(sent)
    splitter = FrameSplitter(LIMIT)
    assert messages(feed_in_pieces(splitter, b"".join(frames), cuts)) == expected
    assert not splitter.fragmented
    assert splitter.feed(b"") == []


@given(st.lists(st.one_of(whole, fragmented, control), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_byte_by_byte_is_no_different(sent: list[Sent]) -> None:
    small = [(kind, opcode, [part[:200] for part in parts], pings) for kind, opcode, parts, pings in sent]
    frames, expected = serialize(small)
    stream = b"".join(frames)
    assert messages(feed_in_pieces(FrameSplitter(LIMIT), stream, range(len(stream)))) == expected


@QUICK
@given(
    st.lists(st.one_of(whole, fragmented, control), min_size=1, max_size=8), st.lists(st.integers(0, 9999))
)
def test_the_library_gets_exactly_the_whole_frames_that_are_its_own(
    sent: list[Sent], cuts: list[int]
) -> None:
    frames, _ = serialize(sent)
    items = feed_in_pieces(FrameSplitter(LIMIT), b"".join(frames), cuts)
    assert len(items) == len(frames), "one item for each frame, in order"
    fragments = False
    for (kind, content), frame in zip(items, frames, strict=True):
        data = frame[0] & 0x0F < 8
        if data and frame[0] & 0x80 and not fragments:
            assert kind in (TEXT, BINARY)
        else:
            assert (kind, content) == (LIBRARY, frame)
        if data:
            fragments = not frame[0] & 0x80


def test_an_unfinished_frame_waits() -> None:
    splitter = FrameSplitter(LIMIT)
    frame = client_frame(Opcode.TEXT, b"hello")
    assert splitter.feed(frame[:-1]) == []
    assert splitter.feed(frame[-1:] + frame[:1]) == [(TEXT, b"hello")]
    assert splitter.feed(frame[1:]) == [(TEXT, b"hello")]


@pytest.mark.parametrize(
    "frame",
    [
        client_frame(Opcode.TEXT, b"not masked", mask=False),
        bytes((0xC1,)) + client_frame(Opcode.TEXT, b"compressed")[1:],
        client_frame(Opcode.CONT, b"of nothing"),
        client_frame(Opcode.CLOSE, Close(1000, "bye").serialize()),
        bytes((0x83, 0x80, 1, 2, 3, 4)),  # a reserved opcode
        bytes((0xF1, 0x80, 1, 2, 3, 4)),  # reserved bits
        bytes((0x8B, 0x80, 1, 2, 3, 4)),  # a reserved control frame
    ],
    ids=["unmasked", "compressed", "continuation", "close", "opcode", "reserved bits", "control"],
)
def test_what_is_unusual_or_wrong_is_for_the_library_to_judge(frame: bytes) -> None:
    hello = client_frame(Opcode.TEXT, b"hello")
    splitter = FrameSplitter(LIMIT)
    assert splitter.feed(hello + frame + hello) == [(TEXT, b"hello"), (LIBRARY, frame), (TEXT, b"hello")]


def test_a_message_that_is_fragmented_keeps_the_fast_path_closed() -> None:
    splitter = FrameSplitter(LIMIT)
    first = client_frame(Opcode.TEXT, b"a", fin=False)
    ping = client_frame(Opcode.PING, b"")
    intruder = client_frame(Opcode.TEXT, b"b")
    assert splitter.feed(first + ping) == [(LIBRARY, first), (LIBRARY, ping)]
    assert splitter.fragmented
    assert splitter.feed(intruder) == [(LIBRARY, intruder)], "the library closes with 1002"
    last = client_frame(Opcode.CONT, b"")
    splitter = FrameSplitter(LIMIT)
    splitter.feed(first + last)
    assert not splitter.fragmented
    assert splitter.feed(intruder) == [(TEXT, b"b")]


# ---------------------------------------------------------------------------- limits
@pytest.mark.parametrize("size", [101, 125, 126, 65535, 65536, 2**63 - 1])
@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY, Opcode.CONT])
@pytest.mark.parametrize("mask", [0x80, 0])
def test_a_frame_over_the_limit_is_refused_by_its_header_alone(size: int, opcode: Opcode, mask: int) -> None:
    header = bytes((0x80 | opcode,))
    if size < 126:
        header += bytes((mask | size,))
    elif size < 65536:
        header += bytes((mask | 126,)) + size.to_bytes(2)
    else:
        header += bytes((mask | 127,)) + size.to_bytes(8)
    splitter = FrameSplitter(100)
    assert splitter.feed(header[:-1]) == []
    with pytest.raises(ClientError) as caught:
        splitter.feed(header[-1:])
    assert caught.value.outcome is DISCONNECT_MESSAGE_TOO_BIG


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536])
def test_a_frame_at_the_limit_passes(size: int) -> None:
    payload = os.urandom(size)
    frame = client_frame(Opcode.BINARY, payload)
    assert FrameSplitter(size).feed(frame) == [(BINARY, payload)]
    if size:
        with pytest.raises(ClientError):
            FrameSplitter(size - 1).feed(frame)


@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.PONG, Opcode.CLOSE])
@pytest.mark.parametrize("size", [126, 65536])
def test_a_control_frame_over_125_bytes_is_a_protocol_error(opcode: Opcode, size: int) -> None:
    wide = size > 65535
    header = bytes((0x80 | opcode, 0x80 | (127 if wide else 126))) + size.to_bytes(8 if wide else 2)
    with pytest.raises(ClientError) as caught:
        FrameSplitter(LIMIT).feed(header)
    assert caught.value.outcome is DISCONNECT_PROTOCOL_ERROR


# ---------------------------------------------------------------------------- the server's frames
def received(stream: bytes, cuts: Iterable[int] = (), *, deflate: bool = False) -> list[bytes]:
    """What a client of the library reads."""
    client = Protocol(CLIENT, state=State.OPEN, max_size=None)
    if deflate:
        client.extensions = [PerMessageDeflate(True, True, 15, 15)]
    texts = []
    start = 0
    for cut in [*sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]:
        client.receive_data(stream[start:cut])
        start = cut
        for frame in cast("list[Frame]", client.events_received()):
            assert (frame.opcode, frame.fin) == (Opcode.TEXT, True)
            texts.append(bytes(frame.data))
    assert client.parser_exc is None
    assert client.data_to_send() == []
    return texts


@QUICK
@given(st.lists(payloads, min_size=1, max_size=5), st.lists(st.integers(0, 200_000), max_size=3))
def test_clients_read_the_frames_of_the_server(contents: list[bytes], cuts: list[int]) -> None:
    assert received(b"".join(map(text_frame, contents)), cuts) == contents


@QUICK
@given(
    st.lists(st.tuples(payloads, st.booleans()), min_size=1, max_size=5),
    st.lists(st.integers(0, 200_000), max_size=3),
)
def test_clients_with_deflate_read_both_kinds_in_any_order(
    contents: list[tuple[bytes, bool]], cuts: list[int]
) -> None:
    stream = b"".join(
        deflated_text_frame(payload) if deflated else text_frame(payload) for payload, deflated in contents
    )
    assert received(stream, cuts, deflate=True) == [payload for payload, _ in contents]


def test_deflate_makes_json_smaller_and_depends_on_no_frame_before_it() -> None:
    payload = b'{"push":{"channel":"news","pub":{"data":"%b"}}}' % (b"again and " * 100)
    frame = deflated_text_frame(payload)
    assert len(frame) < len(payload) / 5
    assert frame == deflated_text_frame(payload)
    assert received(frame * 3, deflate=True) == [payload] * 3


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, 70000])
def test_the_header_is_the_shortest_that_holds_the_size(size: int) -> None:
    payload = b"x" * size
    assert text_frame(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)
