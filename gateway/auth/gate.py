"""Who is turned away although what they bring is good: blocked users, tokens that were revoked."""

from __future__ import annotations

from typing import Final, Protocol


class Gate(Protocol):
    """Asked at every sign-in, so it looks into this process's memory only."""

    def admit(self, user: str, token_id: str = "", token_hash: str = "", issued_at: float = 0.0) -> None:
        """Let in, or raise the ClientError that the client is to be told.

        The last three are of a JWT (see `client.Facts`); empty for a session, which is revoked where it is
        stored.
        """


class OpenGate:
    """Nobody is turned away."""

    def admit(self, user: str, token_id: str = "", token_hash: str = "", issued_at: float = 0.0) -> None:
        """See `Gate`."""


OPEN: Final = OpenGate()
