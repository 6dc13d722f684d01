"""Acknowledged delivery on one node: letters go into the inbox and onto the wire, and come again until
somebody acknowledges them.

A letter is a publication to a user's personal channel whose tag `ack` is its id. It has no offset and is not
part of the channel's history: the inbox is what brings it again, and recovery never brings it twice. A client
that returns gets what waits as ordinary publications, after its connect reply.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import structlog
from msgspec import Struct

from gateway.channels import Channels, personal_owner
from gateway.client import Client
from gateway.config.inbox import Inbox as InboxSettings
from gateway.errors import (
    ERROR_BAD_REQUEST,
    ERROR_LIMIT_EXCEEDED,
    ERROR_NOT_AVAILABLE,
    ERROR_TOO_MANY_REQUESTS,
    ClientError,
    UpstreamError,
)
from gateway.hub import Hub
from gateway.inbox.base import Entry, InboxStore, Kept
from gateway.inbox.records import TAG, Fallback, Record, Status, make_id, split_id, word_of_key
from gateway.inbox.tally import Tally
from gateway.metrics import Metrics
from gateway.protocol import Publication, encode_publication

PORTION: Final = 64 * 1024
"""Bytes that a client is sent again at a time; the next portion waits until it has read them."""
READERS: Final = 64
"""Inboxes that one node reads at a time."""
ROOM_INTERVAL: Final = 0.05
"""Seconds between two looks whether a client has read its portion."""
ROOM_PATIENCE: Final = 30.0
"""Seconds after which a client that does not read is left alone until its next return."""
EXCHANGE_INTERVAL: Final = 1.0
"""Seconds between two exchanges of sums between the nodes."""

log = structlog.get_logger()


class Delivery(Struct, frozen=True, omit_defaults=True):
    """One delivery as the API tells it. Times are seconds since 1970; left out: not yet."""

    id: str
    status: Status
    published_at: float = 0.0
    delivered_at: float = 0.0
    acknowledged_at: float = 0.0
    expires_at: float = 0.0
    fallback: str = ""
    reason: str = ""


class Observer(Protocol):
    """Who wants to know of deliveries that a subscribe message may follow."""

    def delivered(self, letters: Mapping[str, Record]) -> None:
        """They were written to a socket for the first time; records by id."""

    def acknowledged(self, letters: Mapping[str, Record]) -> None:
        """They were acknowledged; the records by id as they were before."""


class Inbox:
    """See the module.

    Arguments:
        hub: the clients of this node.
        spawn: starts a coroutine in the background and keeps hold of it.
        wall: unix seconds.
    """

    def __init__(
        self,
        settings: InboxSettings,
        rules: Channels,
        hub: Hub,
        store: InboxStore,
        tally: Tally,
        metrics: Metrics,
        *,
        personal: bool = True,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.observer: Observer | None = None
        self._settings = settings
        self._enabled = settings.enabled and personal
        self._rules = rules
        self._hub = hub
        self._tally = tally
        self._metrics = metrics
        self._spawn = spawn
        self._wall = wall
        self._written: dict[str, list[str]] = {}
        self._readers: dict[str, list[set[str]]] = {}
        self._slots = asyncio.Semaphore(READERS)
        self._lost = False
        self._timer: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------ life
    def start(self) -> None:
        """Begin what happens from time to time."""
        if self._enabled:
            self._timer = asyncio.create_task(self._exchange_forever(), name="inbox")

    async def close(self) -> None:
        """Tell the other nodes what this one has counted, and stop."""
        if self._timer is None:
            return
        self._timer.cancel()
        await asyncio.gather(self._timer, return_exceptions=True)
        try:
            await self._tally.exchange()
        except UpstreamError as error:
            log.info("the sums of the inboxes were not told", problem=error.detail)

    async def _exchange_forever(self) -> None:
        while True:
            try:
                await self._tally.exchange()
                self._metrics.inbox_bytes = self._tally.size
                if self._lost:
                    await self._make_up()
            except UpstreamError as error:
                log.debug("the sums of the inboxes were not exchanged", problem=error.detail)
            await asyncio.sleep(EXCHANGE_INTERVAL)

    # ------------------------------------------------------------------ publishing
    def owner(self, channel: str) -> str:
        """Whose personal channel it is. Raises ClientError where it is nobody's, or letters are off."""
        if not self._enabled:
            raise ClientError(ERROR_NOT_AVAILABLE, "acknowledged delivery is switched off")
        user = personal_owner(channel) or ""
        if not user or "," in user or channel != self._rules.personal(user):
            raise ClientError(ERROR_BAD_REQUEST, "ack is for a user's personal channel alone")
        return user

    async def publish(
        self,
        channel: str,
        publication: Publication,
        *,
        ttl: float = 0.0,
        key: str = "",
    ) -> str:
        """Keep and publish; the delivery's id.

        Arguments:
            ttl: seconds until it expires; 0: as configured, which is also the most.
            key: an idempotency key; the repeat of one that is known publishes nothing and has the same id.

        Raises:
            ClientError: 106 where the user's inbox is full, 111 where all together are; as `owner`.
            UpstreamError: the store could not; then it is unknown whether it took effect.
        """
        word = word_of_key(channel, key) if key else secrets.token_urlsafe(12)
        await self.post(channel, publication, word, ttl=ttl)
        return make_id(word, self.owner(channel))

    async def post(
        self, channel: str, publication: Publication, word: str, *, ttl: float, fallback: Fallback = "-"
    ) -> bool:
        """`publish` under a word of the caller's; False where it is known, so that nothing was published."""
        delivery = make_id(word, self.owner(channel))
        ttl = self.ttl(ttl)
        size = len(bytes(publication.data))
        if not self._tally.has_room(size):
            self._metrics.inbox("refused_total")
            raise ClientError(ERROR_TOO_MANY_REQUESTS, "too much waits in all inboxes: inbox.total_size")
        tags = {**(publication.tags or {}), TAG: delivery}
        letter = Publication(publication.data, publication.info, 0, tags)
        kept = await self.store.publish(channel, Entry(word, letter, ttl, fallback))
        self._count(kept)
        if kept == "kept":
            self._tally.change(round((self._wall() + ttl) * 1000), size)
        return kept == "kept"

    def ttl(self, wanted: float) -> float:
        """Seconds that a letter waits. Raises ClientError for more than is configured."""
        most = self._settings.ttl
        if not 0 <= wanted <= most:
            raise ClientError(ERROR_BAD_REQUEST, f"ack_ttl is at most {most:g} s (inbox.ttl)")
        return wanted or most

    def _count(self, kept: Kept) -> None:
        settings = self._settings
        if kept in ("too_many", "too_large"):
            self._metrics.inbox("refused_user")
            full = (
                f"{settings.user_messages} messages" if kept == "too_many" else f"{settings.user_size} bytes"
            )
            raise ClientError(ERROR_LIMIT_EXCEEDED, f"{full} of this user wait for an acknowledgement")
        self._metrics.inbox("published" if kept == "kept" else "repeated")

    # ------------------------------------------------------------------ acknowledging
    async def acknowledge(self, user: str, ids: Iterable[str]) -> list[str]:
        """Those of `ids` that `user` has acknowledged, now or earlier; never somebody else's."""
        words = {word: each for each in ids for word, owner in (split_id(each),) if word and owner == user}
        if not words or not user:
            return []
        channel = self._rules.personal(user)
        known = await self.store.acknowledge(channel, list(words))
        for reading in self._readers.get(channel, ()):
            reading.update(known)
        fresh = {words[word]: record for word, record in known.items() if record.state == "p"}
        for record in fresh.values():
            self._tally.change(record.ends, -record.size)
            self._metrics.inbox("acknowledged")
        self._tell(fresh, lambda observer, letters: observer.acknowledged(letters))
        return [words[word] for word in known]

    def _tell(
        self, letters: Mapping[str, Record], tell: Callable[[Observer, Mapping[str, Record]], None]
    ) -> None:
        concerned = {each: record for each, record in letters.items() if record.fallback != "-"}
        if concerned and self.observer is not None:
            tell(self.observer, concerned)

    # ------------------------------------------------------------------ what was written
    def on_publication(self, channel: str, tags: Mapping[str, str]) -> None:
        """A publication with tags went to the sockets of `channel`; see `node.delivery.Letters`."""
        word, user = split_id(tags.get(TAG, ""))
        if not word or channel != self._rules.personal(user):
            return
        for reading in self._readers.get(channel, ()):
            reading.add(word)
        self._note(channel, [word])

    def _note(self, channel: str, words: Sequence[str]) -> None:
        if not self._written:
            self._spawn(self._deliver())
        self._written.setdefault(channel, []).extend(words)

    async def _deliver(self) -> None:
        """All that was written in this turn of the loop, in one pipeline."""
        written, self._written = self._written, {}
        marks = [self._mark(channel, words) for channel, words in written.items()]
        for outcome in await asyncio.gather(*marks, return_exceptions=True):
            if isinstance(outcome, UpstreamError):
                log.info("deliveries were not noted", problem=outcome.detail)
            elif isinstance(outcome, BaseException):
                raise outcome

    async def _mark(self, channel: str, words: Sequence[str]) -> None:
        first = await self.store.deliver(channel, words)
        user = personal_owner(channel) or ""
        for _ in first:
            self._metrics.inbox("delivered")
        self._tell(
            {make_id(word, user): record for word, record in first.items()},
            lambda observer, letters: observer.delivered(letters),
        )

    # ------------------------------------------------------------------ coming again
    def welcome(self, client: Client) -> None:
        """`client` has its connect reply: it gets what waits."""
        if self._enabled and client.user and self.store.may_hold(self._rules.personal(client.user)):
            self._spawn(self._redeliver(client, fresh=False))

    def on_loss(self) -> None:
        """Publications may have been missed: soon, whoever is here gets what nobody was sent."""
        self._lost = True

    async def _make_up(self) -> None:
        self._lost = False
        hub, holds = self._hub, self.store.may_hold
        clients = [
            client
            for user in list(hub.users)
            if holds(self._rules.personal(user))
            for client in hub.of_user(user)
        ]
        for start in range(0, len(clients), READERS):
            some = clients[start : start + READERS]
            outcomes = await asyncio.gather(
                *(self._redeliver(each, fresh=True) for each in some), return_exceptions=True
            )
            failed = [each for each in outcomes if isinstance(each, BaseException)]
            if failed:
                log.info("inboxes were not read", inboxes=len(failed), problem=str(failed[0]))

    async def _redeliver(self, client: Client, *, fresh: bool) -> None:
        """Portion by portion, each read when it can be sent: what was acknowledged meanwhile is not sent.

        `fresh`: only what was never written to a socket.
        """
        channel = self._rules.personal(client.user)
        after, seen = 0, set[str]()
        readers = self._readers.setdefault(channel, [])
        readers.append(seen)
        try:
            while self._listens(client, channel):
                async with self._slots:
                    portion = await self.store.read(channel, after, PORTION)
                if not portion or not self._listens(client, channel):
                    return
                after = portion[-1].seq
                sent = [each for each in portion if each.word not in seen and not (fresh and each.delivered)]
                for letter in sent:
                    client.sink.send(encode_publication(channel, letter.publication))
                    self._metrics.inbox("redelivered")
                if sent:
                    self._note(channel, [letter.word for letter in sent])
                await self._room(client)
        finally:
            readers.remove(seen)
            if not readers:
                self._readers.pop(channel, None)

    @staticmethod
    def _listens(client: Client, channel: str) -> bool:
        return client.is_open and channel in client.subscriptions

    async def _room(self, client: Client) -> None:
        """Until the client has read what it was sent; after a while it counts as gone."""
        await asyncio.sleep(0)
        patience = self._wall() + ROOM_PATIENCE
        while client.is_open and client.sink.is_full:
            if self._wall() > patience:
                raise ClientError(ERROR_LIMIT_EXCEEDED, "a client does not read its letters")
            await asyncio.sleep(ROOM_INTERVAL)

    # ------------------------------------------------------------------ what became of it
    async def delivery(self, delivery_id: str) -> Delivery:
        """What became of one delivery."""
        word, user = split_id(delivery_id)
        if not word:
            raise ClientError(ERROR_BAD_REQUEST, "id is not the id of a delivery")
        records = await self.store.status(self._rules.personal(user), [word])
        record = records.get(word)
        return _delivery(delivery_id, record) if record else Delivery(delivery_id, "unknown")

    async def deliveries(self, user: str) -> list[Delivery]:
        """What waits for a user and what was settled lately, oldest first."""
        records = await self.store.status(self._rules.personal(user))
        ordered = sorted(records.items(), key=lambda item: item[1].seq)
        return [_delivery(make_id(word, user), record) for word, record in ordered]


FALLBACKS: Final[Mapping[str, str]] = {
    "-": "",
    "w": "waiting",
    "s": "sending",
    "f": "sent",
    "u": "uncertain",
    "r": "refused",
    "a": "not needed",
}


def _delivery(delivery_id: str, record: Record) -> Delivery:
    refused = record.fallback in ("r", "u")
    return Delivery(
        id=delivery_id,
        status=record.status,
        published_at=record.published / 1000,
        delivered_at=record.delivered / 1000,
        acknowledged_at=record.settled / 1000 if record.state == "a" else 0.0,
        expires_at=record.ends / 1000,
        fallback=FALLBACKS[record.fallback],
        reason=record.reason if refused else "",
    )
