"""Letters, with real SDKs: they come as publications, come again, and are acknowledged by rpc."""

from __future__ import annotations

import pytest

from tests.gateway_process import GatewayProcess, token, unique
from tests.sdk.conftest import MakePhone
from tests.sdk.phone import PhoneError


async def letter(gateway: GatewayProcess, user: str, data: object) -> str:
    answer = await gateway.api("publish", channel=f"#{user}", data=data, ack=True)
    assert "error" not in answer, answer
    return str(answer["result"]["id"])


async def status(gateway: GatewayProcess, delivery: str) -> str:
    return str((await gateway.api("delivery", id=delivery))["result"]["status"])


async def test_a_letter_comes_again_until_it_is_acknowledged(
    gateway: GatewayProcess, make_phone: MakePhone
) -> None:
    user = unique("o")
    first = await letter(gateway, user, {"order": 1})
    phone = await make_phone(gateway.url, token=token(user))
    await phone.connect()
    heard = await phone.event("publication", channel=f"#{user}")
    assert (heard["data"], heard["tags"]) == ({"order": 1}, {"ack": first})
    second = await letter(gateway, user, {"order": 2})
    await phone.several(2, "publication", channel=f"#{user}")
    answer = await phone.act("rpc", method="ack", data={"ids": [second, "unknown"]})
    assert answer["data"] == {"acknowledged": [second]}
    assert [await status(gateway, each) for each in (first, second)] == ["delivered", "acknowledged"]
    before = len(phone.events)
    await phone.act("disconnect")
    await gateway.publish(f"#{user}", "an ordinary one, while it was away")
    await phone.act("connect")
    again = await phone.event("publication", after=before, tags={"ack": first})
    assert again["data"] == {"order": 1}
    recovered = await phone.event("publication", after=before, data="an ordinary one, while it was away")
    assert recovered["offset"], "recovery goes its own way"
    await phone.act("rpc", method="ack", data={"ids": [first]})
    before = len(phone.events)
    await phone.act("disconnect")
    await phone.connect()
    third = await letter(gateway, user, {"order": 3})
    await phone.event("publication", after=before, tags={"ack": third})
    acknowledged = [
        each for each in phone.events[before:] if each.get("tags") in ({"ack": first}, {"ack": second})
    ]
    assert not acknowledged


async def test_an_ack_that_is_none_is_error_107(gateway: GatewayProcess, make_phone: MakePhone) -> None:
    phone = await make_phone(gateway.url, token=token(unique("o")))
    await phone.connect()
    with pytest.raises(PhoneError) as caught:
        await phone.act("rpc", method="ack", data={"ids": "all"})
    assert caught.value.code == 107


async def test_a_phone_reports_what_the_user_allowed(gateway: GatewayProcess, make_phone: MakePhone) -> None:
    phone = await make_phone(gateway.url, token=token(unique("o")))
    await phone.connect()
    for count in (1, 2):
        answer = await phone.act("rpc", method="gateway.granted", data={"templates": {"t1": "accept"}})
        assert answer["data"] == {"grants": {"t1": count}}
