"""The benchmark: every server that is installed can be measured, and the documents say what was measured."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import uvloop
from rich.console import Console

from bench import documents
from bench.charts import Bar, bars
from bench.compare import SMOKE, Comparison
from bench.documents import ROOT, beaten_list, page, target_table
from bench.peers.adapters import ADAPTERS
from bench.results_file import FOLDER, Contestant, Result
from bench.servers import Server, free_port
from bench.tables import Column, best, number, table
from bench.wording import CHINESE, ENGLISH
from tests.timing import MS

pytestmark = pytest.mark.timeout(180)  # with all peers installed; without them it takes seconds
WITH_REQUESTS = {each.name for each in ADAPTERS if each.dialect.request}


# ---------------------------------------------------------------------------- measuring
@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """All servers that are installed, with a handful of clients each."""
    path = tmp_path_factory.mktemp("bench") / "result.json"
    words = [sys.executable, "-m", "bench", "--peers", "--smoke", "--json", str(path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=150_000 * MS)
    assert path.exists(), done.stdout + done.stderr
    return Result.load(path)


@pytest.mark.parametrize("name", [each.name for each in ADAPTERS])
def test_a_server_is_measured_in_full_or_named_as_missing(run: Result, name: str) -> None:
    """Everything that the tables show was measured, and no message was lost on the way."""
    contestant = run.of(name)
    assert contestant.problems == {}
    if contestant.missing:
        assert contestant.values == {}
        pytest.skip(f"{name}: {contestant.missing}")
    expected = {
        f"fanout/{people}/{size}/{burst}"
        for people in (20, 40)
        for size in (128, 16_384)
        for burst in (1, 10)
    }
    expected |= {"connect", "memory", "latency/p50", "latency/p99", "latency/rate", "tls/fanout"}
    expected |= {"rpc", "tls/rpc"} if name in WITH_REQUESTS else set()
    expected |= {"connect/session"} if name == "gateway" else set()
    assert set(contestant.values) == expected
    assert all(value > 0 for key, values in contestant.values.items() for value in values if key != "memory")
    assert contestant.version


def test_the_gateway_and_two_of_its_references_are_always_measured(run: Result) -> None:
    assert all(run.of(name).values for name in ("gateway", "floor", "websockets"))


def test_a_server_that_fails_is_out_of_the_run_and_says_why() -> None:
    floor = next(each for each in ADAPTERS if each.name == "floor")
    broken = replace(floor, start=lambda folder: Server("floor", ["false"], {"websocket": free_port()}))
    comparison = Comparison([broken], SMOKE, Console(quiet=True))
    uvloop.run(comparison.run())
    assert comparison.contestants[0].problems == {"start": "BenchError: floor is not running"}
    assert comparison.contestants[0].values == {}


# ---------------------------------------------------------------------------- telling
def contestant(name: str, **values: float) -> Contestant:
    measures = {measure.replace("_", "/"): [value] for measure, value in values.items()}
    return Contestant(name, name.title(), "Python", values=measures)


def result(*contestants: Contestant) -> Result:
    others = [Contestant(each.name, each.title, each.language, missing="no network") for each in ADAPTERS]
    named = {each.name for each in contestants}
    everybody = [*contestants, *(each for each in others if each.name not in named)]
    machine = {"cpu": "a CPU, 2 cores", "kernel": "6", "python": "3.11"}
    return Result("2026-01-31", False, 12.3, machine, [1000, 10_000], [128], 500, everybody, [])


def test_a_peer_that_wins_is_the_one_in_bold() -> None:
    run = result(contestant("gateway", rpc=10.0), contestant("floor", rpc=1.0), contestant("bun", rpc=5.0))
    column = Column("request", "rpc")
    winner = best(run, column)
    assert winner is not None
    assert winner.name == "bun", "the floor takes no part"
    text = table(run, [column], ENGLISH.words)
    assert "| Bun | **5.0** |" in text
    assert "| **Gateway** | 10.0 |" in text
    assert "| *best* | *Bun* |" in text
    assert beaten_list(run, [column], ENGLISH) == "- request: Bun 5.0, wx-gateway 10.0"
    assert beaten_list(run, [column], CHINESE) == "- request：Bun 5.0，wx-gateway 10.0"


def test_the_gateway_is_in_bold_where_it_wins_and_is_not_listed_as_beaten() -> None:
    run = result(contestant("gateway", rpc=4.0), contestant("bun", rpc=5.0))
    assert "| **Gateway** | **4.0** |" in table(run, [Column("request", "rpc")], ENGLISH.words)
    assert beaten_list(run, [Column("request", "rpc")], ENGLISH) == ENGLISH.texts["nowhere"]


def test_a_peer_that_is_missing_is_named() -> None:
    run = result(contestant("gateway", rpc=4.0))
    assert "| Nchan (not installed) | – |" in table(run, [Column("request", "rpc")], ENGLISH.words)
    assert "not installed: no network" in page(run, ENGLISH)
    assert "未能安装: no network" in page(run, CHINESE)


@pytest.mark.parametrize(("ours", "said"), [(2.0, "met"), (8.0, "**missed**")])
def test_a_target_is_met_or_missed(ours: float, said: str) -> None:
    run = result(contestant("gateway", rpc=ours), contestant("centrifuge", rpc=10.0))
    line = next(
        each for each in target_table(run, ENGLISH).splitlines() if ENGLISH.texts["rpc-centrifugo"] in each
    )
    assert line.endswith(f"| ≤ 0.4× | {number(ours / 10)}× | {said} |")


def test_a_chart_is_an_image_for_light_and_dark_with_the_shortest_bar_first() -> None:
    text = bars("CPU", "µs", [Bar("Slow <&>", 100.0, "100"), Bar("ours", 5.0, "5.0", "ours")])
    image = ElementTree.fromstring(text)
    labels = ["".join(each.itertext()) for each in image.iter("{http://www.w3.org/2000/svg}text")]
    assert labels == ["ours", "5.0 µs", "Slow <&>", "100 µs"]
    assert "prefers-color-scheme: dark" in text
    assert text.count('class="gap"') == 1, "a bar that is cut shows it"


# ---------------------------------------------------------------------------- the repository
@pytest.mark.parametrize("path", documents.documents(Result.newest()), ids=str)
def test_documents_equal_the_newest_result(path: Path) -> None:
    """After a change of a page's prose or a new result: scripts/bench --docs."""
    expected = documents.documents(Result.newest())[path]
    assert (ROOT / path).read_text() == expected


def test_both_languages_have_all_words() -> None:
    assert ENGLISH.texts.keys() == CHINESE.texts.keys()
    for language in (ENGLISH, CHINESE):
        assert "@" not in page(Result.newest(), language)


def test_results_are_named_by_their_date() -> None:
    for path in FOLDER.glob("*.json"):
        assert Result.load(path).date == path.stem
