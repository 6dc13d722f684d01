"""Channels: their names, the options of their namespaces, and who may do what in them.

news               no namespace: the options of [channels] themselves
chat:room42        namespace `chat`: the part before the first colon
$secret            private: only with a subscription token
dialog#ann,bob     user-limited: open to the users named after the `#`, where the namespace allows it
#ann, vip:#ann     the personal channel of a user, the gateway subscribes its connections itself
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from gateway.config import ChannelOptions, Settings
from gateway.errors import ERROR_BAD_REQUEST, ERROR_UNKNOWN_CHANNEL, ClientError

Access = Literal["publish", "presence", "history"]


@dataclass(frozen=True, slots=True)
class Who:
    """What the rules need to know of a client. An empty user is an anonymous one."""

    user: str
    subscribed: bool = False


class Channels:
    """The rules of all channels of one configuration; pure."""

    def __init__(self, settings: Settings) -> None:
        self.load(settings)

    def load(self, settings: Settings) -> None:
        """Take over the rules of another configuration; what is subscribed stays subscribed."""
        self._default: ChannelOptions = settings.channels
        self._namespaces = dict(settings.channels.namespaces)
        self._max_length = settings.channels.max_name_length
        self._insecure = settings.client.insecure
        self._personal_namespace = settings.client.personal_channel_namespace
        self._patterns = {
            options.channel_regex: re.compile(options.channel_regex)
            for options in (self._default, *self._namespaces.values())
            if options.channel_regex
        }

    def options(self, channel: str) -> ChannelOptions:
        """The options of a channel whose name was not checked yet.

        Raises:
            ClientError: 107 for a name that cannot be, 102 for a namespace that is not configured.
        """
        name = channel[1:] if channel.startswith("$") else channel
        namespace, colon, rest = name.partition(":")
        options = self._namespaces.get(namespace) if colon else self._default
        self._check_name(channel, rest if colon else name, options)
        if options is None:
            raise ClientError(ERROR_UNKNOWN_CHANNEL, f"namespace {namespace!r} is not configured")
        return options

    def _check_name(self, channel: str, rest: str, options: ChannelOptions | None) -> None:
        if not channel or len(channel.encode(errors="surrogatepass")) > self._max_length:
            raise ClientError(ERROR_BAD_REQUEST, f"a channel name has 1 to {self._max_length} bytes")
        if not channel.isprintable():
            raise ClientError(ERROR_BAD_REQUEST, "a channel name has no control characters")
        pattern = self._patterns.get(options.channel_regex) if options else None
        if pattern is None:
            if not channel.isascii():
                raise ClientError(
                    ERROR_BAD_REQUEST, "a channel name is ASCII unless channel_regex says otherwise"
                )
        elif not pattern.search(rest):
            raise ClientError(
                ERROR_BAD_REQUEST, "the channel name does not match the namespace's channel_regex"
            )

    def personal(self, user: str) -> str:
        """The personal channel of `user`."""
        channel = f"#{user}"
        return f"{self._personal_namespace}:{channel}" if self._personal_namespace else channel

    def named(self, channel: str, options: ChannelOptions, who: Who) -> bool | None:
        """Whether a client may subscribe, as far as the channel's name decides that; None: not at all."""
        if channel.startswith("$"):
            return self._insecure
        owner = personal_owner(channel)
        if owner is not None:
            return self._insecure or (bool(who.user) and who.user == owner)
        if options.allow_user_limited_channels and "#" in channel:
            # An anonymous client has no name: it is not the user "" of `room#`.
            return bool(who.user) and who.user in channel.partition("#")[2].split(",")
        return None

    def may_subscribe(self, channel: str, options: ChannelOptions, who: Who) -> bool:
        """Whether a client may subscribe without a subscription token."""
        named = self.named(channel, options, who)
        if named is not None:
            return named
        if options.allow_subscribe_for_client and (who.user or options.allow_subscribe_for_anonymous):
            return True
        return self._insecure

    def may(self, access: Access, channel: str, options: ChannelOptions, who: Who) -> bool:
        """Whether a client may publish into the channel, see who is in it, or read its history."""
        if self._insecure:
            return True
        owner = personal_owner(channel)
        if owner is not None and who.user != owner:
            return False
        if not who.user and not getattr(options, f"allow_{access}_for_anonymous"):
            return False
        if getattr(options, f"allow_{access}_for_subscriber") and who.subscribed:
            return True
        return bool(getattr(options, f"allow_{access}_for_client"))


def personal_owner(channel: str) -> str | None:
    """Whose personal channel it is, in whatever namespace; None: it is nobody's."""
    name = channel.removeprefix("$")
    rest = name.partition(":")[2] if ":" in name.partition("#")[0] else name
    return rest[1:] if rest.startswith("#") else None


def has_history(options: ChannelOptions) -> bool:
    """Whether channels with these options keep a stream, so that their publications have positions."""
    return options.history_size > 0 and options.history_ttl > 0
