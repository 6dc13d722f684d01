"""The documentation is true: its snippets run, its links lead somewhere, its tables equal the code."""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from gateway import errors
from gateway.cli import app as command_line
from gateway.config import ConfigError, Settings, load
from gateway.config.rows import section_models
from gateway.config.tree import CONFIG_VARIABLE
from gateway.config.units import parse_duration, parse_size
from gateway.errors import DISCONNECTS, ERRORS, Unsubscribe
from gateway.metrics import Metrics
from gateway.metrics.labels import API_METHODS, OTHER
from tests.dev_gateway import DevGateway, dev_gateway
from tests.gateway_process import ROOT, unique
from tests.timing import MS, until

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
WX = ROOT / "tests/snippets/wx.js"
SDK = ROOT / "tests/sdk/js/node_modules/centrifuge"

_FENCE = re.compile(
    r"^(?:<!-- run ?(?P<how>[a-z ]*?)(?: ?prints: (?P<prints>.*?))? -->\n)?"
    r"```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Snippet:
    """One fenced block. `how` is None where it is only shown; else "", "config", or "wx" and a channel."""

    page: Path
    line: int
    language: str
    code: str
    how: str | None
    prints: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def snippets(page: Path) -> list[Snippet]:
    text = page.read_text()
    return [
        Snippet(
            page,
            text.count("\n", 0, found.start()) + 1,
            found["language"],
            found["code"],
            found["how"],
            found["prints"] or "",
        )
        for found in _FENCE.finditer(text)
    ]


ALL = [snippet for page in PAGES for snippet in snippets(page)]
RUNNABLE = [each for each in ALL if each.how == ""]
CONFIGS = [each for each in ALL if each.how == "config"]
PHONES = [each for each in ALL if each.how and each.how.startswith("wx ")]


def by_place(snippet: object) -> str:
    return str(snippet)


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())


def rows(page: str, *columns: str) -> list[list[str]]:
    """The rows of the table of `page` with these first column names, without backticks."""
    text = (ROOT / "docs" / page).read_text()
    head = rf"^\| {' [|] '.join(map(re.escape, columns))}\b.*\|\n\|[-|]+\|\n((?:\|.*\|\n)+)"
    found = re.search(head, text, re.MULTILINE)
    assert found, f"{page} has no table that begins with {columns}"
    return [[cell.strip().strip("`") for cell in row[1:-1].split("|")] for row in found[1].splitlines()]


# ---------------------------------------------------------------------------- what can be run
@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevGateway]:
    """As the documentation starts it, with the handlers of the example."""
    command = (sys.executable, "-m", "gateway", "dev", "examples.shop:gateway")
    folder = Path(tmp_path_factory.mktemp("docs"))
    with dev_gateway(folder, command, GATEWAY_SHUTDOWN__DRAIN="0s") as gateway:
        yield gateway


def test_every_mark_is_known_and_every_language_can_be_run() -> None:
    for page in PAGES:
        assert page.read_text().count("<!-- run") == sum(each.how is not None for each in snippets(page)), (
            page
        )
    assert {each.language for each in RUNNABLE} <= {"sh", "python"}
    assert len(RUNNABLE) + len(CONFIGS) + len(PHONES) == sum(each.how is not None for each in ALL)


@pytest.mark.parametrize("snippet", RUNNABLE, ids=by_place)
def test_snippets_run(snippet: Snippet, running: DevGateway, tmp_path: Path) -> None:
    code = running.here(snippet.code)
    if snippet.language == "python":
        script = tmp_path / "snippet.py"
        script.write_text(code)
        command = [sys.executable, str(script)]
    else:
        command = ["sh", "-euc", code]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}  # as for a shell in the root
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=20_000 * MS
    )
    try:
        assert done.returncode == 0, done.stderr
        assert snippet.prints in done.stdout, done.stdout
        assert '"error"' not in done.stdout, done.stdout
    finally:
        if "/sandbox/faults" in code:  # the next snippet wants a WeChat that is well
            subprocess.run(["curl", "-sX", "DELETE", f"{running.http_url}/sandbox/faults"], check=True)


@pytest.mark.parametrize("snippet", CONFIGS, ids=by_place)
def test_configurations_can_start(snippet: Snippet, tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(snippet.code)
    try:
        load(config, {})
    except ConfigError as error:
        pytest.fail(str(error))


@pytest.mark.parametrize("snippet", PHONES, ids=by_place)
async def test_mini_programs_miss_nothing(snippet: Snippet, running: DevGateway, tmp_path: Path) -> None:
    """On a stand-in for `wx`: sign in, lose the network, leave for a while; each message once, in order."""
    if not (shutil.which("node") and SDK.is_dir()):
        missing = "Node with the packages of tests/sdk/js is missing: scripts/test installs them"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    openid, (word_one, word_two, word_three) = unique("o"), (uuid.uuid4().hex for _ in range(3))
    channel = f"#{openid}" if snippet.how == "wx personal" else "news"
    program = tmp_path / "app.js"
    program.write_text(running.here(snippet.code))
    phone = await asyncio.create_subprocess_exec(
        "node", str(WX), str(program), f"{running.http_url}/sandbox", openid,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    heard: list[str] = []
    listening = asyncio.create_task(listen(phone, heard))
    try:
        await until(lambda: is_there(running, channel, openid))
        publish(running, channel, word_one)
        await until(lambda: said(heard, word_one))
        await happen(phone, "down")
        publish(running, channel, word_two)
        await until(lambda: not is_there(running, channel, openid))
        await happen(phone, "up")
        await until(lambda: said(heard, word_two), within=15_000 * MS)
        if "onAppHide" in snippet.code:
            await happen(phone, "hide")
            await until(lambda: not is_there(running, channel, openid))
            await happen(phone, "show")
        publish(running, channel, word_three)
        await until(lambda: said(heard, word_three))
    except AssertionError as error:
        raise AssertionError(f"{error}; the program said: {heard}") from None
    finally:
        phone.terminate()
        await asyncio.gather(phone.wait(), listening)
    told = [word for line in heard for word in (word_one, word_two, word_three) if word in line]
    assert told == [word_one, word_two, word_three], heard
    assert heard.count("wx.login") == 1, "later connects are by token"


async def listen(phone: asyncio.subprocess.Process, heard: list[str]) -> None:
    assert phone.stdout is not None
    while line := await phone.stdout.readline():
        heard.append(line.decode().rstrip("\n"))


async def happen(phone: asyncio.subprocess.Process, event: str) -> None:
    assert phone.stdin is not None
    phone.stdin.write(f"{event}\n".encode())
    await phone.stdin.drain()


def said(heard: list[str], word: str) -> bool:
    return any(word in line for line in heard)


def publish(running: DevGateway, channel: str, word: str) -> None:
    running.api("publish", channel=channel, data={"text": word})


def is_there(running: DevGateway, channel: str, openid: str) -> bool:
    present: Any = running.api("presence", channel=channel)["presence"]
    return any(info["user"] == openid for info in present.values())


# ---------------------------------------------------------------------------- what can be looked up
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        assert ROOT in (file, *file.parents), f"{page.name} links out of the repository: {target}"
        if anchor:
            assert anchor in {slug(title) for _, title in headings(file)}, f"{page.name} links to {target}"


def headings(page: Path) -> list[tuple[int, str]]:
    return [(len(level), title) for level, title in re.findall(r"^(#+) (.+)$", prose(page), re.MULTILINE)]


def slug(title: str) -> str:
    """The anchor that renderers give a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def test_the_index_names_every_page() -> None:
    linked = set(re.findall(r"\]\(([\w.-]+\.md)\)", (ROOT / "docs/README.md").read_text()))
    assert linked == {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_that_are_named_exist(page: Path) -> None:
    sections = section_models()
    for section, key in re.findall(r"`([a-z_]+)\.([a-z_]+)`", prose(page)):
        if section in sections:
            assert key in sections[section].model_fields, f"{page.name} names {section}.{key}"
    variables = {f"GATEWAY_{section}__{key}".upper() for section, key in every_setting()}
    for name in re.findall(r"\bGATEWAY_[A-Z_]+\b", page.read_text()):
        assert name in {*variables, CONFIG_VARIABLE} or name.endswith("_"), f"{page.name} names {name}"


def every_setting() -> Iterator[tuple[str, str]]:
    for section, model in section_models().items():
        for key in model.model_fields:
            yield section, key


def test_the_commands_that_are_named_exist() -> None:
    known = {
        command.name or getattr(command.callback, "__name__", "")
        for command in command_line.registered_commands
    }
    known |= {group.name or "" for group in command_line.registered_groups}
    for page in PAGES:
        for name in re.findall(r"(?:^ {4}|`|bin/)gateway ([a-z]+)", prose(page), re.MULTILINE):
            assert name in known, f"{page.name} names gateway {name}"


def twins() -> list[tuple[Path, Path]]:
    return [
        (page.with_name(page.name.replace(".zh-CN", "")), page) for page in PAGES if ".zh-CN." in page.name
    ]


@pytest.mark.parametrize(("english", "chinese"), twins(), ids=lambda page: str(page.name))
def test_both_languages_say_the_same(english: Path, chinese: Path) -> None:
    assert [level for level, _ in headings(english)] == [level for level, _ in headings(chinese)]
    ours, theirs = (
        [(each.language, each.how, each.prints) for each in snippets(page)] for page in (english, chinese)
    )
    assert ours == theirs
    for one, other in zip(snippets(english), snippets(chinese), strict=True):
        assert bare(one) == bare(other), f"{one} and {other}"
    table_rows = [len(re.findall(r"^\|.*\|$", prose(page), re.MULTILINE)) for page in (english, chinese)]
    assert table_rows[0] == table_rows[1]


def bare(snippet: Snippet) -> str:
    """The code without its comments, and a configuration without its texts."""
    mark = "//" if snippet.language == "js" else "#"
    code = re.sub(rf"(^|\s+){mark} .*$", "", snippet.code, flags=re.MULTILINE)
    return re.sub(r'"[^"]*"', '""', code) if snippet.language == "toml" else code


# ---------------------------------------------------------------------------- tables and the code
def test_every_error_is_listed() -> None:
    listed = [row[:3] for row in rows("protocol-notes.md", "code", "message", "temporary")]
    assert listed == [[str(e.code), e.message, "yes" if e.temporary else "no"] for e in ERRORS.values()]


def test_every_disconnect_is_listed() -> None:
    listed = [row[:3] for row in rows("protocol-notes.md", "code", "reason", "comes back")]
    assert listed == [[str(d.code), d.reason, "yes" if d.reconnect else "no"] for d in DISCONNECTS.values()]


def test_every_unsubscribe_is_listed() -> None:
    known = [value for value in vars(errors).values() if isinstance(value, Unsubscribe)]
    listed = [row[:3] for row in rows("protocol-notes.md", "code", "reason", "subscribes again")]
    assert listed == [[str(u.code), u.reason, "yes" if u.code >= 2500 else "no"] for u in known]


@pytest.mark.parametrize(
    ("page", "columns"),
    [("mini-program.md", ("code", "message")), ("mini-program.zh-CN.md", ("代码", "消息"))],
)
def test_the_errors_of_phones_are_real(page: str, columns: tuple[str, str]) -> None:
    for code, message, *_ in rows(page, *columns):
        assert ERRORS[int(code)].message == message


def test_every_metric_is_listed() -> None:
    families = Metrics().registry.collect()
    known = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    listed = [row[0] for row in rows("operations.md", "metric")]
    assert len(listed) == len(set(listed))
    assert set(listed) == known


def test_every_method_of_the_server_api_has_a_line_to_try() -> None:
    tried = {
        name
        for each in RUNNABLE
        if ".zh-CN." not in each.page.name
        for name in re.findall(r"/api/(\w+) -d", each.code)
    }
    assert tried == set(API_METHODS) - {OTHER}


def test_limits_are_those_of_the_code() -> None:
    for _, limit, source in rows("security.md", "input", "limit"):
        assert to_number(limit) == value_of(source), source


def to_number(text: str) -> float:
    return parse_size(text) if text.endswith("B") else parse_duration(text)


def value_of(source: str) -> Any:
    owner, _, name = source.rpartition(".")
    if owner.startswith("gateway"):
        return getattr(importlib.import_module(owner), name)
    section = getattr(Settings(), owner)
    assert isinstance(section, BaseModel)
    return getattr(section, name)
