"""The other nodes: what nodes tell each other, who they are, and questions to all of them.

Messages go through the broker's control channel; a node hears its own, too, so that one piece of code acts on
them. A node that was not heard of for `NODE_TTL` seconds is gone. Messages that cannot be read are dropped:
a newer version may speak of things that this one does not know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog
from msgspec import Raw, Struct

from gateway.brokers.base import Broker
from gateway.errors import UpstreamError
from gateway.protocol import EMPTY_RAW

HELLO_INTERVAL: Final = 3.0
"""Seconds between two signs of life of a node."""
NODE_TTL: Final = 3 * HELLO_INTERVAL + 1.0
"""Seconds of silence after which a node is gone."""
SURVEY_DEADLINE: Final = 2.0
"""Seconds that nodes have to answer a question."""

log = structlog.get_logger()


class Target(Struct, frozen=True, omit_defaults=True):
    """Which connections: all of `user`, narrowed to one `client` or one `session` where given."""

    user: str = ""
    client: str = ""
    session: str = ""


class NodeInfo(Struct, frozen=True):
    """`uptime` in seconds."""

    uid: str
    name: str
    version: str
    num_clients: int
    num_users: int
    num_subs: int
    num_channels: int
    uptime: int


class Message(Struct, frozen=True, tag_field="op", omit_defaults=True):
    """One message between nodes."""


class SubscribeUser(Message, frozen=True, tag="subscribe"):
    target: Target
    channel: str
    info: Raw = EMPTY_RAW
    data: Raw = EMPTY_RAW
    expire_at: int = 0
    recover_offset: int = -1
    recover_epoch: str = ""
    override: dict[str, bool] = {}


class UnsubscribeUser(Message, frozen=True, tag="unsubscribe"):
    target: Target
    channel: str
    code: int
    reason: str


class DisconnectUser(Message, frozen=True, tag="disconnect"):
    target: Target
    code: int
    reason: str
    whitelist: list[str] = []


class RefreshUser(Message, frozen=True, tag="refresh"):
    target: Target
    expired: bool = False
    expire_at: int = 0
    info: Raw = EMPTY_RAW


class MessageAll(Message, frozen=True, tag="message_all"):
    data: Raw
    appid: str = ""


class Hello(Message, frozen=True, tag="hello"):
    info: NodeInfo


class Bye(Message, frozen=True, tag="bye"):
    uid: str


class Ask(Message, frozen=True, tag="ask"):
    """A question to all nodes; the answer goes to the node that asked."""

    id: int
    node: str
    question: str
    argument: str = ""


class Answer(Message, frozen=True, tag="answer"):
    id: int
    node: str
    content: Raw


class Notice(Message, frozen=True, tag="notice"):
    """For a room above the node: whoever has registered `topic` (see `Node.notices`) reads the content."""

    topic: str
    content: Raw = EMPTY_RAW


AnyMessage = (
    SubscribeUser
    | UnsubscribeUser
    | DisconnectUser
    | RefreshUser
    | MessageAll
    | Hello
    | Bye
    | Ask
    | Answer
    | Notice
)
_decoder: Final = msgspec.json.Decoder(AnyMessage)
_encode: Final = msgspec.json.Encoder().encode


class Cluster:
    """The nodes that share a broker.

    Arguments:
        describe: this node, for the others.
        answer: this node's answer (JSON) to a question and its argument.
        act: what to do with every message that is not about the cluster itself.
    """

    def __init__(
        self,
        node: str,
        broker: Broker,
        clock: Callable[[], float],
        *,
        describe: Callable[[], NodeInfo],
        answer: Callable[[str, str], Awaitable[bytes]],
        act: Callable[[Message], None],
    ) -> None:
        self._node = node
        self._broker = broker
        self._clock = clock
        self._describe = describe
        self._answer = answer
        self._act = act
        self._nodes: dict[str, tuple[NodeInfo, float]] = {}
        self._open: dict[int, dict[str, bytes]] = {}
        self._wake: dict[int, asyncio.Event] = {}
        self._ids = 0
        self._replies: set[asyncio.Task[None]] = set()

    async def tell(self, message: Message, node: str = "") -> None:
        """Send to all nodes, or to one. Raises UpstreamError where the broker cannot."""
        await self._broker.publish_control(_encode(message), node)

    async def hello(self) -> None:
        """A sign of life, to be given every `HELLO_INTERVAL`."""
        await self.tell(Hello(self._describe()))

    async def bye(self) -> None:
        """This node leaves."""
        await self.tell(Bye(self._node))

    def nodes(self) -> list[NodeInfo]:
        """Who is alive: this node as it is now, the others as they last said."""
        now = self._clock()
        self._nodes = {uid: seen for uid, seen in self._nodes.items() if now - seen[1] < NODE_TTL}
        others = [info for uid, (info, _) in sorted(self._nodes.items()) if uid != self._node]
        return [self._describe(), *others]

    async def survey(self, question: str, argument: str = "") -> tuple[dict[str, bytes], list[str]]:
        """Ask every node; the answers by node, and the nodes that did not answer in time."""
        expected = {info.uid for info in self.nodes()}
        if expected == {self._node}:
            return {self._node: await self._answer(question, argument)}, []
        self._ids += 1
        ask, answers, wake = self._ids, dict[str, bytes](), asyncio.Event()
        self._open[ask], self._wake[ask] = answers, wake
        try:
            await self.tell(Ask(ask, self._node, question, argument))
            async with asyncio.timeout(SURVEY_DEADLINE):
                while not expected <= answers.keys():
                    wake.clear()
                    await wake.wait()
        except TimeoutError:
            log.warning("nodes did not answer", question=question, nodes=sorted(expected - answers.keys()))
        finally:
            del self._open[ask], self._wake[ask]
        return answers, sorted(expected - answers.keys())

    def on_control(self, content: bytes) -> None:
        """See `BrokerEvents`."""
        try:
            message = _decoder.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            log.warning("a message of another node could not be read", problem=str(error))
            return
        match message:
            case Hello(info):
                new = info.uid not in self._nodes and info.uid != self._node
                self._nodes[info.uid] = (info, self._clock())
                if new:  # it does not know this one either, until it says something
                    self._spawn(self._introduce(info.uid))
            case Bye(uid):
                self._nodes.pop(uid, None)
            case Ask():
                self._spawn(self._reply(message))
            case Answer(ask, node, answer):
                if ask in self._open:
                    self._open[ask][node] = bytes(answer)
                    self._wake[ask].set()
            case _:
                self._act(message)

    async def _introduce(self, node: str) -> None:
        try:
            await self.tell(Hello(self._describe()), node)
        except UpstreamError as error:  # the next sign of life comes anyway
            log.debug("a new node was not greeted", problem=error.detail)

    async def _reply(self, ask: Ask) -> None:
        answer = await self._answer(ask.question, ask.argument)
        try:
            await self.tell(Answer(ask.id, self._node, Raw(answer)), ask.node)
        except UpstreamError as error:  # the asker will name us among those that did not answer
            log.warning("a question of another node stays unanswered", problem=error.detail)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._replies.add(task)
        task.add_done_callback(self._replies.discard)
