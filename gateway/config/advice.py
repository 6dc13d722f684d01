"""What can start, and should not go into production: said by `gateway config check` and once at start.

Unlike a rule, advice stops nothing. No line holds a value, since most of them are about secrets.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator

from gateway.config.channels import ChannelOptions
from gateway.config.rows import Settings

Advice = Callable[[Settings], Iterator[str]]
ADVICE: list[Advice] = []

API_KEY_LENGTH = 16
"""Characters of an API key that cannot be guessed within a lifetime of tries."""


def advice(function: Advice) -> Advice:
    ADVICE.append(function)
    return function


def advise(settings: Settings) -> list[str]:
    """One line each, with the key it is about and what to do."""
    return [line for one in ADVICE for line in one(settings)]


@advice
def api_keys_are_strong(settings: Settings) -> Iterator[str]:
    """An API key publishes to everybody."""
    for index, key in enumerate(settings.api.keys):
        text = key.get_secret_value()
        if not re.fullmatch("[!-~]+", text):
            yield f"api.keys[{index}] has spaces or letters beyond ASCII, which many HTTP clients cannot send"
        elif len(text) < API_KEY_LENGTH:
            yield f"api.keys[{index}] is short enough to guess; make one with: openssl rand -hex 32"


@advice
def app_secrets_are_real(settings: Settings) -> Iterator[str]:
    """An AppSecret is 32 hexadecimal digits; anything else is a placeholder or a slip of the mouse."""
    if settings.wechat.sandbox:
        return
    for index, app in enumerate(settings.wechat.apps):
        if not re.fullmatch("[0-9a-f]{32}", app.secret.get_secret_value()):
            yield f"wechat.apps[{index}].secret does not look like an AppSecret (32 hexadecimal digits)"


@advice
def encryption_key_is_random(settings: Settings) -> Iterator[str]:
    """A key of counted bytes came out of an example."""
    key = settings.session.key()
    if key and len({(after - before) % 256 for before, after in itertools.pairwise(key)}) == 1:
        yield "session.encryption_key is an example's; make your own with: openssl rand -base64 32"


@advice
def somebody_may_subscribe(settings: Settings) -> Iterator[str]:
    """A gateway whose phones can subscribe to nothing but their own channel is often half configured."""
    channels = settings.channels
    tables = [channels, *channels.namespaces.values()]
    client = settings.client
    if client.insecure or client.token_hmac_secret.get_secret_value() or not settings.wechat.apps:
        return
    if not any(each.allow_subscribe_for_client or each.allow_user_limited_channels for each in tables):
        yield (
            "channels: phones can subscribe to their own channel only; "
            "allow_subscribe_for_client = true opens a namespace to them"
        )


@advice
def sandbox_is_for_laptops(settings: Settings) -> Iterator[str]:
    """In the sandbox anybody signs in as anybody."""
    if settings.wechat.sandbox:
        yield "wechat.sandbox: anybody signs in as anybody; set it to false, with an app of yours"


@advice
def histories_can_be_had(settings: Settings) -> Iterator[str]:
    """A history that a phone can neither recover from nor read loses its messages without a word."""
    channels = settings.channels
    tables: dict[str, ChannelOptions] = {"channels": channels}
    tables |= {f"channels.namespaces.{name}": options for name, options in channels.namespaces.items()}
    for name, options in tables.items():
        open_to_phones = options.allow_subscribe_for_client or options.allow_user_limited_channels
        readable = options.allow_history_for_client or options.allow_history_for_subscriber
        if options.history_size and open_to_phones and not (options.force_recovery or readable):
            yield (
                f"{name}: it keeps a history, but phones that come back do not get what they missed; "
                "set force_recovery = true"
            )
