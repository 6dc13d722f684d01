"""Letters on two nodes around one Redis: random schedules of publishing, leaving, returning and dying."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.gateway_process import unique
from tests.inbox_phones import Backend, Device, backend
from tests.redis_server import shared_servers
from tests.timing import MS

USERS = 3
STEPS = 120


class Phone:
    """A user's phone that comes and goes; `seen` are the letters of this user that any device got."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.devices: list[Device] = []
        self.published: list[str] = []
        self.answered: set[str] = set()
        """Acknowledgements that were answered."""
        self.late: list[str] = []


async def arrive(team: Backend, phone: Phone, node: int) -> None:
    """A new connection must bring nothing that was acknowledged before it was opened."""
    while len(phone.devices) >= 4:  # beyond its limit the gateway ends the oldest
        check(phone, phone.devices[0])
        await phone.devices.pop(0).leave()
    settled = set(phone.answered)
    device = await team.device(phone.user, node)
    device.settled = settled  # type: ignore[attr-defined]
    phone.devices.append(device)


async def leave(phone: Phone, chance: random.Random) -> None:
    device = phone.devices.pop(chance.randrange(len(phone.devices)))
    check(phone, device)
    await device.leave()


def check(phone: Phone, device: Device) -> None:
    again = set(device.letters) & device.settled  # type: ignore[attr-defined]
    assert not again, f"acknowledged before this connection, and delivered to it: {again}"
    assert set(device.letters) <= set(phone.published)


async def acknowledge(phone: Phone, chance: random.Random, *, lose_answer: bool) -> None:
    device = chance.choice(phone.devices)
    known = [each for each in device.letters if each not in phone.answered]
    if not known:
        return
    ids = chance.sample(known, chance.randint(1, len(known)))
    if lose_answer:  # the phone loses its network before the answer comes
        asking = asyncio.create_task(device.ack(*ids))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        phone.devices.remove(device)
        await device.leave()
        phone.late += ids
        return
    phone.answered.update(await device.ack(*ids))
    assert set(ids) <= phone.answered


async def publish(team: Backend, phone: Phone, chance: random.Random) -> None:
    phone.published.append(await team.letter(phone.user, len(phone.published), chance.randrange(2)))


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_is_lost_and_nothing_acknowledged_comes_again(seed: int) -> None:
    chance = random.Random(seed)
    async with backend(2, shared_servers(1)[0].url) as team:
        phones = [Phone(unique("o")) for _ in range(USERS)]
        for _ in range(STEPS):
            phone = chance.choice(phones)
            match chance.randrange(10):
                case 0 | 1 | 2:
                    await publish(team, phone, chance)
                case 3 | 4:
                    await arrive(team, phone, chance.randrange(2))
                case 5 if phone.devices:
                    await leave(phone, chance)
                case 6 | 7 if phone.devices:
                    await acknowledge(phone, chance, lose_answer=False)
                case 8 if phone.devices:
                    await acknowledge(phone, chance, lose_answer=True)
                case _:  # many things at once
                    some = chance.sample(phones, 2)
                    await asyncio.gather(
                        *(publish(team, each, chance) for each in some),
                        *(arrive(team, each, chance.randrange(2)) for each in some),
                    )
            await asyncio.sleep(chance.choice([0, 0, 5 * MS]))
        for phone in phones:
            await everything_arrives(team, phone, chance)


async def everything_arrives(team: Backend, phone: Phone, chance: random.Random) -> None:
    """Whatever was not acknowledged comes to the next device, in order."""
    while phone.devices:
        await leave(phone, chance)
    device = await team.device(phone.user)
    unknown = set(phone.late)  # these acknowledgements may have been heard or not
    wanted = [each for each in phone.published if each not in phone.answered | unknown]
    async with asyncio.timeout(5_000 * MS):
        while not set(wanted) <= set(device.letters):
            await asyncio.sleep(5 * MS)
    await asyncio.sleep(20 * MS)
    assert [each for each in device.letters if each in wanted] == wanted
    assert set(device.letters) <= set(wanted) | (unknown - phone.answered)
    listed = (await team.result("deliveries", user=phone.user))["deliveries"]
    states = {each["id"]: each["status"] for each in listed}
    assert states.keys() == set(phone.published)
    assert all(states[each] == "acknowledged" for each in phone.answered)
    await device.leave()
