"""What a load test does: rows that are read from TOML, the shipped scenarios and a team's own alike."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, ValidationError

from gateway.config.types import Count, Duration, Flag, Name, Positive, PositiveSize, Rows, Size, Text
from gateway.config.units import MINUTE, SECOND
from gateway.errors import GatewayException

FOLDER: Final = Path(__file__).parent / "scenarios"
MAX_CLIENTS: Final = 1_000_000
PLACES: Final = ("room", "client", "personal")
"""What may stand in braces in a channel's name."""


class ScenarioError(GatewayException):
    """A scenario that cannot run; the text has a line for each reason."""


def _share(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError("write a share from 0 to 1")
    return float(value)


def _rate(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1_000_000:
        raise ValueError("write a number above 0: how many in a second, all clients together")
    return float(value)


def _channel(value: object) -> str:
    text = value if isinstance(value, str) else ""
    try:
        text.format(**dict.fromkeys(PLACES, 0))
    except (KeyError, ValueError, IndexError):
        text = ""
    if not text:
        raise ValueError('write a channel such as "load-news", "load-room-{room}" or "{personal}"')
    return text


Share = Annotated[float, BeforeValidator(_share)]
Rate = Annotated[float, BeforeValidator(_rate)]
Channel = Annotated[str, BeforeValidator(_channel)]


class Clients(Rows):
    """The simulated phones."""

    count: Positive = 1000
    """Sockets that are held."""
    per_second: Rate = 500.0
    """How many connect in a second."""
    room_size: Positive = 50
    """Clients that share a `{room}`."""
    slow: Share = 0.0
    """Share of them that reads nothing, so that the server has to close them (3008)."""


class Subscription(Rows):
    """A channel that clients subscribe to."""

    channel: Channel
    """Its name; `{room}` and `{client}` are numbers."""
    share: Share = 1.0
    """Share of the clients that does."""


class Publishing(Rows):
    """Publications through the server API, on schedule, by turns over the channels of that name."""

    channel: Channel
    """Its name; `{personal}` is each user's own channel."""
    per_second: Rate
    """All channels together."""
    size: PositiveSize = 128
    """Bytes of `data`."""


class Calling(Rows):
    """RPC calls of the clients, by turns."""

    method: Name = "echo"
    per_second: Rate = 100.0
    size: PositiveSize = 64


class Filing(Rows):
    """Uploads (`POST /files`) by turns of the clients; each file is fetched again and deleted."""

    per_second: Rate = 5.0
    size: PositiveSize = 100 * 1024


class Churn(Rows):
    """Clients that go to the background and come back, as phones do all the time."""

    per_minute: Share = 0.2
    """Share of the clients that leaves in a minute."""
    away: Duration = 5 * SECOND
    """How long each stays away."""


class Storm(Rows):
    """All sockets drop at once and come back."""

    after: Duration = 5 * SECOND
    """When, from the moment that everybody is connected."""
    within: Duration = 1 * SECOND
    """The first attempts are spread over this time, as SDKs do; failed ones are repeated with backoff."""
    share: Share = 1.0
    rounds: Positive = 1
    """How often; each round begins when everybody is back."""


class Pass(Rows):
    """What must hold; what is left out is not looked at. Times are durations, the rest are counts."""

    p50: Duration | None = None
    p99: Duration | None = None
    max: Duration | None = None
    connect_p99: Duration | None = None
    rpc_p99: Duration | None = None
    back: Duration | None = None
    lost: Count | None = None
    duplicated: Count | None = None
    reordered: Count | None = None
    errors: Count | None = None
    wechat_calls: Count | None = None
    memory_growth: Size | None = None
    slow_closed_least: Count | None = None


class Scenario(Rows):
    """A load test.

    Attributes:
        passing: the table [pass] of the file.
    """

    name: Name
    about: Text = ""
    duration: Duration = 30 * SECOND
    """From the moment that everybody is connected."""
    settle: Duration = 5 * SECOND
    """How long messages and answers may still be on their way after the last was sent."""
    while_connecting: Flag = False
    """Publish and call while clients are still connecting, too."""
    clients: Clients = Clients()
    subscribe: tuple[Subscription, ...] = ()
    publish: tuple[Publishing, ...] = ()
    rpc: tuple[Calling, ...] = ()
    files: Filing | None = None
    churn: Churn | None = None
    storm: Storm | None = None
    passing: Annotated[Pass, Field(alias="pass")] = Pass()

    @property
    def rooms(self) -> int:
        return -(-self.clients.count // self.clients.room_size)

    def channels_of(self, client: int) -> list[str]:
        """What client number `client` subscribes to."""
        room = client // self.clients.room_size
        # Golden-ratio steps: every share is spread evenly over the clients, the same in each run.
        place = client * 0.6180339887498949 % 1.0
        return [
            each.channel.format(room=room, client=client, personal="")
            for each in self.subscribe
            if place < each.share
        ]

    def targets(self, publishing: Publishing, personal: list[str]) -> list[str]:
        """The channels that `publishing` goes round in."""
        name = publishing.channel
        if "{personal}" in name:
            return [name.format(personal=each, room="", client="") for each in personal]
        if "{client}" in name:
            return [name.format(client=number, room="") for number in range(self.clients.count)]
        if "{room}" in name:
            return [name.format(room=number) for number in range(self.rooms)]
        return [name]


def shipped() -> list[str]:
    """The names of the scenarios that come with the gateway."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def text_of(name: str) -> str:
    """A shipped scenario as TOML, with comments, to start one's own from."""
    path = FOLDER / f"{name}.toml"
    if name not in shipped():
        near = difflib.get_close_matches(name, shipped(), 1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise ScenarioError(
            f"no scenario {name!r}{hint} There are: {', '.join(shipped())}; or give a .toml file"
        )
    return path.read_text(encoding="utf-8")


def load(name: str) -> dict[str, Any]:
    """The raw values of a shipped scenario, or of the TOML file `name`."""
    try:
        text = Path(name).read_text(encoding="utf-8") if name.endswith(".toml") else text_of(name)
        return tomllib.loads(text)
    except OSError as error:
        raise ScenarioError(f"{name}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{name}: not TOML: {error}") from None


def check(values: dict[str, Any]) -> Scenario:
    """The scenario of raw values; ScenarioError has a line for everything that is wrong."""
    try:
        scenario = Scenario.model_validate(values)
    except ValidationError as error:
        lines = [_line(detail["loc"], detail["type"], detail.get("ctx", {})) for detail in error.errors()]
        raise ScenarioError("\n  ".join([f"{len(lines)} wrong in the scenario:", *lines])) from None
    problems = _problems(scenario)
    if problems:
        raise ScenarioError("\n  ".join([f"{len(problems)} wrong in the scenario:", *problems]))
    return scenario


def _line(place: tuple[int | str, ...], kind: str, context: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in place)
    if kind == "extra_forbidden":
        return f"{where}: unknown key; remove it"
    if kind == "missing":
        return f"{where}: is missing"
    return f"{where}: {context.get('error', 'is not of the right kind')}"


def _problems(scenario: Scenario) -> list[str]:
    problems = []
    if scenario.clients.count > MAX_CLIENTS:
        problems.append(f"clients.count: at most {MAX_CLIENTS:,}")
    for number, each in enumerate(scenario.subscribe):
        if "{personal}" in each.channel:
            problems.append(f"subscribe.{number}.channel: personal channels are subscribed to by the server")
    if scenario.duration > 24 * 60 * MINUTE:
        problems.append("duration: at most a day")
    return problems
