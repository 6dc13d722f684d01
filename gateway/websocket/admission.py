"""What the team's connect hook says, joined with what the gateway knows of the client; pure."""

from __future__ import annotations

import msgspec
from msgspec import Raw, structs

from gateway.auth.credentials import Credentials
from gateway.backend.base import Connected
from gateway.errors import ERROR_INTERNAL, UpstreamError
from gateway.protocol import raw


def admitted(who: Credentials, answer: Connected) -> Credentials:
    """`who` with what the answer adds.

    Raises UpstreamError where the answer names another user than the one who signed in: whoever is let in as
    somebody else than WeChat says gets that user's channels.
    """
    if who.user and answer.user not in ("", who.user):
        raise UpstreamError(ERROR_INTERNAL, "the connect hook named another user than the one who signed in")
    changes: dict[str, object] = {"user": who.user or answer.user, "subs": {**who.subs, **answer.subs}}
    if answer.expire_at:
        changes |= {"expire_at": answer.expire_at, "client_refresh": False}
    if answer.info:
        changes["conn_info"] = answer.info
    if answer.meta:
        changes["meta"] = answer.meta
    if answer.data:
        changes["data"] = _joined(who.data, answer.data)
    return structs.replace(who, **changes)


def _joined(ours: Raw, theirs: Raw) -> Raw:
    """One `data` for the reply. The sign-in's own keys (token, openid, unionid) are not the hook's to set;
    what is no object stands beside them as `data`."""
    if not ours:
        return theirs
    known: dict[str, Raw] = msgspec.json.decode(ours, type=dict[str, Raw])
    if not bytes(theirs).startswith(b"{"):
        return raw({"data": theirs, **known})
    return raw({**msgspec.json.decode(theirs, type=dict[str, Raw]), **known})
