"""What a client asks for with a file, as form fields or as metadata of an upload in pieces; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, get_args

from gateway.config.units import parse_duration
from gateway.errors import ERROR_BAD_REQUEST, ClientError
from gateway.storage.base import Visibility

_VISIBILITIES: Final[tuple[Visibility, ...]] = get_args(Visibility)
_KNOWN: Final[dict[str, Visibility]] = {one: one for one in _VISIBILITIES}


@dataclass(frozen=True, slots=True)
class FileOptions:
    """See the fields of `POST /files`. `expires_in`: seconds, 0 is never."""

    channel: str
    visibility: Visibility
    expires_in: float


def parse_options(fields: Mapping[str, str], default: Visibility, longest: float) -> FileOptions:
    """The options among `fields`; other fields are the team's own and are left alone.

    Arguments:
        default: the visibility where none is asked for.
        longest: seconds that files are kept at most, 0 is for ever.

    Raises:
        ClientError: 107 with what is wrong.
    """
    channel = fields.get("channel", "").strip()
    asked = fields.get("visibility", "").strip()
    visibility = _KNOWN.get(asked) if asked else default
    if visibility is None:
        raise ClientError(ERROR_BAD_REQUEST, f"visibility is one of {', '.join(_VISIBILITIES)}")
    if visibility == "channel" and not channel:
        if asked:
            raise ClientError(ERROR_BAD_REQUEST, "visibility channel needs a channel")
        visibility = "owner"
    wanted = parse_expiry(fields.get("expires_in", ""))
    return FileOptions(channel, visibility, min(wanted, longest) if wanted and longest else wanted or longest)


def parse_expiry(value: object) -> float:
    """Seconds of `expires_in`: a number, or a text such as "7d"; 0 where there is none."""
    if value is None or value == "":
        return 0.0
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise ClientError(ERROR_BAD_REQUEST, f"expires_in: {error}") from None
    if seconds < 1:
        raise ClientError(ERROR_BAD_REQUEST, "expires_in: at least one second")
    return seconds
