"""Subscribe messages: one message of WeChat's own to a user who allowed it, wherever the user is.

https://developers.weixin.qq.com/miniprogram/dev/OpenApiDoc/mp-message-management/subscribe-message/sendMessage.html

The call is not idempotent, and WeChat has no way to ask whether a message was sent. So an answer that was
lost is told as what it is: uncertain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from gateway.wechat.api import WeChatError
from gateway.wechat.open_api import OpenAPI

PATH: Final = "/cgi-bin/message/subscribe/send"

TemplateId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
FieldName = Annotated[str, Meta(pattern=r"^[a-z_]{1,32}[0-9]{1,4}$")]
"""`thing1`, `amount2`: the kind and the number of a template's field."""
FieldValue = Annotated[str, Meta(min_length=1, max_length=200)]
"""Far above what WeChat takes (20 characters of a `thing`): it is WeChat that knows each kind's limit."""

What = Literal["sent", "refused", "again", "uncertain"]

Reason = Literal[
    "rejected",
    "bad_data",
    "bad_template",
    "bad_user",
    "bad_page",
    "quota",
    "busy",
    "unreachable",
    "no_answer",
    "setup",
    "other",
]
"""Why a message was not sent, or may not have been."""


class Content(Struct, frozen=True, kw_only=True):
    """What a message says; `miniprogram_state`: which version of the mini-program it opens."""

    template_id: TemplateId
    data: Annotated[dict[FieldName, FieldValue], Meta(min_length=1, max_length=20)]
    page: Annotated[str, Meta(max_length=1024)] = ""
    miniprogram_state: Literal["developer", "trial", "formal"] = "formal"
    lang: Literal["zh_CN", "en_US", "zh_HK", "zh_TW"] = "zh_CN"


class SubscribeMessage(Content, frozen=True, kw_only=True):
    """One message to one user."""

    touser: str

    def body(self) -> dict[str, Any]:
        """As WeChat takes it."""
        body: dict[str, Any] = {
            "touser": self.touser,
            "template_id": self.template_id,
            "data": {name: {"value": value} for name, value in self.data.items()},
            "miniprogram_state": self.miniprogram_state,
            "lang": self.lang,
        }
        return {**body, "page": self.page} if self.page else body


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of it. `again`: it was surely not sent and may be tried once more."""

    what: What
    reason: Reason | Literal["-"] = "-"


_REFUSALS: Final[dict[int, Reason]] = {
    43101: "rejected",  # the user refused, or has used up what was allowed
    47003: "bad_data",
    40037: "bad_template",
    40003: "bad_user",
    41030: "bad_page",
    45009: "quota",
}


async def send(api: OpenAPI, message: SubscribeMessage) -> Sent:
    """Ask WeChat once. Never raises `WeChatError`."""
    try:
        reply = await api.post(PATH, message.body())
    except WeChatError as error:
        return _failure(error)
    if not reply.errcode:
        return Sent("sent")
    if reply.errcode == -1:
        return Sent("again", "busy")
    reason = _REFUSALS.get(reply.errcode)
    if reason is not None:
        return Sent("refused", reason)
    refused = api.refusal(PATH, reply)  # which tells the operator
    return Sent("refused", "setup" if refused.outcome == "setup" else "other")


def _failure(error: WeChatError) -> Sent:
    if error.errcode is not None:  # no access token: the message itself was not asked for
        passing = error.outcome in ("busy", "quota")
        return Sent("again", "busy") if passing else Sent("refused", "setup")
    if not error.code_spent or not error.call.endswith("send"):
        return Sent("again", "unreachable")
    return Sent("uncertain", "no_answer")
