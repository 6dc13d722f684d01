"""The capacity formula: it grows where it should, and says what gives way first; its constants are a file."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gateway.capacity.constants import SHIPPED, Constants, ConstantsError, load
from gateway.capacity.formula import (
    Box,
    Load,
    Need,
    busy_cores,
    message_us,
    most_publications,
    need,
    reached,
    workers_for,
)
from gateway.capacity.limit import Limit
from gateway.cli import app

CONSTANTS: Constants = load()
A_MILLION = Load(1_000_000, publish_rate=200, fanout=500)

loads = st.builds(
    Load,
    st.integers(1, 5_000_000),
    st.floats(0, 10_000),
    st.floats(0, 10_000),
    st.integers(1, 256 * 1024),
    st.floats(0, 100_000),
    st.integers(1, 100),
    st.floats(1, 3600),
)


def values(found: Need) -> dict[str, float]:
    return {step.name: step.value for step in found.steps}


def test_the_formula_by_hand() -> None:
    found = values(need(A_MILLION, CONSTANTS, Box()))
    of = CONSTANTS.gateway
    assert found["messages"] == 100_000
    assert found["connects, everybody back"] == pytest.approx(16_667, rel=1e-3)
    reach = 6 * (1 - (5 / 6) ** 500)
    micros = 100_000 * of.message_us + 200 * reach * of.received_us + 40_000 * of.ping_us
    assert found["socket CPU"] == pytest.approx(micros / 1e6)
    back = found["socket CPU"] + 16_667 * of.connect_us / 1e6
    assert found["socket CPU, everybody back"] == pytest.approx(back, rel=1e-3)
    assert found["workers"] == math.ceil(back / CONSTANTS.plan.busy_back) == 6
    assert found["nginx address pairs"] == 16
    assert found["bandwidth out"] == pytest.approx(
        8 * (100_000 * (128 + CONSTANTS.network.frame_bytes) + 40_000 * CONSTANTS.network.frame_bytes) / 1e9
    )


def test_at_a_million_tls_gives_way_first_and_then_the_memory_of_nginx() -> None:
    first, second, *_ = need(A_MILLION, CONSTANTS, Box()).bottlenecks
    assert (first.name, second.name) == ("nginx CPU", "nginx memory")
    slow = need(replace(A_MILLION, reconnect=600), CONSTANTS, Box()).bottlenecks
    assert slow[0].name == "nginx memory", "with time to come back, handshakes are not what matters"


@given(loads)
def test_every_load_has_an_answer_that_fits_its_own_plan(load_: Load) -> None:
    found = need(load_, CONSTANTS, Box())
    workers, normal, storm = workers_for(load_, CONSTANTS)
    assert workers == found.workers >= 1
    assert (
        normal / workers <= CONSTANTS.plan.busy + 1e-9 or storm / workers <= CONSTANTS.plan.busy_back + 1e-9
    )
    assert busy_cores(load_, CONSTANTS, workers) <= workers * CONSTANTS.plan.busy + 1e-6
    assert all(math.isfinite(step.value) and step.value >= 0 for step in found.steps)
    assert min(found.shards, found.nginx_boxes, found.gateway_boxes) >= 1


@given(loads, st.sampled_from(["connections", "publish_rate", "fanout", "size", "rpc_rate"]))
def test_more_of_anything_never_needs_less(load_: Load, what: str) -> None:
    more = replace(load_, **{what: type(getattr(load_, what))(getattr(load_, what) * 2)})
    one, two = (values(need(each, CONSTANTS, Box())) for each in (load_, more))
    for name in ("socket CPU", "workers", "gateway memory", "nginx CPU", "Redis CPU", "bandwidth out"):
        assert two[name] >= one[name] - 1e-9, name


def test_a_publication_reaches_as_many_processes_as_it_has_subscribers() -> None:
    assert reached(1, 50) == 1
    assert reached(8, 1) == pytest.approx(1)
    assert reached(8, 1000) == pytest.approx(8)
    assert 1 < reached(8, 4) < 4


def test_one_process_at_its_limit() -> None:
    load_ = Load(0, fanout=50)
    each = CONSTANTS.gateway.publish_us + 50 * message_us(CONSTANTS, 128)
    assert most_publications(load_, CONSTANTS) == pytest.approx(1e6 / each)
    assert most_publications(Load(10**9), CONSTANTS) == 0, "pings alone are too much"


def test_the_error_of_a_prediction_is_a_share_of_what_was_measured() -> None:
    limit = Limit([], measured=1000, predicted=900, message=1, message_predicted=1)
    assert limit.error == pytest.approx(-0.1)
    assert replace(limit, measured=0).error is None


# ---------------------------------------------------------------------------- the file
def test_ones_own_constants_are_taken(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(SHIPPED.read_text().replace("message_us = 4.9", "message_us = 9.8"))
    assert message_us(load(mine), 128) == 2 * message_us(CONSTANTS, 128)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "mine.toml: "),
        ("date = 'x'", "missing required field"),
        ("[gateway]\nx = 1", "unknown field"),
    ],
)
def test_a_broken_file_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(text)
    with pytest.raises(ConstantsError, match=said):
        load(mine)
    with pytest.raises(ConstantsError, match="No such file"):
        load(tmp_path / "none.toml")


# ---------------------------------------------------------------------------- the command
def test_the_command_shows_the_formula_and_what_gives_way() -> None:
    words = "capacity --connections 1000000 --publish-rate 200 --fanout 500 --reconnect 60s".split()
    answer = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert answer.exit_code == 0
    assert "16,667/s × 240 µs" in answer.output
    assert "Gives way first: nginx CPU; then: nginx memory" in answer.output


@pytest.mark.parametrize("words", ["--reconnect 0s", "--size much", "--connections 0", "--constants /none"])
def test_wrong_words_are_refused(words: str) -> None:
    assert CliRunner().invoke(app, ["capacity", *words.split()]).exit_code == 2
