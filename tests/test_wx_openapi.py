"""Requests made up from the OpenAPI document, right ones and wrong ones: none of them is a server error."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error

from tests.dev_gateway import dev_gateway

EXAMPLES = 8
"""Requests for each operation, each way of making them up, and each kind of caller."""


def attack(world_url: str, token: str, seen: Counter[int]) -> int:
    """Call every operation that phones have; returns how many there are."""
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


def test_no_request_is_a_server_error(tmp_path: Path) -> None:
    # The gateway is another process: this one parses sources meanwhile, which Python 3.11 does in one thread.
    with dev_gateway(tmp_path, GATEWAY_LOG__FORMAT="json") as gateway:
        code = httpx.post(f"{gateway.http_url}/sandbox/login", json={"user": "alice"}, trust_env=False).json()
        answer = httpx.post(f"{gateway.http_url}/wx/login", json=code, trust_env=False)
        seen: Counter[int] = Counter()
        count = attack(gateway.http_url, answer.json()["token"], seen)
        assert count >= 12
        assert seen[200] > 20
        assert seen[400] > 20
        assert '"level": "error"' not in gateway.printed()
