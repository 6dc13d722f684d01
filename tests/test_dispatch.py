"""Commands of one client: one after the other, a reply before the next one starts, and nobody else waits."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, MutableMapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.client import Client, State, Tick
from gateway.errors import (
    DISCONNECT_BAD_REQUEST,
    DISCONNECT_INTERNAL,
    DISCONNECT_NO_PONG,
    DISCONNECT_NORMAL,
    ERROR_INTERNAL,
    ERROR_PERMISSION_DENIED,
    ERROR_WECHAT_BUSY,
    ClientError,
    UpstreamError,
)
from gateway.metrics import Metrics
from gateway.protocol import Command, EmptyResult, RPCRequest, encode_reply
from gateway.websocket.dispatch import AT_A_TIME, BACKLOG_HIGH, TURN, Dispatcher
from tests.rooms import LIMITS, Clock, Phone
from tests.timing import MS, until

Pending = Coroutine[Any, Any, None] | None


class Team:
    """Handlers: each command does what its method's name says, and leaves a trace.

    rpc  answers at once          publish  waits for `gate`, then answers
    """

    def __init__(self) -> None:
        self.trace: list[tuple[str, int]] = []
        self.gate = asyncio.Event()
        self.at_once: Callable[[Client, Command], None] = self.answer
        self.after_waiting: Callable[[Client, Command], None] = self.answer

    def handle(self, client: Client, command: Command) -> Pending:
        self.trace.append(("begin", command.id))
        if command.method in ("publish", "connect"):
            if command.method == "connect":
                client.begin_connect()
            return self._wait(client, command)
        self.at_once(client, command)
        self.trace.append(("end", command.id))
        return None

    async def _wait(self, client: Client, command: Command) -> None:
        await self.gate.wait()
        self.after_waiting(client, command)
        self.trace.append(("end", command.id))

    def answer(self, client: Client, command: Command) -> None:
        if command.id:
            client.sink.send(encode_reply(command.id, command.method, EmptyResult()))


class Desk:
    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self.team = Team()
        self.metrics = Metrics()
        self.dispatcher = Dispatcher(self.team, self.metrics, clock or Clock())

    def client(self, state: State = State.CONNECTED) -> tuple[Client, Phone]:
        phone = Phone()
        client = Client("c1", phone, LIMITS, ip="", now=1000.0)
        if state is State.CONNECTED:
            client.begin_connect()
            client.connected(2000.0)
        phone.on_close = client.close
        return client, phone

    def tasks(self) -> int:
        return len(self.dispatcher._tasks)


def calls(*numbers: int, method: str = "rpc") -> list[Command]:
    return [Command(number, method, RPCRequest()) for number in numbers]


def ids(phone: Phone) -> list[int]:
    return [reply["id"] for reply in phone.received]


@pytest.fixture
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """What the gateway logs, unrendered."""
    with capture_logs() as entries:
        yield entries


# ---------------------------------------------------------------------------- order
async def test_commands_that_wait_for_nothing_are_answered_at_once_and_without_a_task() -> None:
    desk = Desk()
    client, phone = desk.client()
    desk.dispatcher.receive(client, calls(1, 2, 3))
    assert ids(phone) == [1, 2, 3]
    assert desk.tasks() == 0
    assert client.backlog is None


async def test_what_comes_while_a_command_waits_stands_in_line() -> None:
    desk = Desk()
    client, phone = desk.client()
    desk.dispatcher.receive(client, [*calls(1), *calls(2, method="publish"), *calls(3)])
    desk.dispatcher.receive(client, calls(4))
    await asyncio.sleep(2 * MS)
    assert ids(phone) == [1]
    desk.team.gate.set()
    await until(lambda: not desk.tasks(), "the backlog to be worked off")
    assert ids(phone) == [1, 2, 3, 4]
    assert client.backlog is None
    desk.dispatcher.receive(client, calls(5))
    assert ids(phone)[-1] == 5


async def test_one_client_that_waits_holds_up_no_other() -> None:
    desk = Desk()
    waiting, _ = desk.client()
    busy, phone = desk.client()
    desk.dispatcher.receive(waiting, calls(1, method="publish"))
    desk.dispatcher.receive(busy, calls(1, 2))
    assert ids(phone) == [1, 2]
    desk.team.gate.set()
    await until(lambda: not desk.tasks(), "the waiting command")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(["rpc", "publish", "send"]), min_size=1, max_size=4), max_size=8),
    st.lists(st.integers(0, 3), max_size=8),
)
def test_each_command_ends_before_the_next_one_begins(frames: list[list[str]], turns: list[int]) -> None:
    async def scenario() -> None:
        desk = Desk()
        desk.team.gate.set()
        client, _ = desk.client()
        number, pauses = 0, deque(turns)
        for frame in frames:
            commands = []
            for method in frame:
                number += 1
                commands += calls(number, method=method)
            desk.dispatcher.receive(client, commands)
            for _ in range(pauses.popleft() if pauses else 0):
                await asyncio.sleep(0)
        while desk.tasks():
            await asyncio.sleep(0)
        expected = [(what, each) for each in range(1, number + 1) for what in ("begin", "end")]
        assert desk.team.trace == expected
        assert client.backlog is None

    asyncio.run(scenario())


async def test_nothing_starts_before_the_connect_is_answered() -> None:
    desk = Desk()
    client, phone = desk.client(State.NEW)

    def welcome(client: Client, command: Command) -> None:
        desk.team.answer(client, command)
        client.connected(2000.0)

    desk.team.after_waiting = welcome
    desk.dispatcher.receive(client, [*calls(1, method="connect"), *calls(2)])
    await asyncio.sleep(2 * MS)
    assert desk.team.trace == [("begin", 1)]
    desk.team.gate.set()
    await until(lambda: not desk.tasks(), "connect and what follows it")
    assert ids(phone) == [1, 2]


async def test_after_a_refused_connect_the_next_command_ends_the_connection() -> None:
    """What was sent together with the connect, in good faith, is dropped: the refusal answers it, too."""
    desk = Desk()
    client, phone = desk.client(State.NEW)

    def refuse(_client: Client, _command: Command) -> None:
        raise ClientError(ERROR_WECHAT_BUSY)

    states: list[State] = []

    def close() -> None:
        states.append(client.state)
        client.close()

    phone.on_close = close
    desk.team.after_waiting = refuse
    desk.team.gate.set()
    desk.dispatcher.receive(client, [*calls(1, method="connect"), *calls(2)])
    await until(lambda: client.backlog is None, "the end of the first frame")
    assert len(phone.received) == 1
    assert phone.ended is None
    desk.dispatcher.receive(client, calls(3))
    assert phone.received[0]["error"]["code"] == ERROR_WECHAT_BUSY.code
    assert states == [State.REFUSED]
    assert phone.ended is DISCONNECT_BAD_REQUEST
    assert desk.team.trace == [("begin", 1)]


# ---------------------------------------------------------------------------- many
async def test_ten_thousand_commands_do_not_hold_the_loop() -> None:
    desk = Desk()
    client, phone = desk.client()
    cost = 0.05 * MS

    def work(client: Client, command: Command) -> None:
        end = time.perf_counter() + cost
        while time.perf_counter() < end:
            pass
        desk.team.answer(client, command)

    desk.team.at_once = work
    turns, between = 0, [0]
    began = len(desk.team.trace)
    desk.dispatcher.receive(client, calls(*range(1, 10_001)))
    between.append(len(desk.team.trace) - began)
    while desk.tasks():
        before = len(desk.team.trace)
        await asyncio.sleep(0)
        between.append(len(desk.team.trace) - before)
        turns += 1
    assert max(between) <= 2 * (AT_A_TIME + 1), "so many commands ran in one turn"
    assert turns >= 10_000 / (AT_A_TIME + 1) - 1
    assert ids(phone) == list(range(1, 10_001))


async def test_commands_that_cost_much_give_way_sooner() -> None:
    desk = Desk(time.monotonic)
    client, _ = desk.client()

    def work(client: Client, command: Command) -> None:
        time.sleep(TURN * 1.1)

    desk.team.at_once = work
    desk.dispatcher.receive(client, calls(1, method="publish"))  # waits, and the others stand behind it
    desk.dispatcher.receive(client, calls(*range(2, 12)))
    desk.team.gate.set()
    most = 0
    while desk.tasks():
        before = len(desk.team.trace)
        await asyncio.sleep(0)
        most = max(most, len(desk.team.trace) - before)
    assert most <= 4, "more than one or two of them ran in one turn"


async def test_reading_pauses_at_a_full_backlog_and_goes_on_when_it_is_short() -> None:
    desk = Desk()
    client, phone = desk.client()
    desk.dispatcher.receive(client, calls(1, method="publish"))
    desk.dispatcher.receive(client, calls(*range(2, BACKLOG_HIGH + 2)))
    assert phone.reading
    desk.dispatcher.receive(client, calls(BACKLOG_HIGH + 2))
    assert not phone.reading
    desk.team.gate.set()
    await until(lambda: not desk.tasks(), "the backlog to be worked off")
    assert phone.reading
    assert ids(phone) == list(range(1, BACKLOG_HIGH + 3))


async def test_a_client_that_never_stops_sending_has_a_bounded_backlog() -> None:
    """As a socket that has a full frame ready whenever it is read."""
    desk = Desk()
    client, phone = desk.client()
    frame = 1000
    desk.dispatcher.receive(client, calls(1, method="publish"))
    desk.team.gate.set()
    longest = sent = 0
    while sent < 100_000:
        if phone.reading:
            desk.dispatcher.receive(client, calls(*range(2, frame + 2)))
            sent += frame
        longest = max(longest, len(client.backlog or ()))
        await asyncio.sleep(0)
    assert longest <= BACKLOG_HIGH + frame
    client.close()
    await until(lambda: not desk.tasks(), "the end of the work")


# ---------------------------------------------------------------------------- failures
@pytest.mark.parametrize("waits", [False, True], ids=["at once", "after waiting"])
@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ClientError(ERROR_PERMISSION_DENIED), 103, "permission denied"),
        (ClientError(ERROR_PERMISSION_DENIED, "ask ann"), 103, "permission denied: ask ann"),
        (UpstreamError(ERROR_WECHAT_BUSY, "40029 from 10.0.0.1"), 400, ERROR_WECHAT_BUSY.message),
        (RuntimeError("a secret"), 100, ERROR_INTERNAL.message),
    ],
    ids=["client", "client with a hint", "upstream", "bug"],
)
async def test_a_command_that_fails_is_answered_and_the_next_one_runs(
    waits: bool, error: Exception, code: int, message: str, logged: list[MutableMapping[str, Any]]
) -> None:
    desk = Desk()
    client, phone = desk.client()

    def fail(_client: Client, command: Command) -> None:
        if command.id == 1:
            raise error
        desk.team.answer(client, command)

    desk.team.at_once = desk.team.after_waiting = fail
    desk.team.gate.set()
    desk.dispatcher.receive(client, [*calls(1, method="publish" if waits else "rpc"), *calls(2)])
    await until(lambda: len(phone.received) == 2, "both replies")
    assert phone.received[0]["id"] == 1
    assert phone.received[0]["error"]["code"] == code
    assert phone.received[0]["error"]["message"] == message
    assert phone.received[1] == {"id": 2, "rpc": {}}
    assert phone.ended is None
    assert "secret" not in str(phone.received)
    assert len(logged) == (not isinstance(error, ClientError)), "what is no client's fault is logged, once"


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "after waiting"])
async def test_a_disconnect_ends_the_connection_and_what_waits_behind_it(waits: bool) -> None:
    desk = Desk()
    client, phone = desk.client()

    def fail(_client: Client, _command: Command) -> None:
        raise ClientError(DISCONNECT_NORMAL, "gone")

    desk.team.at_once = desk.team.after_waiting = fail
    desk.dispatcher.receive(client, [*calls(1, method="publish" if waits else "rpc"), *calls(2, 3)])
    desk.team.gate.set()
    await until(lambda: phone.ended is not None and not desk.tasks(), "the end")
    assert phone.ended is DISCONNECT_NORMAL
    assert [entry for entry in desk.team.trace if entry[0] == "begin"] == [("begin", 1)]
    assert client.backlog is None


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (ClientError(ERROR_PERMISSION_DENIED), None),
        (RuntimeError("a bug"), DISCONNECT_INTERNAL),
    ],
    ids=["refused", "bug"],
)
@pytest.mark.usefixtures("logged")
async def test_a_send_has_no_reply_so_only_a_bug_ends_the_connection(error: Exception, ended: object) -> None:
    desk = Desk()
    client, phone = desk.client()

    def fail(_client: Client, _command: Command) -> None:
        raise error

    desk.team.at_once = fail
    desk.dispatcher.receive(client, calls(0, method="send"))
    assert phone.ended is ended
    assert not [each for each in phone.received if "id" in each]


async def test_a_client_that_left_while_its_command_waited_gets_nothing_more() -> None:
    desk = Desk()
    client, phone = desk.client()
    desk.dispatcher.receive(client, [*calls(1, method="publish"), *calls(2)])
    phone.disconnect(DISCONNECT_NORMAL)
    desk.dispatcher.receive(client, calls(3))
    desk.team.gate.set()
    await until(lambda: not desk.tasks(), "the waiting command")
    assert ("begin", 2) not in desk.team.trace
    assert client.backlog is None


# ---------------------------------------------------------------------------- the end
async def test_drain_waits_for_what_is_under_way_and_cancels_what_hangs() -> None:
    desk = Desk()
    quick, phone = desk.client()
    desk.dispatcher.receive(quick, calls(1, method="publish"))
    desk.team.gate.set()
    await desk.dispatcher.drain(100 * MS)
    assert ids(phone) == [1]
    desk.team.gate.clear()
    hanging, silent = desk.client()
    desk.dispatcher.receive(hanging, calls(1, method="publish"))
    await asyncio.sleep(0)
    began = time.monotonic()
    await desk.dispatcher.drain(20 * MS)
    assert time.monotonic() - began < 2000 * MS
    assert silent.received == []
    assert desk.tasks() == 0
    await desk.dispatcher.drain(20 * MS)


async def test_a_sign_of_life_waits_behind_no_command() -> None:
    desk = Desk()
    client, _ = desk.client()
    assert client.tick(2001.0) is Tick.PING
    desk.dispatcher.receive(client, calls(1, method="publish"))
    desk.dispatcher.receive(client, calls(2))
    desk.dispatcher.receive(client, [Command(0, "pong", None)])
    # Answered in time, although the command before it is not.
    assert client.tick(2001.0 + LIMITS.pong_timeout) is not DISCONNECT_NO_PONG
    assert ("begin", 0) in desk.team.trace
    assert ("begin", 2) not in desk.team.trace
    desk.team.gate.set()
    await until(lambda: not desk.tasks(), "the commands")
    assert ("end", 2) in desk.team.trace
