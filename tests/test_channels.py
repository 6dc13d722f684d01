"""Who may do what in which channel: every combination of the options against the rules in one line each."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.channels import Access, Channels, Who, has_history, personal_owner
from gateway.config import ChannelOptions, load
from gateway.errors import ERROR_BAD_REQUEST, ERROR_UNKNOWN_CHANNEL, ClientError

ANN, NOBODY = Who("ann"), Who("")


def rules(*, client: dict[str, Any] | None = None, **channels: Any) -> Channels:
    return Channels(load(None, {}, {"client": client or {}, "channels": channels}))


NAMED = {
    "chat": {"presence": True},
    "群": {"channel_regex": "^[一-龥]+$"},
    "num": {"channel_regex": "^[0-9]+$"},
}


# ---------------------------------------------------------------------------- names
@pytest.mark.parametrize(
    ("channel", "presence"),
    [
        ("news", False),
        ("$news", False),
        ("#ann", False),
        ("dialog#ann,bob", False),
        ("chat:room", True),
        ("$chat:room", True),
        ("chat:#ann", True),
        ("chat:a:b:c", True),
        ("chat:", True),
        ("num:42", False),
        ("x" * 255, False),
        ("a b", False),
    ],
)
def test_the_part_before_the_first_colon_is_the_namespace(channel: str, presence: bool) -> None:
    assert (
        rules(namespaces={"chat": NAMED["chat"], "num": NAMED["num"]}).options(channel).presence is presence
    )


@pytest.mark.parametrize("channel", ["nope:x", ":x", "$nope:x", "Chat:x", " chat:x", "$$chat:x"])
def test_an_unknown_namespace_is_an_error_102(channel: str) -> None:
    with pytest.raises(ClientError) as caught:
        rules(namespaces={"chat": {}}).options(channel)
    assert caught.value.outcome is ERROR_UNKNOWN_CHANNEL


@pytest.mark.parametrize(
    "channel",
    [
        "",
        "x" * 256,
        "chat:" + "x" * 251,
        "新闻",
        "chat:é",
        "a\nb",
        "a\x00",
        "\x7f",
        "a\ud800",
        "nope:\n",
        "num:x",
    ],
)
def test_a_name_that_cannot_be_is_an_error_107(channel: str) -> None:
    with pytest.raises(ClientError) as caught:
        rules(namespaces={"chat": {}, "num": NAMED["num"]}).options(channel)
    assert caught.value.outcome is ERROR_BAD_REQUEST


def test_a_regex_permits_names_outside_ascii_and_sees_the_name_without_its_namespace() -> None:
    channels = rules(
        channel_regex="^[a-z微信]+$", namespaces={"num": NAMED["num"], "any": {"channel_regex": "."}}
    )
    channels.options("微信")
    channels.options("$微信")
    channels.options("num:7")
    channels.options("any:群😀")
    for channel in ("News", "num:微信", "any:"):
        with pytest.raises(ClientError):
            channels.options(channel)


def test_the_limit_of_a_name_counts_bytes() -> None:
    channels = rules(channel_regex=".", max_name_length=9)
    channels.options("微信群")
    with pytest.raises(ClientError):
        channels.options("微信群x")


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(), max_size=12))
def test_any_name_has_options_or_is_a_client_error(channel: str) -> None:
    channels = rules(namespaces={"chat": {}})
    try:
        assert channels.options(channel) is not None
    except ClientError as error:
        assert error.outcome in (ERROR_BAD_REQUEST, ERROR_UNKNOWN_CHANNEL)
    else:
        assert channel
        assert channel.isascii()
        assert channel.isprintable()


def test_the_personal_channel_of_a_user() -> None:
    assert rules().personal("ann") == "#ann"
    channels = rules(client={"personal_channel_namespace": "vip"}, namespaces={"vip": {"presence": True}})
    assert channels.personal("ann") == "vip:#ann"
    assert channels.options(channels.personal("ann")).presence


# ---------------------------------------------------------------------------- subscribe
@pytest.mark.parametrize("insecure", [False, True])
@pytest.mark.parametrize(("for_client", "for_anonymous"), [*itertools.product([False, True], repeat=2)])
@pytest.mark.parametrize("who", [ANN, NOBODY], ids=["ann", "anonymous"])
def test_who_may_subscribe(who: Who, for_client: bool, for_anonymous: bool, insecure: bool) -> None:
    channels = rules(
        client={"insecure": insecure},
        allow_subscribe_for_client=for_client,
        allow_subscribe_for_anonymous=for_anonymous,
    )
    expected = insecure or (for_client and (who is ANN or for_anonymous))
    assert channels.may_subscribe("news", channels.options("news"), who) is expected


@pytest.mark.parametrize("who", [ANN, NOBODY], ids=["ann", "anonymous"])
@pytest.mark.parametrize("channel", ["$news", "$chat:news", "$dialog#ann", "$#ann"])
def test_a_private_channel_needs_a_token_whatever_else_is_allowed(channel: str, who: Who) -> None:
    everything: dict[str, Any] = {
        "allow_subscribe_for_client": True,
        "allow_subscribe_for_anonymous": True,
        "allow_user_limited_channels": True,
    }
    channels = rules(**everything, namespaces={"chat": everything})
    assert not channels.may_subscribe(channel, channels.options(channel), who)
    channels = rules(client={"insecure": True}, namespaces={"chat": {}})
    assert channels.may_subscribe(channel, channels.options(channel), who)


@pytest.mark.parametrize(
    ("channel", "allowed"),
    [
        ("#ann", True),
        ("dialog#ann", True),
        ("dialog#bob,ann", True),
        ("dialog#ann,", True),
        ("dialog#bob", False),
        ("dialog#ann2", False),
        ("dialog#an", False),
        ("dialog# ann", False),
        ("dialog#bob#ann", False),
        ("ann#", False),
        ("#", False),
        ("dialog#,", False),
    ],
)
def test_a_user_limited_channel_is_open_to_those_it_names(channel: str, allowed: bool) -> None:
    channels = rules(allow_user_limited_channels=True, allow_subscribe_for_client=True)
    assert channels.may_subscribe(channel, channels.options(channel), ANN) is allowed


@pytest.mark.parametrize("channel", ["#", "room#", "room#,", "room#ann,", "room#,ann", "room#ann"])
def test_nobody_is_not_the_empty_user_of_a_user_limited_channel(channel: str) -> None:
    channels = rules(
        allow_user_limited_channels=True,
        allow_subscribe_for_client=True,
        allow_subscribe_for_anonymous=True,
    )
    assert not channels.may_subscribe(channel, channels.options(channel), NOBODY)


def test_without_the_option_a_hash_means_nothing() -> None:
    channels = rules(allow_subscribe_for_client=True)
    assert channels.may_subscribe("dialog#bob", channels.options("dialog#bob"), ANN)


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("channel", ["#ann", "chat:#ann"])
def test_a_personal_channel_is_its_users_whatever_the_options_say(channel: str, limited: bool) -> None:
    """A namespace that lets everybody in for its news must not open everybody's mail with it."""
    whom = ("client", "subscriber", "anonymous")
    wide: dict[str, Any] = {
        f"allow_{access}_for_{each}": True for access in get_args(Access) for each in whom
    }
    wide |= {"allow_subscribe_for_client": True, "allow_subscribe_for_anonymous": True}
    channels = rules(**wide, allow_user_limited_channels=limited, namespaces={"chat": wide})
    options = channels.options(channel)
    for stranger in ("bob", "an", "ann2", ""):
        assert not channels.may_subscribe(channel, options, Who(stranger))
        for access in get_args(Access):
            assert not channels.may(access, channel, options, Who(stranger, subscribed=True))
    assert channels.may_subscribe(channel, options, ANN)
    assert channels.may("publish", channel, options, ANN)


@pytest.mark.parametrize(
    ("channel", "owner"),
    [("#ann", "ann"), ("chat:#ann", "ann"), ("$#ann", "ann"), ("#a,b", "a,b"), ("#a:b", "a:b"), ("#", ""),
     ("news", None), ("dialog#ann", None), ("chat:dialog#ann", None), ("chat:x:#ann", None)],
)  # fmt: skip
def test_whose_personal_channel_a_name_is(channel: str, owner: str | None) -> None:
    assert personal_owner(channel) == owner


# ---------------------------------------------------------------------------- publish, presence, history
@pytest.mark.parametrize("access", get_args(Access))
@pytest.mark.parametrize("insecure", [False, True])
@pytest.mark.parametrize("subscribed", [False, True], ids=["outside", "subscribed"])
@pytest.mark.parametrize("user", ["ann", ""], ids=["ann", "anonymous"])
def test_who_may_publish_see_presence_and_read_history(
    access: Access, insecure: bool, subscribed: bool, user: str
) -> None:
    for for_client, for_subscriber, for_anonymous in itertools.product([False, True], repeat=3):
        wanted: dict[str, Any] = {
            f"allow_{access}_for_client": for_client,
            f"allow_{access}_for_subscriber": for_subscriber,
            f"allow_{access}_for_anonymous": for_anonymous,
        }
        channels = rules(client={"insecure": insecure}, **wanted)
        expected = insecure or (
            (for_client or (for_subscriber and subscribed)) and (bool(user) or for_anonymous)
        )
        options = channels.options("news")
        assert channels.may(access, "news", options, Who(user, subscribed)) is expected, wanted


@pytest.mark.parametrize("access", get_args(Access))
def test_one_permission_gives_no_other(access: Access) -> None:
    wanted: dict[str, Any] = {f"allow_{access}_for_client": True}
    channels = rules(**wanted)
    options = channels.options("news")
    allowed = {other for other in get_args(Access) if channels.may(other, "news", options, ANN)}
    assert allowed == {access}
    assert not channels.may_subscribe("news", options, ANN)


@pytest.mark.parametrize(
    ("size", "ttl", "expected"), [(0, 0, False), (1, 0, False), (0, 1, False), (1, 1, True)]
)
def test_history_needs_a_size_and_a_time(size: int, ttl: int, expected: bool) -> None:
    assert has_history(ChannelOptions(history_size=size, history_ttl=ttl)) is expected
