"""Letters over real sockets, on one node without Redis and on two nodes around one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway import Gateway
from gateway.errors import GatewayError
from gateway.publisher import Publisher
from tests.gateway_process import unique
from tests.inbox_phones import KEY, Backend, backend
from tests.redis_server import Proxy, shared_servers
from tests.timing import MS, until


@pytest.fixture(params=["memory", "redis"])
async def team(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    """`node=1` is another node where there is Redis, else the same."""
    url = shared_servers(1)[0].url if request.param == "redis" else ""
    async with backend(2 if url else 1, url) as team:
        if not url:
            team.worlds.append(team.worlds[0])
        yield team


async def test_a_letter_to_a_user_who_is_here(team: Backend) -> None:
    user = unique("o")
    phone = await team.device(user, node=1)
    letter = await team.letter(user, {"order": 17})
    await until(lambda: phone.letters == [letter])
    assert phone.data == [{"order": 17}]
    deliveries: list[Any] = []
    while [each["status"] for each in deliveries] != ["delivered"]:
        deliveries = (await team.result("deliveries", user=user))["deliveries"]
    assert await phone.ack(letter) == [letter]
    delivery = await team.result("delivery", id=letter)
    assert delivery["status"] == "acknowledged"
    times = [delivery[f"{what}_at"] for what in ("published", "delivered", "acknowledged", "expires")]
    assert times == sorted(times)
    assert await phone.ack(letter) == [letter], "a repeat is answered alike"


async def test_a_letter_waits_and_comes_with_each_return_until_it_is_acknowledged(team: Backend) -> None:
    user = unique("o")
    letters = [await team.letter(user, number) for number in range(3)]
    assert await team.status(letters[0]) == "pending"
    for node in (0, 1):
        phone = await team.device(user, node)
        await until(lambda: phone.letters == letters)  # noqa: B023
        await phone.leave()
    phone = await team.device(user)
    await until(lambda: len(phone.letters) == 3)
    assert await phone.ack(*letters[:2]) == letters[:2]
    await phone.leave()
    phone = await team.device(user, node=1)
    await until(lambda: bool(phone.letters))
    await team.settled()
    assert phone.letters == letters[2:]


async def test_one_device_acknowledges_for_all(team: Backend) -> None:
    user = unique("o")
    one, other = await team.device(user, node=0), await team.device(user, node=1)
    letter = await team.letter(user, 1)
    await until(lambda: one.letters == other.letters == [letter])
    await one.ack(letter)
    await other.leave()
    other = await team.device(user, node=1)
    await team.settled()
    assert other.letters == []


async def test_nobody_acknowledges_for_somebody_else(team: Backend) -> None:
    user, thief = unique("o"), unique("o")
    letter = await team.letter(user, 1)
    stranger = await team.device(thief)
    forged = letter.partition(".")[0] + "." + thief
    assert await stranger.ack(letter, forged, "", ".", "x", "a.b.c", "#bytes." + thief) == []
    assert await team.status(letter) == "pending"


async def test_recovery_and_the_inbox_do_not_bring_the_same_twice(team: Backend) -> None:
    user = unique("o")
    channel = f"#{user}"
    phone = await team.device(user)
    place = phone.connected["subs"][channel]
    await phone.leave()
    await team.result("publish", channel=channel, data="plain")
    letter = await team.letter(user, "letter")
    position = {"recover": True, "epoch": place["epoch"], "offset": place.get("offset", 0)}
    phone = await team.device(user, subs={channel: position})
    await until(lambda: bool(phone.letters))
    await team.settled()
    recovered = phone.connected["subs"][channel]["publications"]
    assert [each["data"] for each in recovered] == ["plain"]
    assert (phone.letters, phone.data) == ([letter], ["letter"])


async def test_a_letter_expires(team: Backend) -> None:
    user = unique("o")
    letter = await team.letter(user, 1, ack_ttl=20 * MS)
    while await team.status(letter) != "expired":
        pass
    phone = await team.device(user)
    await team.settled()
    assert phone.letters == []
    assert await phone.ack(letter) == []


async def test_an_idempotency_key_gives_the_same_id_and_publishes_once(team: Backend) -> None:
    user = unique("o")
    phone = await team.device(user)
    one = await team.letter(user, 1, idempotency_key="17-paid")
    assert await team.letter(user, 2, node=1, idempotency_key="17-paid") == one
    other = await team.letter(user, 3, idempotency_key="18-paid")
    await until(lambda: phone.data == [1, 3])
    assert phone.letters == [one, other]


async def test_a_broadcast_gives_each_user_a_letter(team: Backend) -> None:
    users = [unique("o") for _ in range(3)]
    channels = [*(f"#{user}" for user in users), "news"]
    answer = await team.result("broadcast", channels=channels, data=1, ack=True)
    *ids, failed = answer["responses"]
    assert len({each["result"]["id"] for each in ids}) == 3
    assert failed["error"]["code"] == 107
    phone = await team.device(users[1])
    await until(lambda: phone.letters == [ids[1]["result"]["id"]])


NO_LETTERS: list[tuple[dict[str, Any], int]] = [
    ({"channel": "news"}, 107),
    ({"channel": "chat:1"}, 102),
    ({"channel": "#"}, 107),
    ({"channel": "#a,b"}, 107),
    ({"channel": "room#alice"}, 107),
    ({"channel": "#a", "ack_ttl": "8d"}, 107),
    ({"channel": "#a", "ack_ttl": -1}, 107),
    ({"channel": "#a", "ack_ttl": "soon"}, 107),
    ({"channel": "#a", "version": 2}, 107),
    ({"channel": "#a", "data": "x" * 300_000}, 107),
    ({"channel": "#" + "a" * 255}, 107),
]


async def test_what_cannot_be_a_letter_is_refused() -> None:
    async with backend() as team:
        for params, code in NO_LETTERS:
            answer = await team.call("publish", **{"data": 1, **params}, ack=True)
            assert answer["error"]["code"] == code, answer
        listed = await team.result("deliveries", user="a")
        assert listed == {"deliveries": []}


BAD_ACKS: list[Any] = [
    None,
    {},
    [],
    {"ids": "x"},
    {"ids": [1]},
    {"ids": ["x" * 400]},
    {"ids": ["x"] * 501},
    "x",
]


async def test_an_ack_that_is_none_is_a_bad_request() -> None:
    async with backend() as team:
        phone = await team.device("alice")
        for data in BAD_ACKS:
            assert (await phone.rpc("ack", data))["code"] == 107, data
        assert await phone.ack() == [], "and the connection goes on"


async def test_an_anonymous_client_has_no_inbox() -> None:
    async with backend(client={"allow_anonymous": True}) as team:
        phone = await team.device("")
        assert (await phone.rpc("ack", {"ids": ["a.b"]}))["code"] == 103


async def test_a_flood_to_one_user_is_refused_and_nothing_taken_is_lost() -> None:
    async with backend(inbox={"user_messages": 10}) as team:
        taken = [await team.letter("alice", number) for number in range(10)]
        for _ in range(5):
            answer = await team.call("publish", channel="#alice", data=1, ack=True)
            assert answer["error"]["code"] == 106
        phone = await team.device("alice")
        await until(lambda: phone.letters == taken)
        await phone.ack(taken[0])
        await team.letter("alice", "more")
        metrics = (await team.worlds[0].http.get(_internal(team, "/metrics"))).text
        assert 'gateway_inbox_total{event="refused_user"} 5.0' in metrics


async def test_a_flood_to_many_users_is_refused_once_all_are_full() -> None:
    url = shared_servers(1)[0].url
    async with backend(2, url, inbox={"total_size": "10KB"}) as team:
        refused = 0
        for number in range(30):
            answer = await team.call("publish", number % 2, channel=f"#u{number}", data="x" * 1000, ack=True)
            refused += "error" in answer and answer["error"]["code"] == 111
        assert 10 <= refused < 30, "each node knows its own at once"
        for node in (0, 1):
            answer = {"result": {}}
            while "result" in answer:  # until the nodes have exchanged their sums
                answer = await team.call("publish", node, channel="#more", data="x" * 9_900, ack=True)
            assert answer["error"]["code"] == 111


async def test_a_big_inbox_comes_in_portions_and_in_order() -> None:
    async with backend(inbox={"user_size": "4MB"}, websocket={"queue_size": "256KB"}) as team:
        letters = [await team.letter("alice", "x" * 20_000) for _ in range(100)]
        phone = await team.device("alice")
        await until(lambda: phone.letters == letters)
        assert await phone.ack(*letters) == letters


async def test_switched_off_it_is_refused() -> None:
    off: list[dict[str, Any]] = [{"inbox": {"enabled": False}}, {"client": {"personal_channel": False}}]
    for tables in off:
        async with backend(**tables) as team:
            answer = await team.call("publish", channel="#a", data=1, ack=True)
            assert answer["error"]["code"] == 108


async def test_a_status_can_be_read_with_get() -> None:
    async with backend() as team:
        letter = await team.letter("alice", 1)
        async with httpx.AsyncClient(headers={"X-API-Key": KEY}) as http:
            answer = await http.get(_internal(team, "/api/delivery"), params={"id": letter})
            assert answer.json()["result"]["status"] == "pending"
            assert (await http.get(_internal(team, "/api/publish"))).status_code == 405
            for bad in ("", "x", ".", "a.", "x" * 400, "a b.c"):
                answer = await http.get(_internal(team, "/api/delivery"), params={"id": bad})
                assert answer.json()["error"]["code"] == 107, bad
            answer = await http.get(_internal(team, "/api/delivery"), params={"id": "abc.alice"})
            assert answer.json()["result"] == {"id": "abc.alice", "status": "unknown"}
        assert (await team.worlds[0].http.get(_internal(team, "/api/delivery"))).status_code == 401


@pytest.mark.parametrize("name", ["ack", "gateway.granted", "gateway.anything"])
def test_the_gateways_own_methods_are_not_the_teams(name: str) -> None:
    with pytest.raises(GatewayError, match="own"):
        Gateway().rpc(name)


def _internal(team: Backend, path: str) -> str:
    return f"http://127.0.0.1:{team.worlds[0].server.ports['internal']}{path}"


async def test_a_letter_that_a_node_did_not_hear_comes_when_redis_is_back() -> None:
    """Without history on the personal channel nothing else would close the gap."""
    server = shared_servers(1)[0]
    plain = {"history_size": 0, "history_ttl": "0s"}
    async with Proxy(server.port) as proxy, backend(1, proxy.url, channels=plain) as team:
        user = unique("o")
        phone = await team.device(user)
        before = await team.letter(user, "before")
        await until(lambda: phone.letters == [before])
        prefix = team.prefix
        await proxy.refuse()
        async with Publisher(server.url, prefix=prefix) as publisher:
            missed = (await publisher.publish(f"#{user}", "missed", ack=True)).id
        await proxy.open()
        await until(lambda: missed in phone.letters, within=15_000 * MS)
        assert phone.letters == [before, missed], "and nothing that was sent already"
