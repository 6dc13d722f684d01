"""Notifications: the socket first, then one subscribe message, against the stand-in WeChat over HTTP."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.errors import ClientError
from gateway.notify.base import Job
from gateway.notify.service import ATTEMPTS, BEIJING, DAY, LEASE, PATIENCE, Notification
from gateway.protocol import Publication, raw
from gateway.wechat.sandbox import Fault
from gateway.wechat.sandbox_subscribe import Asked
from tests.gateway_process import free_port, unique
from tests.inbox_phones import KEY, backend
from tests.notify_world import APP, TEMPLATE, Nodes, nodes_in
from tests.timing import MS


@pytest.fixture(params=["memory", "redis"])
async def nodes(request: pytest.FixtureRequest) -> AsyncIterator[Nodes]:
    async with nodes_in(request.param) as nodes:
        yield nodes


async def left(nodes: Nodes, user: str = "alice") -> int:
    return (await nodes.ledger.report(nodes.openid(user), {})).get(TEMPLATE, 0)


# ---------------------------------------------------------------------------- who gets it how
async def test_who_acknowledges_in_time_gets_no_message(nodes: Nodes) -> None:
    await nodes.accept()
    delivery = await nodes.notify()
    await nodes.after(9)
    assert await nodes.ack(delivery, node=1) == [delivery]
    await nodes.after(LEASE)
    assert nodes.messages() == []
    assert await nodes.status(delivery) == ("not needed", "")
    assert await left(nodes) == 1
    assert await nodes.funnel() == {"notified": 1, "acknowledged": 1}
    assert await nodes.store.waiting() == 0


async def test_who_does_not_gets_one_message(nodes: Nodes) -> None:
    await nodes.accept(times=2)
    job = {"page": "pages/order?id=17", "data": {"thing1": "tea", "amount2": "8元"}, "lang": "en_US"}
    delivery = await nodes.notify(job=job)
    await nodes.after(9)
    assert nodes.messages() == []
    await nodes.after(1)
    [message] = nodes.messages("alice")
    assert (message.template_id, message.page, message.lang, message.miniprogram_state) == (
        TEMPLATE,
        "pages/order?id=17",
        "en_US",
        "formal",
    )
    assert message.data == {"thing1": {"value": "tea"}, "amount2": {"value": "8元"}}
    for _ in range(4):
        await nodes.after(PATIENCE)
    assert len(nodes.messages()) == 1
    assert await nodes.status(delivery) == ("sent", "")
    assert await left(nodes) == 1
    assert await nodes.funnel() == {"notified": 1, "sent": 1}


async def test_a_late_acknowledgement_changes_nothing_but_is_counted(nodes: Nodes) -> None:
    await nodes.accept()
    delivery = await nodes.notify()
    await nodes.after(10)
    assert await nodes.ack(delivery) == [delivery], "the letter was still in the inbox"
    assert await nodes.status(delivery) == ("sent", "")
    assert await nodes.funnel() == {"notified": 1, "sent": 1, "late": 1}


async def test_many_due_at_once_are_shared_and_each_is_sent_once(nodes: Nodes) -> None:
    users = [f"user{number}" for number in range(50)]
    for user in users:
        await nodes.accept(user)
        await nodes.notify(user)
    await nodes.after(10)
    await nodes.after(1)
    assert sorted(message.user for message in nodes.messages()) == sorted(users)
    assert await nodes.funnel() == {"notified": 50, "sent": 50}


async def test_a_dead_nodes_work_is_taken_over(nodes: Nodes) -> None:
    await nodes.accept()
    await nodes.notify()
    nodes.clock.now += 10
    assert len(await nodes.store.take(round(nodes.clock.now * 1000), round(LEASE * 1000), 10)) == 1
    await nodes.after(LEASE - 1)
    assert nodes.messages() == []
    await nodes.after(1)
    assert len(nodes.messages()) == 1


async def test_a_repeat_with_the_same_key_is_the_same_notification(nodes: Nodes) -> None:
    await nodes.accept(times=5)
    first = await nodes.notify(key="17-paid")
    assert await nodes.notify(key="17-paid", node=1) == first
    await nodes.after(10)
    assert await nodes.notify(key="17-paid") == first
    await nodes.after(10)
    await nodes.after(LEASE)
    assert len(nodes.messages()) == 1
    assert await nodes.funnel() == {"notified": 1, "sent": 1}
    assert await nodes.store.waiting() == 0


# ---------------------------------------------------------------------------- grants
async def test_one_accept_is_one_message(nodes: Nodes) -> None:
    await nodes.accept(times=2)
    ids = [await nodes.notify() for _ in range(3)]
    await nodes.after(10)
    assert len(nodes.messages()) == 2
    outcomes = sorted([await nodes.status(each) for each in ids])
    assert outcomes == [("refused", "no_grant"), ("sent", ""), ("sent", "")]
    assert await nodes.funnel() == {"notified": 3, "sent": 2, "no_grant": 1}


async def test_without_a_grant_wechat_is_not_asked(nodes: Nodes) -> None:
    await nodes.accept(report=False)
    await nodes.notify()
    await nodes.after(10)
    assert nodes.sandbox.stats().apis.get("subscribe_send", 0) == 0


async def test_a_team_without_a_ledger_may_let_wechat_decide() -> None:
    async with nodes_in("memory", require_grant=False) as nodes:
        await nodes.accept(report=False)
        ids = [await nodes.notify() for _ in range(2)]
        await nodes.after(10)
        assert sorted([await nodes.status(each) for each in ids]) == [("refused", "rejected"), ("sent", "")]


async def test_a_ledger_that_was_too_hopeful_learns_from_wechat(nodes: Nodes) -> None:
    openid = nodes.openid()
    nodes.sandbox.subscribe.answer(_asked("reject"))
    await nodes.ledger.report(openid, {TEMPLATE: 7})
    delivery = await nodes.notify()
    await nodes.after(10)
    assert await nodes.status(delivery) == ("refused", "rejected")
    assert await left(nodes) == 0


async def test_who_banned_the_template_is_left_alone(nodes: Nodes) -> None:
    await nodes.accept()
    assert await nodes.ledger.report(nodes.openid(), {TEMPLATE: "ban"}) == {TEMPLATE: -1}
    delivery = await nodes.notify()
    await nodes.after(10)
    assert await nodes.status(delivery) == ("refused", "banned")
    assert nodes.sandbox.stats().apis.get("subscribe_send", 0) == 0


# ---------------------------------------------------------------------------- what WeChat says
@pytest.mark.parametrize(
    ("job", "reason"),
    [
        ({"data": {"thing1": "x" * 21}}, "bad_data"),
        ({"template_id": "unknown"}, "bad_template"),
        ({"page": "https://elsewhere.example"}, "bad_page"),
    ],
)
async def test_a_message_that_wechat_refuses_gives_the_grant_back(
    nodes: Nodes, job: dict[str, Any], reason: str
) -> None:
    await nodes.accept()
    template = job.get("template_id", TEMPLATE)
    await nodes.ledger.report(nodes.openid(), {template: 1})
    job = {name: value for name, value in job.items() if name != "template_id"}
    delivery = await _notify_with(nodes, template, job)
    await nodes.after(10)
    assert await nodes.status(delivery) == ("refused", reason)
    assert (await nodes.ledger.report(nodes.openid(), {}))[template] == 1
    assert nodes.messages() == []


async def test_an_openid_that_wechat_does_not_know(nodes: Nodes) -> None:
    await nodes.accept()
    await nodes.ledger.report("oNobody", {TEMPLATE: 1})
    delivery = await _notify_with(nodes, TEMPLATE, {}, user="oNobody")
    await nodes.after(10)
    assert await nodes.status(delivery) == ("refused", "bad_user")


async def test_a_used_up_quota_stops_until_wechats_next_day(nodes: Nodes) -> None:
    await nodes.accept(times=4)
    nodes.sandbox.order(Fault(kind="daily_quota", api="subscribe_send"))
    first = await nodes.notify(after=10)
    second = await nodes.notify(after=20, node=1)
    await nodes.after(10)
    assert await nodes.status(first) == ("refused", "quota")
    await nodes.after(10)
    assert await nodes.status(second) == ("refused", "quota")
    assert nodes.sandbox.stats().apis["subscribe_send"] == 1, "WeChat was not asked again"
    assert await left(nodes) == 4
    if not nodes.world.prefix:  # Redis keeps the stop in its own time
        nodes.clock.now += DAY - (nodes.clock.now + BEIJING) % DAY
        third = await nodes.notify()
        await nodes.after(10)
        assert await nodes.status(third) == ("sent", "")
        assert nodes.messages()


async def test_a_busy_wechat_is_asked_again(nodes: Nodes) -> None:
    await nodes.accept()
    nodes.sandbox.order(Fault(kind="busy", api="subscribe_send", times=2))
    delivery = await nodes.notify()
    await nodes.after(10)
    assert await nodes.status(delivery) == ("waiting", "")
    await nodes.after(5)
    await nodes.after(10)
    assert await nodes.status(delivery) == ("sent", "")
    assert len(nodes.messages()) == 1
    assert await nodes.funnel() == {"notified": 1, "again": 2, "sent": 1}


async def test_but_not_for_ever(nodes: Nodes) -> None:
    await nodes.accept()
    nodes.sandbox.order(Fault(kind="busy", api="subscribe_send", times=100))
    delivery = await nodes.notify()
    for _ in range(ATTEMPTS + 2):
        await nodes.after(100)
    assert await nodes.status(delivery) == ("refused", "busy")
    assert nodes.sandbox.stats().apis["subscribe_send"] == ATTEMPTS
    assert await left(nodes) == 1


async def test_an_answer_that_is_lost_is_told_as_uncertain_and_never_sent_again(nodes: Nodes) -> None:
    await nodes.accept(times=2)
    nodes.add_node(timeout=100 * MS)
    nodes.notifiers = nodes.notifiers[2:]
    nodes.sandbox.order(Fault(kind="silence", api="subscribe_send", seconds=0.3))
    delivery = await nodes.notify()
    for _ in range(4):
        await nodes.after(PATIENCE)
    assert await nodes.status(delivery) == ("uncertain", "no_answer")
    assert nodes.sandbox.stats().apis["subscribe_send"] == 1
    assert len(nodes.messages()) == 1, "WeChat did send it, though nobody heard"
    assert await left(nodes) == 1
    assert await nodes.funnel() == {"notified": 1, "uncertain": 1}


async def test_a_wechat_out_of_reach_is_tried_again_and_acknowledged_meanwhile_is_in_time(
    nodes: Nodes,
) -> None:
    await nodes.accept(times=2)
    nodes.add_node(base=f"http://127.0.0.1:{free_port()}")
    nodes.notifiers = nodes.notifiers[2:]
    delivery, other = await nodes.notify(), await nodes.notify()
    await nodes.after(10)
    assert (await nodes.status(delivery))[0] == "waiting"
    await nodes.ack(delivery)
    for _ in range(ATTEMPTS + 2):
        await nodes.after(100)
    assert await nodes.status(delivery) == ("not needed", "")
    assert (await nodes.status(other))[0] == "refused"
    assert await left(nodes) == 2


async def test_a_token_that_was_voided_costs_no_message(nodes: Nodes) -> None:
    await nodes.accept(times=2)
    await nodes.notify()
    await nodes.after(10)
    nodes.sandbox.open.void_tokens()
    await nodes.notify()
    await nodes.after(10)
    assert len(nodes.messages()) == 2


# ---------------------------------------------------------------------------- bounds
async def test_what_cannot_be_taken_is_refused_and_leaves_nothing_behind(nodes: Nodes) -> None:
    with pytest.raises(ClientError, match="longer than the letter"):
        await nodes.notify(after=100.0, ttl=50.0)
    for number in range(100):
        await nodes.notify(after=1000.0, key=str(number))
    with pytest.raises(ClientError, match="wait for an acknowledgement"):
        await nodes.notify()
    assert await nodes.store.waiting() == 100


async def test_scheduled_notifications_are_bounded() -> None:
    async with nodes_in("memory", max_scheduled=3) as nodes:
        for _ in range(3):
            await nodes.notify()
        with pytest.raises(ClientError) as caught:
            await nodes.notify()
        assert caught.value.outcome.code == 111
        assert len(await nodes.inboxes[0].deliveries(nodes.openid())) == 3


# ---------------------------------------------------------------------------- any schedule at all
@pytest.mark.parametrize("store", ["memory", "redis"])
@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_exactly_one_thing_becomes_of_each(store: str, seed: int) -> None:
    """Random acknowledgements, looks, refusals, nodes that die: the sums agree, and nobody gets two."""
    chance = random.Random(seed)
    async with nodes_in(store, 3) as nodes:
        users = [f"user{number}" for number in range(6)]
        accepted = dict.fromkeys(users, 0)
        ids: dict[str, str] = {}
        acked: set[str] = set()
        for _ in range(150):
            user, node = chance.choice(users), chance.randrange(3)
            match chance.randrange(8):
                case 0 | 1:
                    ids[await nodes.notify(user, node, after=chance.uniform(1, 20))] = user
                case 2:
                    await nodes.accept(user)
                    accepted[user] += 1
                case 3 | 4 if ids:
                    delivery = chance.choice(list(ids))
                    looks = (nodes.notifiers[node].look() for node in range(2))
                    answers = await asyncio.gather(nodes.ack(delivery, node), *looks)
                    acked.update(answers[0])  # type: ignore[arg-type]
                case 5:
                    await nodes.after(chance.uniform(0, 8))
                case 6:  # a node takes something and dies, before it sends or while it does
                    await take_and_die(nodes)
                case _:
                    kind = chance.choice(["busy", "token_expired"])
                    nodes.sandbox.order(Fault.model_validate({"kind": kind, "api": "subscribe_send"}))
        nodes.sandbox.clear_faults()
        for _ in range(12):
            await nodes.after(40)
        outcomes = {delivery: await nodes.status(delivery) for delivery in ids}
        assert {outcome for outcome, _ in outcomes.values()} <= {"not needed", "sent", "refused", "uncertain"}
        sent = [delivery for delivery, (outcome, _) in outcomes.items() if outcome == "sent"]
        assert len(nodes.messages()) == len(sent)
        for user in users:
            mine = [delivery for delivery in sent if ids[delivery] == user]
            assert len(nodes.messages(user)) == len(mine) <= accepted[user]
        for delivery, (outcome, _) in outcomes.items():
            assert outcome != "not needed" or delivery in acked
        funnel = await nodes.funnel()
        assert funnel["notified"] == len(ids)
        ends = {
            name: n for name, n in funnel.items() if name not in ("notified", "late", "again", "delivered")
        }
        assert sum(ends.values()) == len(ids), funnel
        assert await nodes.store.waiting() == 0


async def take_and_die(nodes: Nodes) -> None:
    """The first is being sent, WeChat was not asked yet; with the second nothing was begun."""
    taken = await nodes.store.take(round(nodes.clock.now * 1000), round(LEASE * 1000), 2)
    for delivery, _ in taken[:1]:
        word, _, user = delivery.partition(".")
        channel, store = f"#{user}", nodes.world.store
        await store.claim(channel, word, TEMPLATE, strict=True, patience=PATIENCE, sender="dead")


# ---------------------------------------------------------------------------- over the API
FALLBACK = {"template_id": TEMPLATE, "data": {"thing1": {"value": "tea"}}, "after": "1s"}


async def test_the_whole_way_over_http() -> None:
    async with backend() as team:
        world = team.worlds[0]
        alice, bob = await world.sign_in("alice"), await world.sign_in("bob")
        for user in ("alice", "bob"):
            await world.sandbox("subscribe", {"user": user, "template_id": TEMPLATE})
        phone = await team.device(alice.openid)
        answer = await phone.rpc("gateway.granted", {"templates": {TEMPLATE: "accept", "other": "reject"}})
        assert answer == {"grants": {TEMPLATE: 1, "other": 0}}
        reported = await team.result("grants", user=bob.openid, templates={TEMPLATE: "accept"})
        assert reported == {"grants": {TEMPLATE: 1}}
        ids = [
            (await team.result("notify", user=user.openid, data={"order": 17}, fallback=FALLBACK))["id"]
            for user in (alice, bob)
        ]
        while not phone.letters:
            await asyncio.sleep(MS)
        assert phone.data == [{"order": 17}]
        assert await phone.ack(ids[0]) == [ids[0]]
        async with asyncio.timeout(10_000 * MS):
            while not (sent := (await world.http.get("/sandbox/messages", params={"user": "bob"})).json()):
                await asyncio.sleep(20 * MS)
        assert [message["data"] for message in sent] == [{"thing1": {"value": "tea"}}]
        assert (await world.http.get("/sandbox/messages", params={"user": "alice"})).json() == []
        delivery = await team.result("delivery", id=ids[0])
        assert (delivery["status"], delivery["fallback"]) == ("acknowledged", "not needed")
        [today] = (await team.result("notify_stats"))["days"]
        assert (today["notified"], today["delivered"], today["acknowledged"], today["sent"]) == (2, 1, 1, 1)
        assert today["refused"] == {}


BAD_NOTIFICATIONS: list[Any] = [
    {"user": ""},
    {"user": "x" * 300},
    {"data": None},
    {"data": "x" * 300_000},
    {"appid": "wxunknown"},
    {"idempotency_key": "x" * 65},
    {"ack_ttl": "9d"},
    {"fallback": {**FALLBACK, "after": "8d"}},
    {"fallback": {**FALLBACK, "after": "never"}},
    {"fallback": {**FALLBACK, "data": {"thing1": {}}}},
]


async def test_bad_notifications_are_refused() -> None:
    async with backend() as team:
        for change in BAD_NOTIFICATIONS:
            good = {"user": "alice", "data": 1, "fallback": FALLBACK}
            request = {name: value for name, value in {**good, **change}.items() if value is not None}
            answer = await team.call("notify", **request)
            assert answer["error"]["code"] in (107, 403), answer
            assert (await team.result("deliveries", user="alice")) == {"deliveries": []}


BAD_FALLBACKS: list[Any] = [
    None,
    {},
    {**FALLBACK, "template_id": "no template"},
    {**FALLBACK, "template_id": "x" * 65},
    {**FALLBACK, "data": {}},
    {**FALLBACK, "data": {f"thing{number}": "x" for number in range(21)}},
    {**FALLBACK, "data": {"thing1": "x" * 201}},
    {**FALLBACK, "data": {"Thing": "x"}},
    {**FALLBACK, "page": "x" * 1025},
    {**FALLBACK, "lang": "tlh"},
    {**FALLBACK, "unknown": 1},
]


async def test_a_fallback_that_is_none_does_not_decode() -> None:
    async with backend() as team:
        for fallback in BAD_FALLBACKS:
            world = team.worlds[0]
            url = f"http://127.0.0.1:{world.server.ports['internal']}/api/notify"
            body = {"user": "alice", "data": 1, "fallback": fallback}
            answer = await world.http.post(url, json=body, headers={"X-API-Key": KEY})
            assert answer.status_code == 400, answer.text


BAD_REPORTS: list[Any] = [
    {"": "accept"},
    {"t": "maybe"},
    {"t": 5},
    {"bad id": "accept"},
    {f"t{n}": "accept" for n in range(21)},
    [],
    None,
]


async def test_a_report_that_is_none_is_a_bad_request() -> None:
    async with backend() as team:
        for templates in BAD_REPORTS:
            phone = await team.device(unique("o"))
            assert (await phone.rpc("gateway.granted", {"templates": templates}))["code"] == 107


async def test_a_phone_cannot_fill_the_ledger() -> None:
    async with backend() as team:
        phone = await team.device("alice")
        for start in range(0, 60, 20):
            answer = await phone.rpc(
                "gateway.granted", {"templates": {f"t{start + n}": "accept" for n in range(20)}}
            )
        assert answer["code"] == 106
        assert len((await team.result("grants", user="alice"))["grants"]) == 50


async def _notify_with(nodes: Nodes, template: str, job: dict[str, Any], user: str = "") -> str:
    whole = Job(appid=APP, template_id=template, **{"data": {"thing1": "tea"}, **job})
    wanted = Notification(user or nodes.openid(), Publication(raw(1)), whole, 10.0)
    return await nodes.notifiers[0].notify(wanted)


def _asked(result: str) -> Any:
    return Asked(user="alice", template_id=TEMPLATE, result=result)  # type: ignore[arg-type]
