"""Rows of `[channels]` and its namespaces: what a channel can do and who may do it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from gateway.config.types import (
    Count,
    Duration,
    Flag,
    Positive,
    PositiveDuration,
    PositiveSize,
    Regex,
    Rows,
    Text,
    Texts,
    choice,
    tables,
)
from gateway.config.units import DAY, KB, SECOND


class ChannelOptions(Rows):
    """What a channel can do and who may do it. Everything is off until you turn it on."""

    presence: Flag = False
    """Keep a list of who is in the channel. Costs one Redis write per client per `presence_interval`."""
    join_leave: Flag = False
    """Tell subscribers who comes and goes. Quadratic in big channels: for rooms, not for broadcasts."""
    join_leave_grace: Duration = 0.0
    """Whoever loses the connection and is back in the channel within this time has neither left nor joined,
    for those who hear of joins and leaves. 0s: every reconnect is a leave and a join."""
    force_push_join_leave: Flag = False
    """Send join and leave messages to every subscriber, also without being asked."""
    history_size: Count = 0
    """Messages kept per channel; with `history_ttl` it bounds what a phone can miss and still get."""
    history_ttl: Duration = 0.0
    """How long they are kept. At least as long as a phone may be away and miss nothing."""
    force_recovery: Flag = False
    """Reconnecting clients get what they missed, also without asking. Needs history."""
    force_positioning: Flag = False
    """Detect a lost message on a live connection, also without being asked. Needs history."""
    recovery_mode: Annotated[Literal["stream", "cache"], *choice("stream", "cache")] = "stream"
    """`stream`: every missed message in order. `cache`: only the latest one, for state such as a price."""
    auto_cache_recover: Flag = False
    """With `cache`: a fresh subscriber gets the latest message too."""
    allow_subscribe_for_client: Flag = False
    """Signed-in clients may subscribe."""
    allow_subscribe_for_anonymous: Flag = False
    """With the option above: anonymous clients may, too."""
    allow_publish_for_client: Flag = False
    """Signed-in clients may publish without your backend seeing it first."""
    allow_publish_for_subscriber: Flag = False
    """Clients subscribed to the channel may publish."""
    allow_publish_for_anonymous: Flag = False
    """The two options above hold for anonymous clients, too."""
    allow_presence_for_client: Flag = False
    """Signed-in clients may ask who is in the channel."""
    allow_presence_for_subscriber: Flag = False
    """Clients subscribed to the channel may ask."""
    allow_presence_for_anonymous: Flag = False
    """The two options above hold for anonymous clients, too."""
    allow_history_for_client: Flag = False
    """Signed-in clients may read the history."""
    allow_history_for_subscriber: Flag = False
    """Clients subscribed to the channel may read it."""
    allow_history_for_anonymous: Flag = False
    """The two options above hold for anonymous clients, too."""
    unsubscribe_events: Flag = False
    """Tell your code when a user has left the channel, on all devices. One Redis write per subscription."""
    subscribe_proxy: Text = ""
    """The one of `backend.proxies` that says who may subscribe. It goes before the options above."""
    publish_proxy: Text = ""
    """The one that says who may publish, and what."""
    sub_refresh_proxy: Text = ""
    """The one that is asked when a subscription's `expire_at` has come."""
    allow_user_limited_channels: Flag = False
    """Allow channels that name their users: `chat#alice,bob` is open to alice and bob."""
    channel_regex: Regex = ""
    """Only names matching this are accepted. Also what permits names outside ASCII."""
    content_check: Annotated[
        Literal["off", "text", "media", "all"], *choice("off", "text", "media", "all")
    ] = "off"
    """Show what clients publish to WeChat's content checks first: texts to `msg_sec_check`, uploaded pictures
    and recordings to `media_check_async`, or both. See the section `safety`."""
    content_check_fields: Texts = ()
    """Which fields of a publication are text: `["text", "author.name"]`. Empty: every string in it."""
    delta_publish: Flag = False
    """Send only the difference to the previous message. Not available yet."""
    allowed_delta_types: Texts = ()
    """Kinds of difference clients may ask for. Not available yet."""


class Channels(ChannelOptions):
    """Options of channels without a namespace; each `[channels.namespaces.NAME]` takes the same options."""

    namespaces: Annotated[
        Mapping[str, ChannelOptions], tables(ChannelOptions, "[channels.namespaces.NAME]", "object")
    ] = {}
    """A channel `chat:42` has the options of namespace `chat`. An unknown namespace is refused."""
    max_name_length: Positive = 255
    """Longest channel name, in characters."""
    max_publication_size: PositiveSize = 256 * KB
    """Bytes of `data` that one publication may have. WeChat names no limit for a socket, but phones get slow
    beyond what it advises for `setData`, 256 KB: send a link to a file instead."""
    presence_interval: PositiveDuration = 27 * SECOND
    """How often a node renews its clients in the presence lists."""
    presence_ttl: PositiveDuration = 60 * SECOND
    """When a client whose node died disappears. Longer than `presence_interval`; twice is good."""
    position_check_interval: PositiveDuration = 40 * SECOND
    """How often a positioned subscription is compared with the stream. Shorter finds a loss sooner."""
    recovery_limit: Positive = 300
    """Messages one recovery may bring; a client that missed more is told to load its state anew."""
    history_meta_ttl: PositiveDuration = 30 * DAY
    """How long a channel's position outlives its messages. Longer than any phone stays away."""
