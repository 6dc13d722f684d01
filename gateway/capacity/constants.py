"""The measured constants: a TOML file that ships with the gateway, or one of the reader's own."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from gateway.errors import GatewayException

SHIPPED: Final = Path(__file__).parent / "constants.toml"


class ConstantsError(GatewayException):
    """The file cannot be used; the text says why."""


class OfGateway(Struct, frozen=True, forbid_unknown_fields=True):
    message_us: float
    message_us_per_kb: float
    burst_us: float
    received_us: float
    publish_us: float
    rpc_us: float
    connect_us: float
    ping_us: float
    connection_kb: float
    subscription_kb: float
    process_mb: float
    ping_s: float


class OfNginx(Struct, frozen=True, forbid_unknown_fields=True):
    message_us: float
    handshake_us: float
    connection_kb: float
    box_connections: int


class OfRedis(Struct, frozen=True, forbid_unknown_fields=True):
    publish_us: float
    node_us: float
    connect_us: float
    channel_kb: float


class OfNetwork(Struct, frozen=True, forbid_unknown_fields=True):
    frame_bytes: int
    connect_bytes: int
    socket_kb: float


class OfPlan(Struct, frozen=True, forbid_unknown_fields=True):
    busy: float
    busy_back: float


class Constants(Struct, frozen=True, forbid_unknown_fields=True):
    """µs of CPU, KB and MB of memory, seconds; what each is stands beside it in the file."""

    date: str
    machine: str
    gateway: OfGateway
    nginx: OfNginx
    redis: OfRedis
    network: OfNetwork
    plan: OfPlan


def load(path: Path = SHIPPED) -> Constants:
    """The constants of a file."""
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Constants, strict=False)
    except OSError as error:
        raise ConstantsError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConstantsError(f"{path}: {error}") from None
