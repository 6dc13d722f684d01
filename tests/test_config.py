"""Configuration: defaults hold, the environment wins, mistakes are named all at once, no secret gets out."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.config import ConfigError, Settings, dev_settings, find_config, load, load_with_origins
from gateway.config.channels import ChannelOptions
from gateway.config.client import Client
from gateway.config.rows import kind_of, section_models
from gateway.config.rules import NOT_AVAILABLE_YET, RULES
from gateway.config.showing import redact_url
from gateway.config.types import MASK, Rows
from gateway.config.wechat import WeChatApp

EXAMPLE = Path(__file__).parent.parent / "docs" / "gateway.example.toml"
PLANTED = "pl4nted-s3cret"
HEX_KEY = "00" * 32

MODELS: list[type[Rows]] = [*section_models().values(), ChannelOptions, WeChatApp]

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(text: str) -> Path:
        path = tmp_path / "gateway.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return to_file


def problems_of(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    dev: bool = False,
) -> list[str]:
    """The lines of the error, each checked to be one line."""
    with pytest.raises(ConfigError) as caught:
        (dev_settings if dev else load)(path, environ or {}, overrides)
    lines = str(caught.value).split("\n  ")[1:]
    assert lines == list(caught.value.problems)
    assert not [line for line in lines if "\n" in line]
    # Neither the cause nor the context may carry pydantic's error, which holds the values.
    assert caught.value.__context__ is None
    return lines


def one_problem(*args: Any, **kwargs: Any) -> str:
    lines = problems_of(*args, **kwargs)
    assert len(lines) == 1, lines
    return lines[0]


# What holds without any mistake.


def test_without_a_file_every_default_holds() -> None:
    settings = load(None, {})
    assert settings == Settings()
    assert settings.listen.websocket == "127.0.0.1:8000"
    assert settings.listen.http == "127.0.0.1:8001"
    assert settings.listen.internal == "127.0.0.1:9000"
    assert settings.client.ping_interval == 25.0
    assert settings.session.ttl == 7 * 86400.0
    assert settings.websocket.message_size_limit == 65536
    assert settings.websocket.queue_size == 1 << 20
    assert settings.websocket.trusted_proxies == ("127.0.0.1/32", "::1/128")
    assert settings.channels.namespaces == {}
    assert settings.api.keys == ()


def test_channels_without_a_namespace_can_do_nothing_by_default() -> None:
    assert not [
        name
        for name in ChannelOptions.model_fields
        if getattr(Settings().channels, name) not in (False, 0, (), "", "stream", "off")
    ]


def test_every_default_is_what_its_own_row_would_accept() -> None:
    for model in MODELS:
        given_values = {"appid": "wx1"} if model is WeChatApp else {}
        instance = model.model_validate(given_values)
        values = {
            name: getattr(instance, name)
            for name in model.model_fields
            if kind_of(model.model_fields[name]).rows is None
        }
        assert model.model_validate(values) == instance


def test_every_row_has_help() -> None:
    for model in MODELS:
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            assert kind_of(field), f"{model.__name__}.{name}"


def test_the_file_sets_values_of_every_kind(write: Write) -> None:
    settings = load(
        write(
            """
            [listen]
            http = "[::1]:80"
            [wechat]
            max_sign_ins = 3
            timeout = 0.5
            [[wechat.apps]]
            appid = "wx1"
            secret = "one"
            [[wechat.apps]]
            appid = "wx2"
            secret = "two"
            [client]
            personal_channel = false
            ping_interval = "1m"
            user_connection_policy = "refuse"
            [websocket]
            queue_size = "2MB"
            allowed_origins = ["https://*.example.com", "http://localhost:3000"]
            [channels]
            presence = true
            [channels.namespaces.chat]
            history_size = 10
            history_ttl = "5m"
            [api]
            keys = ["k1", "k2"]
            """
        ),
        {},
    )
    assert settings.listen.http == "[::1]:80"
    assert settings.wechat.max_sign_ins == 3
    assert settings.wechat.timeout == 0.5
    assert [(app.appid, app.secret.get_secret_value()) for app in settings.wechat.apps] == [
        ("wx1", "one"),
        ("wx2", "two"),
    ]
    assert settings.client.personal_channel is False
    assert settings.client.ping_interval == 60.0
    assert settings.client.user_connection_policy == "refuse"
    assert settings.websocket.queue_size == 2 << 20
    assert settings.websocket.allowed_origins == ("https://*.example.com", "http://localhost:3000")
    assert settings.channels.presence is True
    assert settings.channels.namespaces["chat"].history_ttl == 300.0
    # A namespace stands for itself: it does not inherit from [channels].
    assert settings.channels.namespaces["chat"].presence is False
    assert [key.get_secret_value() for key in settings.api.keys] == ["k1", "k2"]


@pytest.mark.parametrize("value", ["true", "1", "yes", "on", "TRUE"])
def test_a_flag_in_the_environment_is_a_word(value: str) -> None:
    assert load(None, {"GATEWAY_CLIENT__ALLOW_ANONYMOUS": value}).client.allow_anonymous is True


@pytest.mark.parametrize("value", ["false", "0", "no", "off"])
def test_a_flag_is_turned_off_by_a_word_too(value: str) -> None:
    assert load(None, {"GATEWAY_CLIENT__PERSONAL_CHANNEL": value}).client.personal_channel is False


def test_the_environment_sets_values_of_every_kind() -> None:
    settings = load(
        None,
        {
            "GATEWAY_LISTEN__HTTP": "127.0.0.1:81",
            "GATEWAY_LISTEN__BACKLOG": "7",
            "GATEWAY_CLIENT__PING_INTERVAL": "60",
            "GATEWAY_WEBSOCKET__QUEUE_SIZE": "2MB",
            "GATEWAY_WEBSOCKET__ALLOWED_ORIGINS": "https://a.example.com, https://b.example.com",
            "GATEWAY_API__KEYS": '["k1", "k,2"]',
            "GATEWAY_WECHAT__APPS": '[{"appid": "wx1", "secret": "one"}]',
            "GATEWAY_CHANNELS__NAMESPACES": '{"chat": {"history_size": 5, "history_ttl": "1m"}}',
        },
    )
    assert settings.listen.http == "127.0.0.1:81"
    assert settings.listen.backlog == 7
    assert settings.client.ping_interval == 60.0
    assert settings.websocket.queue_size == 2 << 20
    assert settings.websocket.allowed_origins == ("https://a.example.com", "https://b.example.com")
    assert [key.get_secret_value() for key in settings.api.keys] == ["k1", "k,2"]
    assert settings.wechat.apps[0].secret.get_secret_value() == "one"
    assert settings.channels.namespaces["chat"].history_ttl == 60.0


def test_each_layer_wins_over_the_one_below_and_says_so(write: Write) -> None:
    path = write('[client]\nping_interval = "30s"\npong_timeout = "9s"\nchannel_limit = 1\n')
    environ = {"GATEWAY_CLIENT__PING_INTERVAL": "40s", "GATEWAY_CLIENT__CHANNEL_LIMIT": "2"}
    loaded = load_with_origins(path, environ, {"client": {"channel_limit": 3}})
    client = loaded.settings.client
    assert (client.ping_interval, client.pong_timeout, client.channel_limit) == (40.0, 9.0, 3)
    assert loaded.origin(("client", "ping_interval")) == "environment GATEWAY_CLIENT__PING_INTERVAL"
    assert loaded.origin(("client", "pong_timeout")) == "file"
    assert loaded.origin(("client", "channel_limit")) == "command line"
    assert loaded.origin(("client", "command_burst")) == "default"


def test_namespaces_of_file_and_environment_merge_key_by_key(write: Write) -> None:
    path = write("[channels.namespaces.chat]\npresence = true\njoin_leave = true\n")
    settings = load(path, {"GATEWAY_CHANNELS__NAMESPACES": '{"chat": {"presence": false}, "room": {}}'})
    assert settings.channels.namespaces["chat"].presence is False
    assert settings.channels.namespaces["chat"].join_leave is True
    assert settings.channels.namespaces["room"] == ChannelOptions()


def test_variables_that_are_not_ours_do_not_matter() -> None:
    environ = {
        "PATH": "/bin",
        "GATEWAY_CONFIG": "x.toml",
        "GATEWAY_TEST_TIME_FACTOR": "10",
        "gateway_listen__http": "x",
    }
    assert load(None, environ) == Settings()


def test_settings_are_frozen() -> None:
    settings = load(None, {})
    with pytest.raises(ValidationError):
        settings.client.ping_interval = 1.0
    with pytest.raises(ValidationError):
        settings.client = Client()


def test_settings_travel_to_worker_processes() -> None:
    settings = dev_settings(None, {})
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_bytes(b"\xef\xbb\xbf[listen]\nbacklog = 9\n")
    assert load(path, {}).listen.backlog == 9


def test_the_example_in_the_docs_starts() -> None:
    settings = load(EXAMPLE, {})
    assert set(settings.channels.namespaces) == {"chat", "price"}
    assert settings.session.key() == bytes(range(32))


def test_the_config_file_is_the_option_else_the_variable_else_the_one_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config(None, {}) is None
    (tmp_path / "gateway.toml").touch()
    assert find_config(None, {}) == Path("gateway.toml")
    assert find_config(None, {"GATEWAY_CONFIG": "b.toml"}) == Path("b.toml")
    assert find_config(Path("a.toml"), {"GATEWAY_CONFIG": "b.toml"}) == Path("a.toml")


# Development.


def test_development_works_with_nothing_configured() -> None:
    settings = dev_settings(None, {})
    assert settings.wechat.sandbox is True
    assert settings.wechat.apps[0].appid == "wxsandbox00000000"
    assert [key.get_secret_value() for key in settings.api.keys] == ["dev"]
    assert settings.websocket.allowed_origins == ("http://localhost:*", "http://127.0.0.1:*")
    assert settings.log.format == "console"
    for options in (settings.channels, settings.channels.namespaces["chat"]):
        assert options.allow_subscribe_for_client
        assert options.force_recovery
        assert (options.history_size, options.history_ttl) == (100, 600.0)


def test_in_development_the_users_values_win_key_by_key(write: Write) -> None:
    path = write(
        "[channels]\njoin_leave = false\n[channels.namespaces.chat]\npresence = false\n"
        '[log]\nformat = "json"\n'
    )
    settings = dev_settings(path, {"GATEWAY_API__KEYS": "mine"}, {"wechat": {"apps": [{"appid": "wx9"}]}})
    assert settings.channels.join_leave is False
    assert settings.channels.presence is True
    assert settings.channels.namespaces["chat"].presence is False
    assert settings.channels.namespaces["chat"].join_leave is True
    assert settings.log.format == "json"
    assert [key.get_secret_value() for key in settings.api.keys] == ["mine"]
    assert [app.appid for app in settings.wechat.apps] == ["wx9"]


def test_development_against_the_real_wechat_has_no_sandbox_app() -> None:
    assert dev_settings(None, {"GATEWAY_WECHAT__SANDBOX": "false"}).wechat.apps == ()


def test_what_the_caller_gave_is_not_changed_by_a_mistake_in_it() -> None:
    overrides = {"wechat": {"apps": [{"appid": 5, "secret": "s"}]}}
    problems_of(None, {}, overrides)
    assert overrides == {"wechat": {"apps": [{"appid": 5, "secret": "s"}]}}


def test_a_mistake_in_development_does_not_change_its_defaults() -> None:
    before = dev_settings(None, {})
    problems_of(None, {}, {"channels": {"namespaces": {"chat": 5}}}, dev=True)
    assert dev_settings(None, {}) == before


# Mistakes: each names the key, the value and the fix.


def test_all_problems_come_at_once(write: Write) -> None:
    path = write('[listen]\nhttp = "x"\n[client]\nping_interval = "5x"\npong = 1\n[shutdown]\ndrain = "1h"\n')
    lines = problems_of(path, {"GATEWAY_LOG__LEVEL": "loud", "GATEWAY_LOGG__LEVEL": "info"})
    assert sorted(line.split()[0].rstrip(":") for line in lines) == [
        "client.ping_interval",
        "client.pong",
        "environment",
        "listen.http",
        "log.level",
        "shutdown.drain",
    ]


def test_an_unknown_key_gets_a_suggestion(write: Write) -> None:
    lines = problems_of(
        write(
            "clint = 1\n[client]\nping_intervall = 1\nqueue_size = 1\nxyzzy = 1\n"
            "[channels.chat]\npresence = true\n[channels.namespaces.chat]\nhistorysize = 1\n[nowhere]\n"
        ),
    )
    assert sorted(lines) == [
        "channels.chat: unknown key, a namespace is written [channels.namespaces.chat]",
        "channels.namespaces.chat.historysize: unknown key, write history_size instead",
        "client.ping_intervall: unknown key, write ping_interval instead",
        "client.queue_size: unknown key, move it to [websocket]",
        "client.xyzzy: unknown key; remove it",
        "clint: unknown key, write client instead",
        "nowhere: unknown key; remove it",
    ]


@pytest.mark.parametrize(
    "name",
    ["GATEWAY_CLIENT__PING_INTERVALL", "GATEWAY_CLIENT_PING_INTERVAL", "GATEWAY_client__ping_interval"],
)
def test_an_unknown_variable_is_a_mistake(name: str) -> None:
    line = one_problem(None, {name: PLANTED})
    assert line.startswith(f"environment {name}: unknown variable")
    assert PLANTED not in line


def test_an_unknown_variable_gets_a_suggestion() -> None:
    assert "write GATEWAY_CLIENT__PING_INTERVAL instead" in one_problem(
        None, {"GATEWAY_CLIENT_PING_INTERVAL": "1"}
    )


def test_a_value_from_the_environment_is_reported_with_its_variable() -> None:
    line = one_problem(None, {"GATEWAY_CLIENT__PING_INTERVAL": "5x"})
    assert line.startswith(
        'client.ping_interval (environment GATEWAY_CLIENT__PING_INTERVAL) = "5x": not a duration; write'
    )


@pytest.mark.parametrize(
    ("section", "key", "toml", "fix"),
    [
        ("listen", "http", '"localhost"', "host:port"),
        ("listen", "http", '"127.0.0.1:70000"', "0 to 65535"),
        ("listen", "http", '"::1:80"', "brackets"),
        ("listen", "http", '":8001"', "0.0.0.0:8001"),
        ("listen", "backlog", "0", "1 or more"),
        ("listen", "backlog", '"5"', "whole number, without quotes"),
        ("listen", "backlog", "1.5", "whole number"),
        ("redis", "url", '"http://localhost"', "redis://"),
        ("redis", "prefix", '""', "must not be empty"),
        ("wechat", "timeout", '"0s"', "longer than 0s"),
        ("session", "ttl", '"1w"', "duration"),
        ("client", "allow_anonymous", '"true"', "without quotes"),
        ("client", "allow_anonymous", "1", "true or false"),
        ("client", "user_connection_limit", "-1", "0 or more"),
        ("client", "user_connection_policy", '"newest"', '"replace_oldest" or "refuse"'),
        ("client", "token_jwks_url", '"jwks.json"', "https://"),
        ("client", "token_audience", "5", "text in quotes"),
        ("websocket", "queue_size", '"1XB"', "size"),
        ("websocket", "message_size_limit", "0", "larger than 0"),
        ("websocket", "allowed_origins", '"https://a.example.com"', "list"),
        ("websocket", "allowed_origins", '["https://a.example.com/path"]', "without a path"),
        ("websocket", "allowed_origins", '["example.com"]', "origins such as"),
        ("websocket", "trusted_proxies", '["10.0.0.1/8"]', "networks such as"),
        ("channels", "channel_regex", '"("', "regular expression"),
        ("channels", "recovery_mode", '"both"', '"stream" or "cache"'),
        ("channels", "history_size", "-5", "0 or more"),
        ("channels", "history_ttl", "2020-01-01", "duration"),
        ("api", "max_body", "true", "size"),
        ("api", "error_mode", '"http"', '"body" or "transport"'),
        ("log", "level", '"loud"', '"debug"'),
    ],
)
def test_a_wrong_value_is_answered_with_the_fix(
    write: Write, section: str, key: str, toml: str, fix: str
) -> None:
    line = one_problem(write(f"[{section}]\n{key} = {toml}\n"))
    where, _, text = line.partition(" = ")
    assert where == f"{section}.{key}"
    assert fix in text


def test_something_else_where_a_table_belongs_is_a_mistake(write: Write) -> None:
    lines = problems_of(
        write('listen = "127.0.0.1:80"\n[wechat]\napps = "wx1"\n[channels]\nnamespaces = ["chat"]\n')
    )
    assert lines == [
        "listen: must be a table, [listen]",
        "wechat.apps: must be tables: `[[wechat.apps]]` in the file, a JSON list in the environment",
        "channels.namespaces: must be tables: `[channels.namespaces.NAME]` in the file, "
        "a JSON object in the environment",
    ]


def test_a_variable_does_not_hide_that_its_section_is_no_table(write: Write) -> None:
    line = one_problem(write('listen = "127.0.0.1:80"\n'), {"GATEWAY_LISTEN__HTTP": "127.0.0.1:81"})
    assert line == "listen: must be a table, [listen]"


def test_a_key_with_a_line_break_stays_on_one_line(write: Write) -> None:
    assert one_problem(write('[client]\n"a\\nb" = 1\n')) == 'client."a\\nb": unknown key; remove it'


def test_a_long_value_is_cut(write: Write) -> None:
    assert len(one_problem(write(f'[listen]\nhttp = "{"x" * 5000}"\n'))) < 300


def test_a_missing_file_is_named_with_a_way_to_make_it(tmp_path: Path) -> None:
    line = one_problem(tmp_path / "nope.toml")
    assert line.startswith(f"{tmp_path}/nope.toml: there is no such file")
    assert "gateway config show >" in line


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "cannot be read" in one_problem(tmp_path)


def test_a_syntax_error_has_file_and_line(write: Write) -> None:
    path = write("[listen]\nbacklog = 1\nhttp = 127.0.0.1\n")
    line = one_problem(path)
    assert line.startswith(f"{path}: not TOML: ")
    assert "line 3" in line


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_bytes("# 中文\n".encode("gbk"))
    assert "is not UTF-8 at byte 2" in one_problem(path)


# Combinations that must not start. One row or more for each rule.

APP = {"appid": "wx1", "secret": "s"}
HISTORY = {"history_size": 5, "history_ttl": "1m"}
IMPOSSIBLE: list[tuple[str, dict[str, Any], str]] = [
    ("accel_is_local", {"files": {"accel_location": "/protected"}}, "files.accel_location"),
    ("dashboard_password_is_long", {"admin": {"password": "short"}}, "admin.password"),
    ("bucket_is_named", {"files": {"s3_url": "https://cos.example.com"}}, "files.s3_url"),
    ("pong_before_ping", {"client": {"ping_interval": "5s", "pong_timeout": "5s"}}, "client.pong_timeout"),
    ("pong_before_ping", {"client": {"ping_interval": "8s"}}, "client.pong_timeout"),
    ("presence_outlives_interval", {"channels": {"presence_ttl": "27s"}}, "channels.presence_ttl"),
    ("drain_within_timeout", {"shutdown": {"drain": "30s"}}, "shutdown.drain"),
    ("queue_holds_a_message", {"websocket": {"message_size_limit": "2MB"}}, "websocket.queue_size"),
    (
        "sandbox_stays_home",
        {"wechat": {"sandbox": True}, "listen": {"http": "0.0.0.0:8001"}},
        "wechat.sandbox",
    ),
    ("sandbox_stays_home", {"wechat": {"sandbox": True}, "listen": {"http": "[::]:8001"}}, "wechat.sandbox"),
    (
        "sandbox_stays_home",
        {"wechat": {"sandbox": True}, "listen": {"http": "my.host:8001"}},
        "wechat.sandbox",
    ),
    ("listeners_apart", {"listen": {"http": "127.0.0.1:8000"}}, "listen.http"),
    ("listeners_apart", {"listen": {"http": "0.0.0.0:8000"}}, "listen.http"),
    ("listeners_apart", {"listen": {"internal": "localhost:8001"}}, "listen.internal"),
    ("sessions_survive_nodes", {"redis": {"url": "redis://h"}}, "session.encryption_key"),
    ("apps_have_secrets", {"wechat": {"apps": [APP, {"appid": "wx2"}]}}, "wechat.apps[1].secret"),
    ("proxies_exist", {"backend": {"rpc": "shop"}}, "backend.rpc"),
    (
        "proxies_exist",
        {"channels": {"namespaces": {"chat": {"publish_proxy": "shop"}}}},
        "channels.namespaces.chat.publish_proxy",
    ),
    (
        "proxies_differ",
        {"backend": {"proxies": [{"name": "shop", "endpoint": "http://shop"}] * 2}},
        "backend.proxies[1].name",
    ),
    ("apps_differ", {"wechat": {"apps": [APP, APP]}}, "wechat.apps[1].appid"),
    (
        "callbacks_have_a_token",
        {"wechat": {"apps": [{**APP, "encoding_aes_key": "A" * 43}]}},
        "wechat.apps[0].encoding_aes_key",
    ),
    (
        "callbacks_have_a_token",
        {"wechat": {"apps": [{**APP, "callback_channel": "events"}]}},
        "wechat.apps[0].callback_channel",
    ),
    ("checks_have_an_app", {"channels": {"content_check": "text"}}, "channels.content_check"),
    (
        "checks_have_an_app",
        {
            "wechat": {"apps": [APP]},
            "files": {"public_url": "https://api.example.com"},
            "channels": {"namespaces": {"chat": {"content_check": "media"}}},
        },
        "channels.namespaces.chat.content_check",
    ),
    (
        "checks_have_an_app",
        {
            "wechat": {"apps": [{**APP, "callback_token": "t"}]},
            "channels": {"namespaces": {"chat": {"content_check": "all"}}},
        },
        "channels.namespaces.chat.content_check",
    ),
    (
        "callback_channels_exist",
        {"wechat": {"apps": [{**APP, "callback_token": "t", "callback_channel": "no:events"}]}},
        "wechat.apps[0].callback_channel",
    ),
    (
        "public_key_is_readable",
        {"client": {"token_public_key": "/no/such/key.pem"}},
        "client.token_public_key",
    ),
    (
        "public_key_is_readable",
        {"client": {"token_public_key": "-----BEGIN X-----"}},
        "client.token_public_key",
    ),
    (
        "rotation_has_a_present",
        {"client": {"token_hmac_previous_secret": "old"}},
        "client.token_hmac_previous_secret",
    ),
    ("history_is_whole", {"channels": {"history_size": 5}}, "channels.history_ttl"),
    ("history_is_whole", {"channels": {"history_ttl": "5m"}}, "channels.history_size"),
    (
        "history_is_whole",
        {"channels": {"namespaces": {"chat": {"history_size": 5}}}},
        "channels.namespaces.chat.history_ttl",
    ),
    ("recovery_has_history", {"channels": {"force_recovery": True}}, "channels.force_recovery"),
    ("recovery_has_history", {"channels": {"force_positioning": True}}, "channels.force_positioning"),
    ("recovery_has_history", {"channels": {"recovery_mode": "cache"}}, "channels.recovery_mode"),
    (
        "recovery_has_history",
        {"channels": {"namespaces": {"chat": {"force_recovery": True}}}},
        "channels.namespaces.chat.force_recovery",
    ),
    (
        "cache_recovers_a_cache",
        {"channels": {**HISTORY, "auto_cache_recover": True}},
        "channels.auto_cache_recover",
    ),
    (
        "personal_namespace_exists",
        {"client": {"personal_channel_namespace": "me"}, "channels": {"namespaces": {"chat": {}}}},
        "client.personal_channel_namespace",
    ),
    ("namespaces_have_names", {"channels": {"namespaces": {"x": {}}}}, "channels.namespaces.x"),
    ("namespaces_have_names", {"channels": {"namespaces": {"a:b": {}}}}, 'channels.namespaces."a:b"'),
    ("options_are_available", {"channels": {"delta_publish": True}}, "channels.delta_publish"),
    (
        "options_are_available",
        {"channels": {"namespaces": {"chat": {"allowed_delta_types": ["fossil"]}}}},
        "channels.namespaces.chat.allowed_delta_types",
    ),
]


@pytest.mark.parametrize(("rule", "values", "key"), IMPOSSIBLE)
def test_an_impossible_combination_does_not_start(rule: str, values: dict[str, Any], key: str) -> None:
    line = one_problem(None, {}, values)
    assert line.startswith((f"{key} ", f"{key}:")), rule


def test_every_rule_has_an_impossible_combination() -> None:
    assert {one.__name__ for one in RULES} == {rule for rule, _, _ in IMPOSSIBLE}
    assert not [one.__name__ for one in RULES if not one.__doc__]


@pytest.mark.parametrize(
    "values",
    [
        {"wechat": {"sandbox": True, "apps": [{"appid": "wx1"}]}, "listen": {"http": "localhost:8001"}},
        {"wechat": {"sandbox": True}, "listen": {"http": "[::1]:8001"}},
        {"listen": {"websocket": "127.0.0.1:0", "http": "127.0.0.1:0", "internal": "127.0.0.1:0"}},
        {"listen": {"websocket": "10.0.0.1:80", "http": "10.0.0.2:80"}},
        {"redis": {"url": "redis://h"}, "session": {"encryption_key": HEX_KEY}},
        {
            "channels": {
                **HISTORY,
                "recovery_mode": "cache",
                "auto_cache_recover": True,
                "force_recovery": True,
            }
        },
        {"client": {"personal_channel_namespace": "me"}, "channels": {"namespaces": {"me": {}}}},
        {"client": {"token_hmac_secret": "new", "token_hmac_previous_secret": "old"}},
        {"websocket": {"queue_size": "64KB"}},
    ],
)
def test_the_possible_next_to_the_impossible_starts(values: dict[str, Any]) -> None:
    load(None, {}, values)


def test_a_rule_is_silent_about_a_key_that_is_wrong_itself() -> None:
    values = {
        "client": {"ping_interval": "5x", "pong_timeout": "1h"},
        "wechat": {"apps": [{"appid": "wx1", "secret": 5}]},
        "channels": {"history_size": "many", "history_ttl": "1m", "force_recovery": True},
    }
    lines = problems_of(None, {}, values)
    assert sorted(line.split()[0] for line in lines) == [
        "channels.history_size",
        "client.ping_interval",
        "wechat.apps[0].secret",
    ]


def test_the_options_that_are_not_available_exist() -> None:
    assert set(NOT_AVAILABLE_YET) <= set(ChannelOptions.model_fields)


# Keys and secrets.


def pem_pair() -> tuple[str, str]:
    private = ec.generate_private_key(ec.SECP256R1())
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), public.decode()


def test_a_public_key_may_be_the_text_or_its_file(tmp_path: Path) -> None:
    _, public = pem_pair()
    path = tmp_path / "key.pem"
    path.write_text(public)
    for value in (public, str(path)):
        settings = load(None, {"GATEWAY_CLIENT__TOKEN_PUBLIC_KEY": value})
        assert settings.client.public_key_pem() == public
    assert load(None, {}).client.public_key_pem() == ""


def test_a_private_key_in_place_of_the_public_one_is_refused_and_not_shown(tmp_path: Path) -> None:
    private, _ = pem_pair()
    path = tmp_path / "key.pem"
    path.write_text(private)
    for value in (private, str(path)):
        line = one_problem(None, {"GATEWAY_CLIENT__TOKEN_PUBLIC_KEY": value})
        assert "this is a private key" in line
        assert private.splitlines()[1] not in line


def test_a_file_that_is_no_pem_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(b"\xff\xfe")
    assert "not a PEM file" in one_problem(None, {"GATEWAY_CLIENT__TOKEN_PUBLIC_KEY": str(path)})


@pytest.mark.parametrize(
    "text",
    [
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    ],
)
def test_the_encryption_key_is_32_bytes_in_hex_or_base64(text: str) -> None:
    assert load(None, {"GATEWAY_SESSION__ENCRYPTION_KEY": text}).session.key() == bytes(range(32))
    assert load(None, {}).session.key() is None


def test_url_safe_base64_without_padding_is_the_same_key() -> None:
    settings = load(None, {"GATEWAY_SESSION__ENCRYPTION_KEY": "_-" * 21 + "8"})
    assert (
        settings.session.key()
        == load(None, {"GATEWAY_SESSION__ENCRYPTION_KEY": "/+" * 21 + "8="}).session.key()
    )


@pytest.mark.parametrize("text", ["short", "00" * 31, "A" * 42, "!" * 44, "中" * 32])
def test_any_other_encryption_key_is_refused(text: str) -> None:
    line = one_problem(None, {"GATEWAY_SESSION__ENCRYPTION_KEY": text})
    assert "openssl rand -base64 32" in line
    assert text not in line


def test_the_mask_is_not_taken_for_a_secret() -> None:
    for name in ("GATEWAY_CLIENT__TOKEN_HMAC_SECRET", "GATEWAY_API__KEYS", "GATEWAY_SESSION__ENCRYPTION_KEY"):
        assert "mask" in one_problem(None, {name: MASK})
    assert "mask" in one_problem(None, {"GATEWAY_CLIENT__TOKEN_JWKS_URL": f"https://{MASK}@h/"})


LEAKS: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({"GATEWAY_REDIS__URL": f"redis://:{PLANTED}@host"}, {}),
    ({"GATEWAY_REDIS__URL": f"redis:/:{PLANTED}@host"}, {}),
    ({"GATEWAY_REDIS__URL": f"http://u:{PLANTED}@host"}, {}),
    ({"GATEWAY_REDIS__URL": f"http://u:a/{PLANTED}@host"}, {}),
    ({"GATEWAY_REDIS__URL": f"{PLANTED}@host"}, {}),
    ({"GATEWAY_REDIS__URL": f"redis://[{PLANTED}"}, {}),
    ({"GATEWAY_REDIS__URL": f"http://host?password={PLANTED}"}, {}),
    ({"GATEWAY_LISTEN__HTTP": f"redis://:{PLANTED}@host"}, {}),
    ({"GATEWAY_CLIENT__TOKEN_HMAC_PREVIOUS_SECRET": PLANTED}, {}),
    ({"GATEWAY_SESSION__ENCRYPTION_KEY": PLANTED}, {}),
    ({"GATEWAY_API__KEYS": f'["{PLANTED}"'}, {}),
    ({"GATEWAY_WECHAT__APPS": f'[{{"appid": "wx1", "secret": "{PLANTED}"'}, {}),
    ({"GATEWAY_WECHAT__APPS": f'["{PLANTED}"]'}, {}),
    ({"GATEWAY_WECHAT__APPS": f'[{{"secret": "{PLANTED}"}}]'}, {}),
    ({"GATEWAY_WECHAT__APPS": f'{{"appid": "wx1", "secret": "{PLANTED}"}}'}, {}),
    ({"GATEWAY_CHANNELS__NAMESPACES": PLANTED}, {}),
    ({}, {"api": {"keys": PLANTED}}),
    ({}, {"api": {"keys": [PLANTED, 5]}}),
    ({}, {"api": PLANTED}),
    ({}, {"client": {"token_hmac_secret": [PLANTED]}}),
    ({}, {"client": {"token_hmac_secret": {"value": PLANTED}}}),
    ({}, {"client": {"token_hmac_secrett": PLANTED}}),
    ({}, {"client": {"ping_interval": {"x": PLANTED}}}),
    ({}, {"secret": PLANTED}),
    ({}, {"wechat": {"apps": [{"appid": "wx1", "secret": PLANTED, "secrets": PLANTED}, PLANTED]}}),
    ({}, {"wechat": {"apps": [{"appid": "wx1", "secret": PLANTED}, {"appid": "wx1", "secret": PLANTED}]}}),
    ({}, {"wechat": {"apps": [{"appid": "wx1", "secret": PLANTED, "api_base": f"ftp://u:{PLANTED}@h"}]}}),
]  # fmt: skip


@pytest.mark.parametrize(("environ", "overrides"), LEAKS)
def test_no_error_holds_a_secret(environ: dict[str, str], overrides: dict[str, Any]) -> None:
    # Whatever is wrong with the value of the first cases: a listener clash makes each of them an error.
    clash = {"listen": {"internal": "127.0.0.1:8000"}}
    with pytest.raises(ConfigError) as caught:
        load(None, environ, {**clash, **overrides})
    assert PLANTED not in str(caught.value)
    assert PLANTED not in repr(caught.value)


def test_pydantics_own_error_does_not_echo_its_input() -> None:
    with pytest.raises(ValidationError) as caught:
        WeChatApp.model_validate({"appid": 5, "secret": [PLANTED]})
    assert PLANTED not in str(caught.value)


def test_no_repr_holds_a_secret() -> None:
    settings = load(
        None,
        {
            "GATEWAY_REDIS__URL": f"redis://:{PLANTED}@host",
            "GATEWAY_SESSION__ENCRYPTION_KEY": HEX_KEY,
            "GATEWAY_CLIENT__TOKEN_HMAC_SECRET": PLANTED,
            "GATEWAY_CLIENT__TOKEN_JWKS_URL": f"https://u:{PLANTED}@host/jwks",
            "GATEWAY_API__KEYS": PLANTED,
            "GATEWAY_WECHAT__APPS": json.dumps(
                [{**APP, "secret": PLANTED, "api_base": f"https://{PLANTED}@h"}]
            ),
        },
    )
    assert PLANTED not in repr(settings) + str(settings)
    assert HEX_KEY not in repr(settings) + str(settings)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", ""),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:pw@h:1/0", f"redis://{MASK}@h:1/0"),
        ("redis+sentinel://u:pw@h1:1,h2:2/main", f"redis+sentinel://{MASK}@h1:1,h2:2/main"),
        ("rediss://u:pw@[::1]:1", f"rediss://{MASK}@[::1]:1"),
        ("redis://h?password=pw&db=1", f"redis://h?password={MASK}&db={MASK}"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("unix://:pw@/run/redis.sock", f"unix://{MASK}@/run/redis.sock"),
        ("redis://:pa/ss@h", MASK),
        ("redis://:pa#ss@h", MASK),
        ("redis://:pa?ss@h", MASK),
        ("redis://user:pw", MASK),
        ("redis://[pw", MASK),
        ("pw@h", MASK),
    ],
)
def test_a_url_is_shown_without_what_could_be_its_password(url: str, shown: str) -> None:
    assert redact_url(url) == shown


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PATHS = [(section, key) for section, model in section_models().items() for key in model.model_fields]


@given(st.dictionaries(st.sampled_from(PATHS), JSON_VALUES, max_size=4), JSON_VALUES)
def test_no_input_raises_anything_but_config_error(values: dict[tuple[str, str], Any], stray: Any) -> None:
    overrides: dict[str, Any] = {"stray": stray}
    for (section, key), value in values.items():
        overrides.setdefault(section, {})[key] = value
    with pytest.raises(ConfigError):
        load(None, {}, overrides)


@given(st.sampled_from(PATHS), st.text())
def test_no_variable_raises_anything_but_config_error(path: tuple[str, str], text: str) -> None:
    try:
        load(None, {f"GATEWAY_{path[0].upper()}__{path[1].upper()}": text})
    except ConfigError as error:
        assert error.problems
