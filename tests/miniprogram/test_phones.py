"""The library on phones that are as strict, and as unreliable, as real ones, against a real gateway."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.miniprogram.node import CLIENT, need_node, node
from tests.timing import MS

SUITES = sorted(path.name for path in (CLIENT / "test").glob("*.test.mjs"))
SUITE_PATIENCE = 55_000 * MS
SCHEDULES = 1000
SCHEDULES_PATIENCE = 280_000 * MS
MUTATIONS = {
    "the adapter loses a frame now and then": (
        "this.onmessage({ data });",
        "if (Math.random() > 0.03) this.onmessage({ data });",
    ),
    "the adapter tells a frame twice now and then": (
        "this.onmessage({ data });",
        "this.onmessage({ data }); if (Math.random() < 0.03) this.onmessage({ data });",
    ),
    "the token is not kept": ('this.storage.set("session", {', '(() => {})("session", {'),
    "positions are not asked for": ("since: entry.position,", "since: null,"),
}


@pytest.mark.parametrize("suite", SUITES)
def test_suites(suite: str, gateway_variables: dict[str, str]) -> None:
    node("--test", f"test/{suite}", patience=SUITE_PATIENCE, variables=gateway_variables)


def run_schedules(variables: dict[str, str], *arguments: str) -> dict[str, object]:
    printed = node("test/schedules.mjs", *arguments, patience=SCHEDULES_PATIENCE, variables=variables)
    result = json.loads(printed.splitlines()[-1])
    assert isinstance(result, dict)
    return result


@pytest.mark.timeout(300)
def test_a_thousand_random_schedules_see_every_message_once_and_in_order(
    gateway_variables: dict[str, str],
) -> None:
    """By hand, one of them, with all that happens: node test/schedules.mjs --seed 17."""
    result = run_schedules(gateway_variables, "--to", str(SCHEDULES), "--parallel", "80")
    assert result["schedules"] == SCHEDULES
    assert result["failed"] == []


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_schedules_find_a_library_that_is_wrong(
    mutation: str, gateway_variables: dict[str, str], tmp_path: Path
) -> None:
    need_node()
    before, after = MUTATIONS[mutation]
    source = (CLIENT / "wx-gateway.mjs").read_text()
    assert source.count(before) == 1, f"{before} is no longer one line of the library"
    mutant = tmp_path / "wx-gateway.mjs"
    mutant.write_text(source.replace(before, after))
    variables = {**gateway_variables, "CLIENT_FILE": str(mutant), "PATIENCE": "2000"}
    with pytest.raises(AssertionError, match=r'"failed":\[\d'):
        run_schedules(variables, "--to", "40", "--parallel", "40")


def test_what_is_asked_of_wx_is_what_its_types_have() -> None:
    need_node()
    node("node_modules/typescript/bin/tsc", "-p", "test/types", patience=60_000 * MS)
