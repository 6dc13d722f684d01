"""The parts of the load test that need no server: times, frames, numbers, scenarios, charts, verdicts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.frames import FrameSplitter, text_frame
from gateway.loadtest import scenario as scenarios
from gateway.loadtest.charts import Line, bars, chart
from gateway.loadtest.histogram import Histogram, bucket, middle
from gateway.loadtest.page import page
from gateway.loadtest.result import Point, Result, judge, summary
from gateway.loadtest.scenario import Pass, ScenarioError
from gateway.loadtest.show import advice
from gateway.loadtest.tally import Tally
from gateway.loadtest.target import Target, TargetError, check, plans, sources_for
from gateway.loadtest.track import Track
from gateway.loadtest.wire import ServerFrames, WireError, client_frame, stamp_of, stamped, upgrade

SHIPPED = {name: scenarios.load(name) for name in scenarios.shipped()}


# ---------------------------------------------------------------------------- times
@given(st.integers(0, 10**10))
def test_a_time_is_kept_to_two_percent(micros: int) -> None:
    assert abs(middle(bucket(micros)) - micros) <= max(0.5, micros * 0.016)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_longer_times_have_higher_buckets(one: int, other: int) -> None:
    assert one > other or bucket(one) <= bucket(other)


@given(st.lists(st.integers(0, 10**7), min_size=1), st.lists(st.integers(0, 10**7)))
def test_processes_add_up_to_what_one_would_have_seen(one: list[int], other: list[int]) -> None:
    def counted(times: list[int]) -> Tally:
        tally = Tally(messages=len(times))
        for each in times:
            tally.latency[bucket(each)] = tally.latency.get(bucket(each), 0) + 1
        return tally

    both = counted(one)
    both.add(counted(other))
    assert both == counted(one + other)
    wanted = sorted(one + other)[max(0, math.ceil(0.99 * len(one + other)) - 1)] / 1e6
    found = Histogram(both.latency).percentile(0.99)
    assert found is not None
    assert abs(found - wanted) <= max(1e-6, wanted * 0.016)


def test_without_times_there_are_no_percentiles() -> None:
    assert Histogram().percentile(0.5) is None
    assert Histogram().largest is None


# ---------------------------------------------------------------------------- frames
@given(st.lists(st.binary(max_size=400) | st.just(b"x" * 70_000), max_size=6), st.data())
def test_frames_are_the_same_however_they_are_cut(payloads: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(text_frame, payloads))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    frames, found = ServerFrames(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += frames.feed(stream[start:end])
    assert found == [(1, each) for each in payloads]
    assert frames.rest == b""


@given(st.binary(max_size=300) | st.just(b"y" * 66_000))
def test_the_gateway_reads_what_a_phone_sends(payload: bytes) -> None:
    assert FrameSplitter(10**6).feed(client_frame(payload)) == [(1, payload)]


def test_fragments_are_joined_around_control_frames() -> None:
    frames = ServerFrames()
    assert frames.feed(b"\x01\x02ab\x89\x01!\x80\x01c") == [(9, b"!"), (1, b"abc")]


@pytest.mark.parametrize("data", [b"\xc1\x00", b"\x81\x80....", b"\x82\x7f" + b"\xff" * 8])
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        ServerFrames().feed(data)


@given(st.integers(0, 2**40), st.integers(0, 2**50), st.integers(1, 5000))
def test_a_stamp_comes_back_and_fills_the_size(number: int, at: int, size: int) -> None:
    data = stamped("run1", number, at, size)
    stamp = stamp_of(data)  # type: ignore[arg-type]
    assert stamp is not None
    assert (stamp.run, stamp.n, stamp.at) == ("run1", number, at)
    assert len(data) == size or size < 80


def test_what_others_publish_has_no_stamp() -> None:
    for data in (b"1", b'"text"', b'{"run":1}', b"[]", b'{"n":1}', b"broken"):
        assert stamp_of(data) is None  # type: ignore[arg-type]


def test_the_handshake_names_the_host_with_its_port() -> None:
    assert upgrade("localhost:8000", "/x").startswith(b"GET /x HTTP/1.1\r\nHost: localhost:8000\r\n")


# ---------------------------------------------------------------------------- numbers
@given(st.integers(1, 30), st.data())
def test_what_is_lost_doubled_and_late_is_counted_exactly(count: int, data: st.DataObject) -> None:
    numbers = list(range(1, count + 1))
    lost = data.draw(st.sets(st.sampled_from(numbers)))
    doubled = data.draw(st.sets(st.sampled_from(numbers))) - lost
    sent = data.draw(st.permutations([*(each for each in numbers if each not in lost), *doubled]))
    track = Track(0)
    verdicts = [track.see(number) for number in sent]
    assert track.lost(count, ()) == len(lost)
    assert track.complete(count) is not bool(lost)
    assert verdicts.count("duplicated") == len(doubled)
    late = sum(
        number < max(sent[:at], default=0) for at, number in enumerate(sent) if number not in sent[:at]
    )
    assert verdicts.count("reordered") == late
    assert track.lost(count, lost) == 0, "what may not have gone out need not come"


def test_who_came_in_the_middle_starts_there() -> None:
    track = Track(-1)
    assert track.complete(100)
    assert [track.see(number) for number in (7, 8)] == ["", ""]
    assert track.lost(9, ()) == 1


# ---------------------------------------------------------------------------- scenarios
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_scenarios_are_valid_and_named_as_their_file(name: str) -> None:
    scenario = scenarios.check(SHIPPED[name])
    assert scenario.name == name
    assert scenario.about


def test_there_is_a_scenario_for_each_kind_of_load() -> None:
    wanted = "idle ramp fanout rooms personal rpc storm slow mixed files"
    assert set(SHIPPED) == set(wanted.split())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "name: is missing"),
        ({"name": "x", "client": {}}, "client: unknown key; remove it"),
        ({"name": "x", "clients": {"count": 0}}, "clients.count: must be 1 or more"),
        ({"name": "x", "clients": {"count": 2_000_000}}, "clients.count: at most 1,000,000"),
        ({"name": "x", "publish": [{"channel": "a"}]}, "publish.0.per_second: is missing"),
        ({"name": "x", "subscribe": [{"channel": "{who}"}]}, "subscribe.0.channel: write a channel"),
        ({"name": "x", "subscribe": [{"channel": "{personal}"}]}, "subscribed to by the server"),
        ({"name": "x", "duration": "long"}, "duration: not a duration"),
    ],
)
def test_a_wrong_scenario_says_what_and_where(values: dict[str, object], said: str) -> None:
    with pytest.raises(ScenarioError) as error:
        scenarios.check(values)
    assert said in str(error.value)


def test_an_unknown_scenario_names_those_there_are() -> None:
    with pytest.raises(ScenarioError, match="did you mean 'fanout'"):
        scenarios.load("fanuot")
    with pytest.raises(ScenarioError, match="No such file"):
        scenarios.load("/nowhere/my.toml")


def test_shares_are_spread_and_the_same_in_each_run() -> None:
    values = {"name": "x", "clients": {"count": 1000}, "subscribe": [{"channel": "a", "share": 0.3}]}
    scenario = scenarios.check(values)
    chosen = [number for number in range(1000) if scenario.channels_of(number)]
    assert 290 <= len(chosen) <= 310
    assert all(
        25 <= sum(start <= each < start + 100 for each in chosen) <= 35 for start in range(0, 1000, 100)
    )


# ---------------------------------------------------------------------------- where to
@pytest.mark.parametrize("host", ["gateway.example.com", "10.0.0.1", "192.0.2.1", "[2001:db8::1]"])
def test_load_on_other_machines_needs_a_word(host: str) -> None:
    with pytest.raises(TargetError, match="--yes-this-is-mine"):
        check(Target(url=f"wss://{host}/"), own=False)
    check(Target(url=f"wss://{host}/"), own=True)


@pytest.mark.parametrize(
    "url", ["ws://127.0.0.1:8000", "ws://localhost:1", "wss://[::1]:443/x", "ws://127.9.9.9"]
)
def test_this_machine_needs_none(url: str) -> None:
    check(Target(url=url), own=False)


def test_more_sockets_than_ports_come_from_more_addresses() -> None:
    here, there = Target(), Target(url="wss://api.example.com")
    assert sources_for(here, 28_000) == []
    assert sources_for(here, 60_000) == ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
    with pytest.raises(TargetError, match="--source"):
        sources_for(there, 60_000)


def test_processes_share_all_clients_and_no_client_twice() -> None:
    scenario = scenarios.check(SHIPPED["idle"] | {"clients": {"count": 1001, "per_second": 90}})
    shared = plans(Target(url="wss://127.0.0.1/"), scenario, 3)
    assert [number for plan in shared for number in range(plan.first, plan.first + plan.count)] == list(
        range(1001)
    )
    assert sum(plan.per_second for plan in shared) == pytest.approx(90)
    assert {(plan.port, plan.path, plan.authority) for plan in shared} == {
        (443, "/connection/websocket", "127.0.0.1:443")
    }


def test_a_file_with_too_few_tokens_says_how_many_it_has() -> None:
    scenario = scenarios.check(SHIPPED["idle"])
    with pytest.raises(TargetError, match="--clients 2"):
        plans(Target(way="tokens", tokens=("a", "b")), scenario, 1)


# ---------------------------------------------------------------------------- what comes out
def result_of(total: Tally, **more: object) -> Result:
    values: dict[str, object] = {
        "scenario": "x<y>", "about": "", "target": "ws://h", "version": "1", "started": "now", "machine": "m",
        "clients": 1, "processes": 1, "connecting": 1.0, "running": 1.0, "never_connected": 0, "total": total,
        "points": [Point(0.5, 1, total), Point(1.0, 1, Tally())],
        "times": {"latency": summary(total.times("latency"))} if total.latency else {},
    }  # fmt: skip
    return Result(**(values | more))  # type: ignore[arg-type]


def test_thresholds_hold_or_are_named() -> None:
    total = Tally(lost=2, latency={bucket(60_000): 100})
    wanted = Pass.model_validate({"p99": "50ms", "p50": "1s", "lost": 1, "reordered": 0})
    checks = {each.name: each.passed for each in judge(result_of(total), wanted)}
    assert checks == {"p99": False, "p50": True, "lost": False, "reordered": True}


def test_what_was_not_measured_does_not_pass() -> None:
    wanted = Pass.model_validate({"p99": "50ms", "back": "15s", "wechat_calls": 0})
    assert [each.passed for each in judge(result_of(Tally()), wanted)] == [False, False, False]


def test_clients_that_never_came_are_errors() -> None:
    wanted = Pass.model_validate({"errors": 0})
    assert not judge(result_of(Tally(), never_connected=1), wanted)[0].passed


def test_a_busy_load_generator_says_that_it_may_be_what_is_slow() -> None:
    assert "busy itself" in advice(result_of(Tally(), cpu=0.97))[0]
    assert not advice(result_of(Tally(), cpu=0.5))


def test_the_page_shows_errors_and_escapes_what_it_is_given() -> None:
    text = page(result_of(Tally(errors={"<b>boom</b>": 3}, latency={100: 5}, messages=5)))
    assert "&lt;b&gt;boom&lt;/b&gt;" in text
    assert "<b>boom" not in text
    assert "x<y>" not in text


@given(
    st.lists(st.tuples(st.floats(0, 1000), st.none() | st.floats(0, 1e9)), min_size=1, max_size=20),
    st.booleans(),
)
def test_every_series_can_be_drawn(values: list[tuple[float, float | None]], log: bool) -> None:
    times = sorted(at for at, _ in values)
    drawn = chart(times, [Line("a", 1, [value for _, value in values])], str, log=log)
    assert "nan" not in drawn
    assert bool(drawn) is any(value is not None for _, value in values)


def test_bars_name_each_error() -> None:
    drawn = bars([("disconnect 3012", 5), ("closed", 1)])
    assert drawn.count("<rect") == 2
    assert "disconnect 3012" in drawn
