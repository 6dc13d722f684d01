"""What the logs hold: one line an event, in the chosen form, and no secrets whoever wrote them there."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from gateway import logs


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """The configuration of logs is the process's: give it back."""
    root = logging.getLogger()
    handlers, loggers = root.handlers[:], [root, *map(logging.getLogger, logs.NOISY)]
    levels = [logger.level for logger in loggers]
    yield
    root.handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("key", sorted(logs.SECRET_KEYS))
@pytest.mark.parametrize("style", ["json", "console"])
def test_a_secret_never_gets_out(key: str, style: str, capfd: pytest.CaptureFixture[str]) -> None:
    logs.setup("debug", style)
    structlog.get_logger("test").warning("something", **{key: "hush-hush"})
    printed = capfd.readouterr().err
    assert "hush-hush" not in printed
    assert logs.MASK in printed


def test_json_is_one_object_a_line_with_the_text_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    logs.setup("info", "json")
    structlog.get_logger("test").info("登录\nok", client="c1")
    (line,) = capfd.readouterr().err.splitlines()
    assert json.loads(line).items() >= {"event": "登录\nok", "client": "c1", "level": "info"}.items()
    assert "登录" in line


def test_lines_below_the_level_are_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    logs.setup("warning", "json")
    structlog.get_logger("test").info("quiet")
    logging.getLogger("somebody.else").info("quiet, too")
    assert not capfd.readouterr().err


def test_other_libraries_lines_come_in_the_same_form(capfd: pytest.CaptureFixture[str]) -> None:
    logs.setup("info", "json")
    logging.getLogger("somebody.else").warning("hello %s", "world")
    assert json.loads(capfd.readouterr().err)["event"] == "hello world"


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_traceback_does_not_print_local_variables(style: str, capfd: pytest.CaptureFixture[str]) -> None:
    logs.setup("info", style)

    def fail() -> None:
        session_key = "a local" + " secret"
        raise ValueError(len(session_key))

    try:
        fail()
    except ValueError:
        structlog.get_logger("test").exception("it failed")
    printed = capfd.readouterr().err
    assert "ValueError" in printed
    assert "a local secret" not in printed


@pytest.mark.parametrize(("level", "lines"), [("debug", 1), ("info", 0), ("error", 0)])
def test_debug_lines_are_written_where_they_are_wanted(
    level: str, lines: int, capfd: pytest.CaptureFixture[str]
) -> None:
    logs.setup(level, "json")
    structlog.get_logger("test").debug("a connection's life", client="c1")
    structlog.get_logger("test").bind(client="c2").debug("bound")
    assert capfd.readouterr().err.count("\n") == lines * 2
