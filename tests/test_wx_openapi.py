"""Requests made up from the OpenAPI document, right ones and wrong ones: none of them is a server error."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error

from tests.wx_world import World, running

EXAMPLES = 8
"""Requests for each operation, each way of making them up, and each kind of caller."""


def attack(world_url: str, token: str, seen: Counter[int]) -> int:
    """Call every operation that phones have; returns how many there are. Runs in a thread."""
    schema = schemathesis.openapi.from_url(f"{world_url}/openapi.json").include(path_regex="^/(?!sandbox)")
    operations: list[Any] = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            # A sign-out would end the session of the others.
            callers = [{}] if operation.path == "/wx/logout" else [{}, {"Authorization": f"Bearer {token}"}]
            for headers in callers:
                _try(operation, mode, headers, seen)
    return len(operations)


def _try(operation: Any, mode: GenerationMode, headers: dict[str, str], seen: Counter[int]) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def call(case: Any) -> None:
        response = case.call(headers=headers, timeout=10)
        seen[response.status_code] += 1
        case.validate_response(response, checks=[not_a_server_error])

    # An operation without parameters cannot be asked wrongly.
    with contextlib.suppress(Unsatisfiable):
        call()


async def test_no_request_is_a_server_error() -> None:
    # The sandbox's own faults are not what is looked for; its codes are.
    async with running(channels={}) as world:
        phone = await world.sign_in()
        await _warm(world, phone.token)
        seen: Counter[int] = Counter()
        count = await asyncio.to_thread(attack, world.base, phone.token, seen)
        assert count >= 12
        assert seen[200] > 20
        assert seen[400] > 20
        assert not [line for line in world.logged if line["log_level"] == "error"]


async def _warm(world: World, token: str) -> None:
    answer = await world.http.get("/wx/session", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
