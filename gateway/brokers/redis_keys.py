"""The public key contract: names, payloads and scripts that nodes and publishers of any language share.

docs/redis.md describes it for those who publish; the Lua files say what each key holds.

What arrives on `<prefix>:broadcast:<channel>` is any JSON value, which is the data of a publication; or a
frame of our own, which begins with `!`, as no JSON does:

    !p:<offset>:<epoch>:<publication object>    a publication; offset 0 and no epoch without history
    !j<client info>  !l<client info>            a join, a leave
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import ClassVar, Final

import msgspec

from gateway.brokers.base import HistoryFilter, PublishOptions, PublishResult
from gateway.brokers.redis_connection import pack
from gateway.protocol import ClientInfo, Publication, raw

Word = str | bytes | int

NULL: Final = raw(None)


class Script:
    """One Lua file, in `lua` of a package, and the digest under which Redis remembers it.

    Attributes:
        all: the scripts of every room that is imported; each server gets them before it is used.
    """

    all: ClassVar[list[Script]] = []

    def __init__(self, name: str, package: str = "gateway.brokers") -> None:
        self.source = files(package).joinpath("lua", name).read_text(encoding="utf-8")
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()
        self.all.append(self)


PUBLISH: Final = Script("publish.lua")
HISTORY: Final = Script("history.lua")
PRESENCE: Final = Script("presence.lua")
INBOX: Final = Script("inbox.lua")


@dataclass(slots=True)
class Request:
    """One command. `repeatable`: it may be sent again after a lost connection, because twice does no harm."""

    words: tuple[Word, ...]
    repeatable: bool = False
    script: Script | None = None

    def packed(self) -> bytes:
        if self.script is None:
            return pack(self.words)
        return pack(("EVALSHA", self.script.sha, *self.words))

    def with_source(self) -> bytes:
        """For a server that forgot the script."""
        source = self.script.source if self.script else ""
        return pack(("EVAL", source, *self.words))


class Keys:
    """Names under one prefix. `sharded`: a Redis Cluster, where messages stay on their channel's shard."""

    def __init__(self, prefix: str, sharded: bool = False) -> None:
        self.prefix = prefix
        self.sharded = sharded
        self.publish_verb = "SPUBLISH" if sharded else "PUBLISH"

    def broadcast(self, channel: str) -> str:
        """The pub/sub channel of publications, joins and leaves of `channel`."""
        return (
            f"{self.prefix}:broadcast:{{{channel}}}" if self.sharded else f"{self.prefix}:broadcast:{channel}"
        )

    def names(self, channel: str) -> tuple[tuple[bytes, bytes], ...]:
        """What a node listens to for `channel`: verbs and names. In a cluster, for a plain PUBLISH, too."""
        name = self.broadcast(channel).encode()
        if not self.sharded:
            return ((b"SUBSCRIBE", name),)
        return ((b"SSUBSCRIBE", name), (b"SUBSCRIBE", f"{self.prefix}:broadcast:{channel}".encode()))

    def control(self, node: str = "") -> str:
        """The pub/sub channel of messages to all nodes, or to one."""
        return f"{self.prefix}:control:{node}" if node else f"{self.prefix}:control"

    def canary(self, node: str) -> str:
        return f"{self.prefix}:canary:{node}"

    def meta(self, channel: str) -> str:
        return f"{self.prefix}:meta:{{{channel}}}"

    def stream(self, channel: str) -> str:
        return f"{self.prefix}:stream:{{{channel}}}"

    def result(self, channel: str, key: str) -> str:
        return f"{self.prefix}:result:{{{channel}}}:{key}"

    def presence(self, channel: str) -> tuple[str, str, str]:
        prefix = self.prefix
        return (
            f"{prefix}:presence:{{{channel}}}",
            f"{prefix}:presence_expiry:{{{channel}}}",
            f"{prefix}:presence_users:{{{channel}}}",
        )

    # ------------------------------------------------------------------ requests
    def publish(self, channel: str, publication: Publication, options: PublishOptions) -> Request:
        """A plain PUBLISH where nothing has to be remembered, else the script."""
        keeps = options.history_size > 0 and options.history_ttl > 0
        if not keeps and not options.idempotency_key and not options.version:
            payload = encode_unpositioned(publication)
            return Request((self.publish_verb, self.broadcast(channel), payload))
        keys: tuple[Word, ...] = (2, self.meta(channel), self.stream(channel))
        if options.idempotency_key:
            keys = (3, keys[1], keys[2], self.result(channel, options.idempotency_key))
        words = (
            *keys,
            self.broadcast(channel),
            encode_publication(publication),
            options.history_size if keeps else 0,
            milliseconds(options.history_ttl) if keeps else 0,
            milliseconds(options.meta_ttl),
            options.version,
            options.version_epoch,
            self.publish_verb,
        )
        return Request(words, bool(options.idempotency_key), PUBLISH)

    def history(self, channel: str, query: HistoryFilter, meta_ttl: float) -> Request:
        since = "" if query.since is None else str(query.since.offset)
        words: tuple[Word, ...] = (
            2,
            self.meta(channel),
            self.stream(channel),
            milliseconds(meta_ttl),
            query.limit,
            since,
            int(query.reverse),
        )
        return Request(words, True, HISTORY)


def publish_result(reply: list[object] | int) -> PublishResult:
    """What the script, or a plain PUBLISH, answered."""
    if isinstance(reply, int):
        return PublishResult()
    offset, epoch, suppressed = reply
    assert isinstance(offset, int)  # noqa: S101
    assert isinstance(epoch, bytes)  # noqa: S101
    return PublishResult(offset, epoch.decode(), suppressed == 1)


def milliseconds(seconds: float) -> int:
    """Redis counts whole milliseconds, and takes 0 for «now»."""
    return max(1, round(seconds * 1000))


# ---------------------------------------------------------------------------- payloads
_encode: Final = msgspec.json.Encoder().encode
_decode_publication: Final = msgspec.json.Decoder(Publication).decode
_decode_data: Final = msgspec.json.Decoder(msgspec.Raw).decode
decode_info: Final = msgspec.json.Decoder(ClientInfo).decode


def encode_publication(publication: Publication) -> bytes:
    """The publication object; its offset is not part of it."""
    if publication.offset:
        publication = Publication(publication.data, publication.info, 0, publication.tags)
    return _encode(publication)


def encode_unpositioned(publication: Publication) -> bytes:
    """Plain data where there is nothing but data: what anybody would publish."""
    if publication.info is None and publication.tags is None:
        return bytes(publication.data)
    return b"!p:0::" + encode_publication(publication)


def encode_info(kind: bytes, info: ClientInfo) -> bytes:
    """A join (`!j`) or a leave (`!l`)."""
    return kind + _encode(info)


def decode_data(payload: bytes) -> Publication:
    """Plain data. Raises ValueError where it is no JSON."""
    return Publication(_decode_data(_one_line(payload)))


def decode_publication(body: bytes, offset: int) -> Publication:
    """A publication object. Raises ValueError where it is none."""
    publication = _decode_publication(_one_line(body))
    return Publication(publication.data, publication.info, offset, publication.tags)


def _one_line(text: bytes) -> bytes:
    """`text` fit for a text frame of the wire: UTF-8, and no newline, which would end the object there."""
    if not text.isascii():
        text.decode()
    if b"\n" in text or b"\r" in text:
        return msgspec.json.format(text, indent=-1)
    return text


# ---------------------------------------------------------------------------- several servers
@lru_cache(maxsize=50_000)
def shard_of(channel: str, count: int) -> int:
    """Which of `count` servers has the channel: the one whose hash with it is highest (rendezvous hashing).

    Adding a server at the end moves only the channels that it takes over.
    """
    return max(range(count), key=lambda index: _weight(index, channel))


def _weight(index: int, channel: str) -> bytes:
    return hashlib.md5(f"{index}:{channel}".encode(), usedforsecurity=False).digest()
