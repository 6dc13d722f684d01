"""Handlers in Python: what their parameters mean, what is validated, what an exception comes to; by the test
client, without a socket."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway import (
    Caller,
    ClientError,
    ConnectAnswer,
    ConnectEvent,
    Context,
    Disconnect,
    Error,
    Gateway,
    PublishAnswer,
    Refused,
    SubscribeAnswer,
    Subscription,
    SyncContext,
    UploadedFile,
)
from gateway.backend.calls import WAITING_PER_THREAD, Calls, Handler, Threads
from gateway.errors import GatewayError, UpstreamError
from tests.timing import MS


@dataclass
class Order:
    number: int
    note: str = ""


class Struct(msgspec.Struct):
    number: int


class Model(pydantic.BaseModel):
    number: int = pydantic.Field(ge=1)
    订单: str = ""


def answering(handler: Callable[..., Any], *, user: str = "ann") -> Callable[..., Any]:
    """Calls `handler` as the rpc `m`."""
    gw = Gateway(timeout=500 * MS)
    gw.rpc("m")(handler)
    return functools.partial(gw.test_client(user).rpc, "m")


# ---------------------------------------------------------------------------- parameters
def test_the_simple_signature_gets_who_asks_and_the_decoded_data() -> None:
    async def handler(caller, data):  # type: ignore[no-untyped-def]
        return [caller.user, caller.client, caller.appid, caller.session, data]

    assert answering(handler)({"a": 1}) == [
        "ann",
        "test-client",
        "wxsandbox00000000",
        "test-session",
        {"a": 1},
    ]


def test_each_way_to_ask_for_the_context() -> None:
    async def by_context(ctx: Context, data: Any) -> str:
        return type(ctx).__name__

    async def by_caller(who: Caller, data: Any) -> str:
        return type(who).__name__

    async def by_name(ctx) -> str:  # type: ignore[no-untyped-def]
        return type(ctx).__name__

    def in_a_thread(ctx: SyncContext, data: Any) -> str:
        return type(ctx).__name__

    async def last(order: Order, ctx: Context) -> str:
        return f"{type(ctx).__name__} {order.number}"

    async def data_alone(order: Order) -> int:
        return order.number

    async def nothing() -> str:
        return "nothing"

    class Shop:
        async def method(self, ctx: Context, data: Any) -> str:
            return type(ctx).__name__

    async def bound(shelf: str, ctx: Context, data: Any) -> str:
        return shelf

    assert answering(by_context)() == "Context"
    assert answering(by_caller)() == "Caller"
    assert answering(by_name)() == "Context"
    assert answering(in_a_thread)() == "SyncContext"
    assert answering(last)({"number": 2}) == "Context 2"
    assert answering(data_alone)({"number": 3}) == 3
    assert answering(nothing)() == "nothing"
    assert answering(Shop().method)() == "Context"
    assert answering(functools.partial(bound, "top"))() == "top"


def test_parameters_that_make_no_sense_are_told_at_registration() -> None:
    async def three(ctx: Context, first: Order, second: Order) -> None: ...
    def wrong_context(ctx: Context, data: Any) -> None: ...
    async def wrong_sync(ctx: SyncContext, data: Any) -> None: ...
    async def unknown(ctx: Context, data: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
    async def no_json(ctx: Context, data: threading.Thread) -> None: ...
    async def by_name_only(ctx: Context, *, data: Any) -> None: ...

    for handler, why in (
        (three, "'second' is one too many"),
        (wrong_context, "is given a SyncContext"),
        (wrong_sync, "is given a Context"),
        (unknown, "cannot be resolved"),
        (no_json, "cannot be read as"),
        (by_name_only, "'data' stays empty"),
    ):
        with pytest.raises(GatewayError, match=why):
            Gateway().rpc("m")(handler)
    with pytest.raises(GatewayError, match="takes a context"):
        Gateway().on_refresh(data_for_refresh)
    with pytest.raises(GatewayError, match="registered twice"):
        gw = Gateway()
        gw.on_subscribe("a:*")(lambda ctx, channel: None)
        gw.on_subscribe("a:*")(lambda ctx, channel: None)
    with pytest.raises(GatewayError, match="takes a channel or a pattern"):
        Gateway().on_publish(lambda ctx, data: None)  # type: ignore[arg-type]


async def data_for_refresh(ctx: Context, order: Order) -> None: ...


# ---------------------------------------------------------------------------- data
@pytest.mark.parametrize("kind", [Order, Struct, Model])
def test_data_is_validated_and_the_field_is_named(kind: type) -> None:
    async def handler(ctx, order):  # type: ignore[no-untyped-def]
        return order.number

    handler.__annotations__["order"] = kind
    call = answering(handler)
    assert call({"number": 17}) == 17
    for wrong, field in (({"number": "x"}, "data.number"), ({}, "data.number"), ([], "data"), (None, "data")):
        with pytest.raises(Refused) as refused:
            call(wrong)
        assert (refused.value.code, refused.value.temporary) == (107, False)
        assert refused.value.message.startswith(f"bad request: {field}: "), refused.value.message


def test_fields_may_have_chinese_names() -> None:
    async def handler(ctx: Context, order: Model) -> str:
        return order.订单

    call = answering(handler)
    assert call({"number": 1, "订单": "茶"}) == "茶"
    with pytest.raises(Refused, match=r"data\.订单: "):
        call({"number": 1, "订单": 5})


def test_other_types_of_json_are_validated_too() -> None:
    async def numbers(ctx: Context, data: list[int]) -> int:
        return sum(data)

    async def models(ctx: Context, data: dict[str, Model]) -> int:
        return sum(each.number for each in data.values())

    async def optional(ctx: Context, data: Order | None = None) -> str:
        return "none" if data is None else "some"

    async def untouched(ctx: Context, data: msgspec.Raw) -> int:
        return len(bytes(data))

    assert answering(numbers)([1, 2]) == 3
    with pytest.raises(Refused, match=r"data\[1\]: Expected int, got str"):
        answering(numbers)([1, "x"])
    assert answering(models)({"a": {"number": 4}}) == 4
    assert answering(optional)() == "none"
    assert answering(optional)({"number": 1}) == "some"
    assert answering(untouched)({"a": 1}) == 7


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_whatever_a_phone_sends_is_either_taken_or_error_107(data: Any) -> None:
    for client in CLIENTS:
        try:
            assert client.rpc("m", data) is not None
        except Refused as refused:
            assert refused.code == 107
            assert len(refused.message) < 300
            refused.message.encode()


def _typed(kind: type) -> Any:
    gw = Gateway()

    async def handler(ctx, order):  # type: ignore[no-untyped-def]
        return order.number

    handler.__annotations__["order"] = kind
    gw.rpc("m")(handler)
    return gw.test_client()


CLIENTS = [_typed(kind) for kind in (Order, Struct, Model)]


# ---------------------------------------------------------------------------- answers
def test_answers_are_anything_with_a_json_form() -> None:
    async def model(ctx: Context) -> Model:
        return Model(number=1, 订单="茶")

    async def several(ctx: Context) -> Any:
        return {"orders": [Order(1), Struct(2)], "model": Model(number=3)}

    assert answering(model)() == {"number": 1, "订单": "茶"}
    assert answering(several)() == {
        "orders": [{"number": 1, "note": ""}, {"number": 2}],
        "model": {"number": 3, "订单": ""},
    }


def test_hooks_answer_with_their_class_or_a_dictionary() -> None:
    gw = Gateway()

    @gw.on_connect
    async def connect(ctx: Context, event: ConnectEvent) -> ConnectAnswer:
        subs = {"orders:1": Subscription(data={"n": 1}, override={"presence": True})}
        return ConnectAnswer(user=event.token or "ann", info={"name": "安"}, subs=subs, channels=["news"])

    @gw.on_subscribe("orders:*")
    async def subscribe(ctx: Context, channel: str) -> Any:
        return {"yes": True, "no": False, "dict": {"data": 1}, "class": SubscribeAnswer(expire_at=2**33)}[
            channel.removeprefix("orders:")
        ]

    @gw.on_subscribe("orders:vip")
    async def vip(ctx: Context, channel: str) -> None:
        return None

    @gw.on_publish("orders:*")
    def publish(ctx: SyncContext, channel: str, data: Order) -> PublishAnswer:
        return PublishAnswer(data={"number": data.number + 1}, tags={"a": "b"})

    phone = gw.test_client()
    answer = phone.connect(token="bob")
    assert answer is not None
    assert (answer.user, answer.info, set(answer.subs)) == ("bob", {"name": "安"}, {"news", "orders:1"})
    assert answer.subs["orders:1"].override == {"presence": True}
    assert phone.subscribe("orders:yes") == SubscribeAnswer()
    assert phone.subscribe("orders:vip") == SubscribeAnswer(), "an exact name goes before a pattern"
    assert phone.subscribe("orders:dict") == SubscribeAnswer(data=1)
    assert phone.subscribe("orders:class") == SubscribeAnswer(expire_at=2**33)
    with pytest.raises(Refused) as refused:
        phone.subscribe("orders:no")
    assert refused.value.code == 103
    assert phone.subscribe("other:1") is None
    assert phone.publish("orders:1", {"number": 1}) == PublishAnswer({"number": 2}, tags={"a": "b"})


@pytest.mark.parametrize(
    "answer",
    [{"expire_at": "soon"}, {"data": object()}, 17, {"expire_at": -1}, {"override": {"presence": 3}}],
)
def test_an_answer_that_cannot_be_is_a_bug_of_the_handler(answer: Any) -> None:
    gw = Gateway()
    gw.on_subscribe("*")(lambda ctx, channel: answer)
    with capture_logs() as logged, pytest.raises(Refused) as refused:
        gw.test_client().subscribe("a")
    assert (refused.value.code, refused.value.temporary) == (450, False)
    assert [line["handler"] for line in logged] == ["on_subscribe *"]


# ---------------------------------------------------------------------------- exceptions
def test_what_an_exception_comes_to() -> None:
    failures: dict[str, tuple[Exception, tuple[int, bool]]] = {
        "bug": (ValueError("the secret of the team"), (450, False)),
        "database away": (ConnectionRefusedError("10.0.0.5"), (100, True)),
        "too slow elsewhere": (TimeoutError(), (100, True)),
        "refused": (ClientError(Error(1000, "sold out")), (1000, False)),
        "the end": (ClientError(Disconnect(4500, "banned")), (4500, False)),
        "upstream": (UpstreamError(Error(1001, "later", temporary=True)), (1001, True)),
    }
    for name, (failure, (code, temporary)) in failures.items():

        async def handler(ctx: Context, failure: Any = failure) -> None:
            raise failure

        with capture_logs() as logged, pytest.raises(Refused) as refused:
            answering(handler)()
        assert (refused.value.code, refused.value.temporary) == (code, temporary), name
        assert "secret" not in str(refused.value)
        expected = ["rpc m"] if code in (450, 100) else []
        assert [line["handler"] for line in logged] == expected, name


def test_connect_and_refresh_are_worth_another_try_whatever_happened() -> None:
    gw = Gateway()

    @gw.on_connect
    async def connect(ctx: Context) -> None:
        raise ValueError("a bug")

    with capture_logs(), pytest.raises(Refused) as refused:
        gw.test_client().connect()
    assert (refused.value.code, refused.value.temporary) == (100, True)


@pytest.mark.parametrize("threaded", [False, True])
def test_a_handler_that_takes_too_long_is_error_100(threaded: bool) -> None:
    async def slow(ctx: Context) -> None:
        await asyncio.sleep(30)

    release = threading.Event()

    def blocked(ctx: SyncContext) -> None:
        release.wait(10)

    gw = Gateway(timeout=50 * MS)
    gw.rpc("m")(blocked if threaded else slow)
    try:
        with pytest.raises(Refused) as refused:
            gw.test_client().rpc("m")
        assert (refused.value.code, refused.value.temporary) == (100, True)
    finally:
        release.set()


async def test_threads_are_bounded_and_so_is_their_queue() -> None:
    release = threading.Event()
    running = threading.Semaphore(0)

    def blocked() -> None:
        running.release()
        release.wait(10)

    before = set(threading.enumerate())
    threads = Threads(2)
    room = 2 * (1 + WAITING_PER_THREAD)
    waiting = [asyncio.create_task(threads.run(blocked, [])) for _ in range(room)]
    try:
        await asyncio.sleep(20 * MS)
        with pytest.raises(UpstreamError, match="threads for handlers are busy"):
            await threads.run(blocked, [])
        assert len(set(threading.enumerate()) - before) == 2
        waiting.pop().cancel()  # it had not begun: there is room for another one
        await asyncio.sleep(20 * MS)
        waiting.append(asyncio.create_task(threads.run(blocked, [])))
        await asyncio.sleep(0)
    finally:
        release.set()
        await asyncio.gather(*waiting, return_exceptions=True)
        threads.close()


async def test_a_thread_that_hangs_holds_up_no_other_handler() -> None:
    release = threading.Event()
    calls = Calls(5_000 * MS, 4)
    hang = Handler(lambda ctx: release.wait(10), "rpc hang")
    quick = Handler(lambda ctx: "quick", "rpc quick")
    caller = Caller("c", "ann", "", "")
    hanging = asyncio.create_task(calls.run(hang, caller))
    try:
        began = time.monotonic()
        assert await calls.run(quick, caller) == "quick"
        assert time.monotonic() - began < 1
    finally:
        release.set()
        await hanging
        calls.close()


# ---------------------------------------------------------------------------- the context
def test_handlers_publish_disconnect_and_link_files() -> None:
    gw = Gateway()

    @gw.rpc("async")
    async def in_the_loop(ctx: Context, data: Any) -> Any:
        await ctx.publish("orders:1", {"paid": data}, idempotency_key="k")
        await ctx.broadcast(["a", "b"], 1)
        await ctx.disconnect(Disconnect(4501, "signed out"), user="bob")
        await ctx.disconnect()
        return [ctx.files.link("f1", 60), await ctx.files.describe("f1"), ctx.meta, dict(ctx.headers), ctx.ip]

    @gw.rpc("sync")
    def in_a_thread(ctx: SyncContext, data: Any) -> int:
        ctx.broadcast(["a", "b"], 1)
        ctx.disconnect()
        return ctx.publish("orders:1", data).offset

    phone = gw.test_client("ann", meta={"level": 3}, headers={"User-Agent": "wx"})
    phone.files.known["f1"] = {"id": "f1"}
    link, described, meta, headers, ip = phone.rpc("async", 17)
    assert "f1" in link
    assert (described, meta, headers, ip) == ({"id": "f1"}, {"level": 3}, {"user-agent": "wx"}, "127.0.0.1")
    assert [(each.channel, each.data) for each in phone.published] == [
        ("orders:1", {"paid": 17}), ("a", 1), ("b", 1),
    ]  # fmt: skip
    assert phone.published[0].options == {"idempotency_key": "k"}
    assert phone.disconnected[0] == ("bob", "", Disconnect(4501, "signed out"))
    assert phone.disconnected[1][:2] == ("", "test-client")
    assert phone.rpc("sync", 18) == 6
    assert len(phone.disconnected) == 3


def test_uploads_and_messages_reach_their_handlers() -> None:
    gw = Gateway()
    seen: list[tuple[Any, ...]] = []

    @gw.on_upload
    async def judge(ctx: Context, file: UploadedFile) -> None:
        seen.append((ctx.user, file.name, b"".join([piece async for piece in file.read()])))

    gw.rpc("known")(lambda ctx: None)

    @gw.on_send
    async def said(ctx: Context, data: Order) -> None:
        seen.append((ctx.user, data.number, b""))

    phone = gw.test_client("ann")
    phone.upload(b"abc", name="a.txt")
    phone.send({"number": 1})
    assert seen == [("ann", "a.txt", b"abc"), ("ann", 1, b"")]
    with pytest.raises(Refused) as refused:
        Gateway().test_client().send()
    assert (refused.value.code, refused.value.disconnect) == (3508, True)
    with pytest.raises(Refused) as refused:
        Gateway().test_client().rpc("m")
    assert refused.value.code == 108
    with pytest.raises(Refused) as refused:
        gw.test_client().rpc("unknown")
    assert refused.value.code == 104


async def test_the_test_client_works_in_an_async_test_too() -> None:
    gw = Gateway()

    @gw.rpc("m")
    async def handler(ctx: Context, data: Order) -> int:
        return data.number

    phone = gw.test_client()
    assert await phone.aio.rpc("m", {"number": 5}) == 5
    with pytest.raises(GatewayError, match=r"await the same method of \.aio"):
        phone.rpc("m", {"number": 5})
