"""One mini-program as its API knows it, and how a call of that API fails."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.errors import Error, UpstreamError
from gateway.wechat.errcodes import Outcome


@dataclass(frozen=True, slots=True)
class App:
    """One mini-program and where its API lives."""

    appid: str
    secret: str = field(repr=False)
    api_base: str = "https://api.weixin.qq.com"


class WeChatError(UpstreamError):
    """A call that WeChat refused or could not answer; holds no secret, code or session key.

    `code_spent` is False only if the code surely did not reach WeChat and may be used again.
    """

    def __init__(
        self,
        error: Error,
        outcome: Outcome,
        *,
        errcode: int | None = None,
        rid: str | None = None,
        code_spent: bool = True,
        call: str = "jscode2session",
    ) -> None:
        detail = f"{outcome} errcode={errcode} rid={rid}" if errcode is not None else outcome
        super().__init__(error, f"{call}: {detail}")
        self.outcome: Outcome = outcome
        self.call = call
        self.errcode = errcode
        self.rid = rid
        self.code_spent = code_spent
