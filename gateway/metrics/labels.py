"""The closed sets of label values, and the buckets of histograms."""

from __future__ import annotations

from typing import Final

from gateway import errors as _errors
from gateway.errors import DISCONNECTS, ERRORS, Unsubscribe

OTHER: Final = "other"

COMMANDS: Final = (
    "connect", "subscribe", "unsubscribe", "publish", "presence", "presence_stats", "history", "rpc",
    "send", "refresh", "sub_refresh", "ping", "pong", OTHER,
)  # fmt: skip
API_METHODS: Final = (
    "publish", "broadcast", "subscribe", "unsubscribe", "disconnect", "refresh", "presence", "presence_stats",
    "history", "history_remove", "channels", "info", "stats", "batch", "broadcast_all", "connections",
    "block_user", "unblock_user", "blocked_users", "revoke_token", "invalidate_user_tokens", "audit",
    "delivery", "deliveries", "notify", "notify_stats", "grants", "online", "online_snapshot", OTHER,
)  # fmt: skip
API_OUTCOMES: Final = (
    "ok",
    "error",
    "undecodable",
    "too_large",
    "unauthorized",
    "not_found",
    "cancelled",
    OTHER,
)
CONNECT_WAYS: Final = ("code", "session", "jwt", "anonymous", "hook", OTHER)
"""How a client introduced itself: a wx.login code, our session token, a JWT, not at all, or to the hook."""
CONNECT_OUTCOMES: Final = ("ok", "error", "disconnect", "gone", OTHER)
"""`gone`: the client left while it was being signed in."""
SDKS: Final = ("js", "python", "go", "dart", "java", "swift", "wx", OTHER)
HANDSHAKES: Final = (
    "accepted",
    "not_websocket",
    "bad_request",
    "wrong_path",
    "forbidden_origin",
    "full",
    "draining",
    OTHER,
)
SIGN_INS: Final = ("ok", "invalid_code", "blocked", "busy", "setup", "limited", "timeout", "cancelled", OTHER)
CALLBACKS: Final = ("accepted", "duplicate", "refused", "busy", OTHER)
"""`refused`: not from WeChat; `busy`: too many are being handled, WeChat comes again."""
UPSTREAMS: Final = ("wechat", "redis", "backend", "storage", "jwks", OTHER)
UPSTREAM_OUTCOMES: Final = (
    "ok", "refused", "bad_code", "quota", "busy", "blocked", "setup", "unknown", "timeout", "connect",
    "transport", "too_large", "http_status", "garbage", "breaker_open", "cancelled", OTHER,
)  # fmt: skip
"""`bad_code` to `unknown` are WeChat's own refusals; `refused` is any other upstream's. `busy`
of a backend: too many requests waited for it."""
BROKER_OPERATIONS: Final = ("connect", "subscribe", "command", OTHER)
UPLOADS: Final = (
    "ok", "gone", "error", "103", "107", "111", "420", "421", "423", "424", OTHER,
)  # fmt: skip
"""What an upload came to: the code that its sender was told, or that the sender was gone."""
DOWNLOADS: Final = ("sent", "accel", "redirect", "not_modified", "thumbnail", OTHER)
"""Who sent the bytes: this process, nginx, the store, nobody."""
INBOX: Final = (
    "published", "repeated", "refused_user", "refused_total", "delivered", "redelivered", "acknowledged",
    OTHER,
)  # fmt: skip
"""`delivered`: written to a socket for the first time; `redelivered`: to a client that returned."""
USER_EVENTS: Final = ("online", "background", "disconnect", "unsubscribe", OTHER)
USER_EVENT_OUTCOMES: Final = ("delivered", "refused", "expired", "collapsed", OTHER)
"""`refused`: it comes again; `expired`: given up; `collapsed`: left out because too many waited."""
CONTENT_KINDS: Final = ("text", "media", OTHER)
CONTENT_OUTCOMES: Final = (
    "pass", "review", "risky", "unavailable", "timeout", "quota", "crowded", "openid", "too_long", OTHER,
)  # fmt: skip
"""`unavailable` to `openid`: could not be checked; then the configuration decides."""
NOTIFICATIONS: Final = (
    "notified", "delivered", "acknowledged", "sent", "uncertain", "late", "again", "lost",
    "no_grant", "banned", "expired", "rejected", "bad_data", "bad_template", "bad_user", "bad_page", "quota",
    "busy", "unreachable", "setup", OTHER,
)  # fmt: skip
"""From `no_grant` on: why no subscribe message was sent."""
RECOVERIES: Final = ("recovered", "too_old", "other_epoch", OTHER)
ERROR_CODES: Final = (*(str(code) for code in ERRORS), OTHER)
CLOSE_CODES: Final = ("1000", "1001", "1005", "1006")
"""What a client's own close looks like; the others are ours."""
DISCONNECT_CODES: Final = (*CLOSE_CODES, *(str(code) for code in DISCONNECTS), OTHER)
UNSUBSCRIBE_CODES: Final = (
    "0",
    *(str(value.code) for value in vars(_errors).values() if isinstance(value, Unsubscribe)),
    OTHER,
)

FAST_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""Seconds: what happens inside one machine."""
SLOW_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds: what waits for somebody else's server."""
