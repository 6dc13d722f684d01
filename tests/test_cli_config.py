"""`gateway config` says what would run or all that is wrong, prints what is in force, keeps secrets."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.config import config_app
from gateway.config import DEV_DEFAULTS, Settings, load, load_with_origins
from gateway.config.backend import Proxy
from gateway.config.channels import ChannelOptions
from gateway.config.doc import markdown, toml
from gateway.config.rows import section_models
from gateway.config.types import MASK
from gateway.config.wechat import WeChatApp

DOCS = Path(__file__).parent.parent / "docs"
PLANTED = "pl4nted-s3cret"
SECRETS = {
    "GATEWAY_REDIS__URL": f"redis://:{PLANTED}@10.0.0.5:6379/0?password={PLANTED}",
    "GATEWAY_SESSION__ENCRYPTION_KEY": "ab" * 32,
    "GATEWAY_CLIENT__TOKEN_HMAC_SECRET": PLANTED,
    "GATEWAY_CLIENT__TOKEN_HMAC_PREVIOUS_SECRET": PLANTED,
    "GATEWAY_CLIENT__TOKEN_JWKS_URL": f"https://u:{PLANTED}@id.example.com/jwks",
    "GATEWAY_API__KEYS": f"{PLANTED}1,{PLANTED}2",
    "GATEWAY_WECHAT__APPS": json.dumps(
        [{"appid": "wx1", "secret": PLANTED, "api_base": f"https://u:{PLANTED}@proxy.example.com"}]
    ),
}


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of the developer's and no variable of their shell takes part."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        monkeypatch.delenv(name)


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(config_app, list(arguments), env=env)


def test_check_says_what_would_run(tmp_path: Path) -> None:
    path = tmp_path / "other.toml"
    path.write_text(
        '[listen]\nhttp = "127.0.0.1:81"\n[channels.namespaces.chat]\n[client]\nallow_anonymous = true\n'
    )
    result = run("check", "--config", str(path), env=SECRETS)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"OK: {path}\n")
    for shown in (
        "127.0.0.1:8000",
        "127.0.0.1:81",
        "127.0.0.1:9000",
        "10.0.0.5:6379",
        "wx1",
        "chat",
        "anonymous",
        "JWT",
    ):
        assert shown in result.stdout
    assert len(result.stdout.splitlines()) < 24


def test_check_of_nothing_says_who_can_sign_in_and_publish() -> None:
    result = run("check")
    assert result.exit_code == 0
    assert "no file" in result.stdout
    assert "nobody" in result.stdout
    assert "api.keys is empty" in result.stdout
    assert "memory" in result.stdout


def test_check_warns_of_an_insecure_gateway() -> None:
    assert "INSECURE" in run("check", env={"GATEWAY_CLIENT__INSECURE": "true"}).stdout


def test_check_stays_on_one_screen_with_many_namespaces() -> None:
    names: dict[str, object] = {f"name{index}": {} for index in range(100)}
    result = run("check", env={"GATEWAY_CHANNELS__NAMESPACES": json.dumps(names)})
    assert "and 92 more" in result.stdout
    assert len(result.stdout.splitlines()) < 24


@pytest.mark.parametrize("command", ["check", "show"])
def test_a_wrong_configuration_prints_every_problem_and_exits_2(command: str, tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text("[client]\nping = 1\n[listen]\nbacklog = 0\n")
    result = run(command)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "2 problems in the configuration (gateway.toml and the environment):" in result.stderr
    assert "  client.ping: unknown key" in result.stderr
    assert "  listen.backlog = 0: must be 1 or more" in result.stderr


def test_the_file_named_by_the_variable_is_used(tmp_path: Path) -> None:
    (tmp_path / "named.toml").write_text('[redis]\nprefix = "mine"\n')
    assert (
        'prefix = "mine"  # file' in run("show", env={"GATEWAY_CONFIG": str(tmp_path / "named.toml")}).stdout
    )


def test_a_named_file_that_is_missing_is_a_mistake(tmp_path: Path) -> None:
    result = run("check", "--config", str(tmp_path / "nope.toml"))
    assert result.exit_code == 2
    assert "there is no such file" in result.stderr


def test_show_names_the_origin_of_each_value(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text(
        '[client]\nping_interval = "30s"\n[channels.namespaces.chat]\npresence = true\n'
    )
    lines = run("show", env={"GATEWAY_LISTEN__BACKLOG": "7", **SECRETS}).stdout.splitlines()
    assert 'ping_interval = "30s"  # file' in lines
    assert "backlog = 7  # environment GATEWAY_LISTEN__BACKLOG" in lines
    assert 'pong_timeout = "8s"  # default' in lines
    assert "[channels.namespaces.chat]" in lines
    assert "presence = true  # file" in lines
    assert f'secret = "{MASK}"  # environment GATEWAY_WECHAT__APPS' in lines
    assert f'keys = ["{MASK}", "{MASK}"]  # environment GATEWAY_API__KEYS' in lines


def test_show_prints_every_key() -> None:
    shown = tomllib.loads(run("show", env=SECRETS).stdout)
    absent = {"channels": {"namespaces"}, "backend": {"proxies"}}
    for name, model in section_models().items():
        assert set(shown[name]) == set(model.model_fields) - absent.get(name, set())
    assert set(shown["wechat"]["apps"][0]) == set(WeChatApp.model_fields)


def test_what_show_prints_starts_the_same_gateway(tmp_path: Path) -> None:
    # The way `there is no such file; make one with: gateway config show > …` has to work.
    path = tmp_path / "made.toml"
    path.write_text(run("show").stdout)
    assert load(path, {}) == Settings()


def test_what_show_prints_starts_the_same_gateway_with_odd_values(tmp_path: Path) -> None:
    values = {
        "channels": {
            "channel_regex": '^[-\\w"\t\x7f中文]+$',
            "namespaces": {"chat": {"history_size": 3, "history_ttl": 0.0015}},
        },
        "websocket": {"queue_size": 123457, "allowed_origins": ["https://*.example.com"]},
        "wechat": {"sandbox": True, "apps": [{"appid": "wx1"}, {"appid": "wx2"}]},
    }
    path = tmp_path / "made.toml"
    loaded = load_with_origins(None, {}, values)
    path.write_text(toml(loaded), encoding="utf-8")
    assert load(path, {}) == loaded.settings


@pytest.mark.parametrize("command", ["check", "show"])
def test_no_output_holds_a_secret(command: str) -> None:
    for env in (SECRETS, {**SECRETS, "GATEWAY_CLIENT__PONG_TIMEOUT": "1h"}):
        result = run(command, env=env)
        assert PLANTED not in result.output
        assert "ab" * 32 not in result.output


def test_bytes_that_are_no_utf8_do_not_break_the_output() -> None:
    values = {"client": {"token_audience": "a\udc80b"}}
    assert 'token_audience = "a?b"' in toml(load_with_origins(None, {}, values))


def test_the_reference_in_the_docs_is_what_the_code_says() -> None:
    # After a change of a row: gateway config docs > docs/configuration.md
    result = run("docs")
    assert result.exit_code == 0
    assert result.stdout == markdown()
    assert (DOCS / "configuration.md").read_text(encoding="utf-8") == markdown()


def test_the_reference_has_every_key_once_under_its_section() -> None:
    sections = {part.split("\n", 1)[0]: part for part in ("\n" + markdown()).split("\n## ")[1:]}
    for name, model in section_models().items():
        for key in model.model_fields:
            assert sections[f"[{name}]"].count(f"\n| `{key}` |") == 1
    assert all(f"\n| `{key}` |" in sections["[wechat]"] for key in WeChatApp.model_fields)
    assert all(f"\n| `{key}` |" in sections["[backend]"] for key in Proxy.model_fields)
    assert all(f"\n| `{key}` |" in sections["[channels]"] for key in ChannelOptions.model_fields)


def test_the_reference_shows_units_not_numbers() -> None:
    for default in ('`"7d"`', '`"64KB"`', '`"1MB"`', '`"250ms"`', '`"25s"`'):
        assert default in markdown()


def test_help_names_the_three_commands() -> None:
    output = run("--help").stdout
    for command in ("check", "show", "docs"):
        assert command in output


def test_development_defaults_are_shown_as_such() -> None:
    text = toml(load_with_origins(None, {}, None, DEV_DEFAULTS))
    assert "sandbox = true  # development" in text
    assert "sandbox-secret" not in text
