"""The two code registries of the wire, and the exception families: whose fault it was.

Reply errors
    1-99 belong to the SDKs, 100-399 to the Centrifuge protocol, 400-1999 to this gateway and the
    team's backend. An SDK retries a failed *connect* or *subscribe* when `temporary` is set or the code
    is 109; anything else is final.

Disconnects
    The range tells the client what to do, because a mini-program sees nothing else:
    3000-3499 and 4000-4499 reconnect; 3500-3999 and 4500-4999 do not. Codes below 3000 are those of
    RFC 6455.

Exceptions
    GatewayException
    ├── ClientError     the client's fault: carries the reply error or the disconnect it has earned
    ├── GatewayError    ours: a bug or an impossible state; clients see error 100
    └── UpstreamError   Redis, WeChat or the team's backend: carries the reply error for the client
        └── HandlerError   the team's Python code raised, and the log has it already
"""

from __future__ import annotations

from dataclasses import dataclass

CLOSE_REASON_LIMIT = 123
"""Bytes of UTF-8 that fit into a close frame beside its code (RFC 6455 §5.5)."""


@dataclass(frozen=True, slots=True)
class Error:
    """A reply error: what one command of a client is answered with."""

    code: int
    message: str
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Why a connection ends: sent as a disconnect push first, then as the close frame."""

    code: int
    reason: str

    @property
    def reconnect(self) -> bool:
        """Whether the client comes back by itself: decided by the range alone."""
        return not (3500 <= self.code < 4000 or 4500 <= self.code < 5000)


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Why one subscription ends: below 2500 for good, from 2500 on the client subscribes again."""

    code: int
    reason: str


def cut_reason(reason: str, limit: int = CLOSE_REASON_LIMIT) -> str:
    """`reason` cut to `limit` bytes of UTF-8, never inside a character (Chinese text has three each)."""
    encoded = reason.encode()
    return reason if len(encoded) <= limit else encoded[:limit].decode(errors="ignore")


# Reply errors of the Centrifuge protocol.
ERROR_INTERNAL = Error(100, "internal server error", temporary=True)
ERROR_UNAUTHORIZED = Error(101, "unauthorized")
ERROR_UNKNOWN_CHANNEL = Error(102, "unknown channel")
ERROR_PERMISSION_DENIED = Error(103, "permission denied")
ERROR_METHOD_NOT_FOUND = Error(104, "method not found")
ERROR_ALREADY_SUBSCRIBED = Error(105, "already subscribed")
ERROR_LIMIT_EXCEEDED = Error(106, "limit exceeded")
ERROR_BAD_REQUEST = Error(107, "bad request")
ERROR_NOT_AVAILABLE = Error(108, "not available")
ERROR_TOKEN_EXPIRED = Error(109, "token expired")
ERROR_EXPIRED = Error(110, "expired")
ERROR_TOO_MANY_REQUESTS = Error(111, "too many requests", temporary=True)
ERROR_UNRECOVERABLE_POSITION = Error(112, "unrecoverable position")
ERROR_CONFLICT = Error(113, "concurrent pagination", temporary=True)

# Ours.
ERROR_WECHAT_BUSY = Error(400, "WeChat is busy, sign in again later", temporary=True)
ERROR_WECHAT_USER_BLOCKED = Error(401, "WeChat refuses this user")
ERROR_WECHAT_SETUP = Error(402, "sign-in is not available: the operator has been told", temporary=True)
ERROR_UNKNOWN_APPID = Error(403, "unknown appid")
ERROR_MESSAGE_TOO_LARGE = Error(404, "message too large")
ERROR_SESSION_KEY_STALE = Error(405, "session_key_stale: sign in again with a new wx.login code")
ERROR_PHONE_CODE = Error(406, "this phone code was used before or has expired: ask the user again")
ERROR_USER_BLOCKED = Error(407, "this user is blocked")
ERROR_ADDRESS_LIMIT = Error(408, "too many connections from this address", temporary=True)

# Ours, of files.
ERROR_FILE_TOO_LARGE = Error(420, "file too large")
ERROR_FILE_TYPE = Error(421, "this type of file is not accepted")
ERROR_FILE_NOT_FOUND = Error(422, "no such file")
ERROR_FILE_QUOTA = Error(423, "upload quota used up")
ERROR_FILE_REFUSED = Error(424, "file refused")
ERROR_UPLOAD_OFFSET = Error(425, "the upload goes on at another offset")
ERROR_UPLOAD_CHECKSUM = Error(426, "checksum mismatch", temporary=True)
ERROR_UPLOAD_BUSY = Error(427, "this upload is being written to", temporary=True)
ERROR_FILE_RANGE = Error(428, "range not satisfiable")

# Ours, of content safety.
ERROR_CONTENT_RISKY = Error(440, "this content is not allowed")
ERROR_CONTENT_REVIEW = Error(441, "this content needs a look first")
ERROR_CONTENT_UNCHECKED = Error(442, "content cannot be checked now, try again later", temporary=True)

# Ours, of the team's backend.
ERROR_BACKEND_FAILED = Error(450, "the backend failed")

ERRORS: dict[int, Error] = {
    value.code: value for name, value in list(globals().items()) if name.startswith("ERROR_")
}

# Disconnects of RFC 6455 that we cause ourselves.
DISCONNECT_PROTOCOL_ERROR = Disconnect(1002, "websocket protocol error")
DISCONNECT_INVALID_UTF8 = Disconnect(1007, "invalid utf-8")
DISCONNECT_MESSAGE_TOO_BIG = Disconnect(1009, "message too big")

# Disconnects of the Centrifuge protocol.
DISCONNECT_NORMAL = Disconnect(3000, "connection closed")
DISCONNECT_SHUTDOWN = Disconnect(3001, "shutdown")
DISCONNECT_INTERNAL = Disconnect(3004, "internal server error")
DISCONNECT_EXPIRED = Disconnect(3005, "connection expired")
DISCONNECT_SUBSCRIPTION_EXPIRED = Disconnect(3006, "subscription expired")
DISCONNECT_SLOW = Disconnect(3008, "slow")
DISCONNECT_WRITE_ERROR = Disconnect(3009, "write error")
DISCONNECT_INSUFFICIENT_STATE = Disconnect(3010, "insufficient state")
DISCONNECT_FORCE_RECONNECT = Disconnect(3011, "force reconnect")
DISCONNECT_NO_PONG = Disconnect(3012, "no pong")
DISCONNECT_TOO_MANY_REQUESTS = Disconnect(3013, "too many requests")
DISCONNECT_STATE_INVALIDATED = Disconnect(3014, "state invalidated")
DISCONNECT_INVALID_TOKEN = Disconnect(3500, "invalid token")
DISCONNECT_BAD_REQUEST = Disconnect(3501, "bad request")
DISCONNECT_STALE = Disconnect(3502, "stale")
DISCONNECT_FORCED = Disconnect(3503, "force disconnect")
DISCONNECT_CONNECTION_LIMIT = Disconnect(3504, "connection limit")
DISCONNECT_CHANNEL_LIMIT = Disconnect(3505, "channel limit")
DISCONNECT_INAPPROPRIATE_PROTOCOL = Disconnect(3506, "inappropriate protocol")
DISCONNECT_PERMISSION_DENIED = Disconnect(3507, "permission denied")
DISCONNECT_NOT_AVAILABLE = Disconnect(3508, "not available")
DISCONNECT_TOO_MANY_ERRORS = Disconnect(3509, "too many errors")

# Ours.
DISCONNECT_REPLACED = Disconnect(4500, "replaced by a newer connection of this user")
DISCONNECT_SIGNED_OUT = Disconnect(4501, "signed out")
DISCONNECT_BLOCKED = Disconnect(4502, "blocked")

DISCONNECTS: dict[int, Disconnect] = {
    value.code: value for name, value in list(globals().items()) if name.startswith("DISCONNECT_")
}

UNSUBSCRIBE_SERVER = Unsubscribe(2000, "server unsubscribe")
UNSUBSCRIBE_INSUFFICIENT_STATE = Unsubscribe(2500, "insufficient state")
UNSUBSCRIBE_EXPIRED = Unsubscribe(2501, "subscription expired")
UNSUBSCRIBE_STATE_INVALIDATED = Unsubscribe(2502, "state invalidated")


class GatewayException(Exception):
    """Root of what this package raises on purpose."""


class ClientError(GatewayException):
    """The client's fault; `outcome` is what it gets: an error reply, or the end of its connection.

    The message never holds a token, code, secret or session key: it may be logged.
    """

    def __init__(self, outcome: Error | Disconnect, detail: str = "") -> None:
        super().__init__(detail or str(outcome))
        self.outcome = outcome
        self.detail = detail


class GatewayError(GatewayException):
    """Our own fault; the client sees error 100 and the log has the rest."""

    error = ERROR_INTERNAL


class UpstreamError(GatewayException):
    """Redis, WeChat or the team's backend failed; `error` is what the waiting client is told."""

    def __init__(self, error: Error = ERROR_INTERNAL, detail: str = "") -> None:
        super().__init__(detail or error.message)
        self.error = error
        self.detail = detail


class HandlerError(UpstreamError):
    """A handler of the team's raised what it should not have; the log has it already."""
