"""What should not go into production is said, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config import load
from gateway.config.advice import advise

REAL: dict[str, Any] = {
    "wechat": {"apps": [{"appid": "wx0123456789abcdef", "secret": "0a1b" * 8}]},
    "session": {"encryption_key": "q6J3VrO9v8mZ4nT1xWc7bY0kLd5sHf2gP9uEaRiMjQo="},
    "api": {"keys": ["5f0c1e9a7b3d48f2a6c0e4d8b2f61a93"]},
    "channels": {"namespaces": {"news": {"allow_subscribe_for_client": True}}},
}


def test_a_configuration_made_with_care_gets_no_advice() -> None:
    assert advise(load(None, {}, REAL)) == []


@pytest.mark.parametrize(
    ("section", "value", "advice"),
    [
        ("api", {"keys": ["dev"]}, "api.keys[0] is short enough to guess"),
        ("api", {"keys": ["a long random key"]}, "api.keys[0] has spaces"),
        ("api", {"keys": ["一把足够长而且完全随机的密钥"]}, "api.keys[0] has spaces or letters beyond ASCII"),
        ("wechat", {"apps": [{"appid": "wx1", "secret": "the AppSecret"}]}, "wechat.apps[0].secret"),
        (
            "session",
            {"encryption_key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="},
            "session.encryption_key is an example's",
        ),
        ("session", {"encryption_key": "00" * 32}, "session.encryption_key is an example's"),
        ("channels", {}, "phones can subscribe to their own channel only"),
        (
            "channels",
            {"allow_subscribe_for_client": True, "history_size": 9, "history_ttl": "5m"},
            "channels: it keeps a history, but phones that come back do not get what they missed",
        ),
        ("wechat", {"sandbox": True, "apps": REAL["wechat"]["apps"]}, "wechat.sandbox: anybody"),
    ],
)
def test_what_came_out_of_an_example_is_named(section: str, value: dict[str, Any], advice: str) -> None:
    lines = advise(load(None, {}, {**REAL, section: value}))
    assert len(lines) == 1
    assert advice in lines[0]
