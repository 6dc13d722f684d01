"""Errors over HTTP: always JSON `{"code", "message"}`, in the language that the client prefers.

The code is one of the registry of reply errors, so that a client has one table for the socket and for HTTP;
this module has the HTTP status and the Chinese text of each. English is what the code that raises says.
"""

from __future__ import annotations

import re
from typing import Final

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from gateway.errors import ERROR_BAD_REQUEST, ERROR_INTERNAL, Error
from gateway.http.asgi import Scope, header

STATUS_OF_ERROR: Final = {
    100: 503, 101: 401, 102: 404, 103: 403, 104: 404, 106: 429, 109: 401, 111: 429,
    401: 403, 404: 413, 405: 409, 407: 403, 408: 429,
    420: 413, 421: 415, 422: 404, 423: 429, 424: 403, 425: 409, 426: 460, 427: 423, 428: 416,
    440: 403, 441: 403, 450: 500,
}  # fmt: skip
"""Where neither 503 (temporary) nor 400 says it."""

CHINESE: Final = {
    100: "服务器内部错误", 101: "请先登录", 102: "频道不存在", 103: "没有权限", 104: "没有这个接口",
    105: "已经订阅", 106: "超出限制", 107: "请求有误", 108: "该功能未开启", 109: "登录已失效，请重新登录",
    110: "已过期", 111: "请求过于频繁，请稍后再试", 112: "无法从该位置恢复", 113: "并发分页冲突，请重试",
    400: "微信服务繁忙，请稍后重新登录", 401: "微信拒绝了该用户", 402: "登录暂不可用，已通知运维人员",
    403: "未知的 appid", 404: "内容过大", 405: "session_key 已失效，请用新的 wx.login code 重新登录",
    406: "手机号授权码已使用或已过期，请用户重新授权",
    407: "该用户已被封禁", 408: "该地址的连接过多，请稍后再试",
    420: "文件过大", 421: "不支持该文件类型", 422: "文件不存在", 423: "上传额度已用完", 424: "文件未通过检查",
    425: "请从另一个位置继续上传", 426: "校验和不一致", 427: "该文件正在上传中", 428: "请求的范围无效",
    440: "内容违规", 441: "内容需要人工审核", 442: "内容暂时无法检查，请稍后再试",
    450: "业务后端出错",
}  # fmt: skip
"""Every code of `gateway.errors.ERRORS`."""

MESSAGE_LIMIT: Final = 300
_PREFERENCE: Final = re.compile(
    r"\s*([a-zA-Z]{1,8}|\*)(?:-[-a-zA-Z0-9]*)?\s*(?:;\s*q=([01](?:\.[0-9]{0,3})?)\s*)?"
)


class Problem(BaseModel):
    """What every error looks like."""

    code: int = Field(description="one of the registry of errors, the same as on the socket", examples=[109])
    message: str = Field(description="for people, by Accept-Language; not for programs")


def speaks_chinese(accept_language: str) -> bool:
    """Whether Chinese is preferred to English; nothing said is English."""
    best, chinese = 0.0, False
    for part in accept_language[:1024].split(","):
        match = _PREFERENCE.fullmatch(part)
        language = match[1].lower() if match else ""
        if match is None or language not in ("zh", "en", "*"):
            continue
        weight = float(match[2] or 1)
        if weight > best:
            best, chinese = weight, language == "zh"
    return chinese


def problem(
    scope: Scope, error: Error, message: str = "", *, status: int = 0, where: str = "", headers: object = None
) -> JSONResponse:
    """The answer to one request.

    Arguments:
        message: in English, more exact than that of the registry.
        status: where it is not that of the error.
        where: the field that is wrong. It may come from the client, letter by letter.
    """
    language = "zh-CN" if speaks_chinese(header(scope, b"accept-language").decode("latin-1")) else "en"
    if language == "en":
        text = f"{where}: {message or error.message}" if where else message or error.message
    else:
        # A code that a handler of the team's made up has no translation.
        text = CHINESE.get(error.code, message or error.message)
        text = f"{text}：{where}" if where else text
    # Half of a surrogate pair has no UTF-8, and a client can send one in a name.
    text = text.encode("utf-8", "replace").decode()[:MESSAGE_LIMIT]
    answer = JSONResponse({"code": error.code, "message": text}, status or status_of(error))
    answer.headers.update({"Content-Language": language, "Cache-Control": "no-store"})
    answer.headers.update(dict(headers) if isinstance(headers, dict) else {})
    return answer


def status_of(error: Error) -> int:
    """The HTTP status of a reply error."""
    return STATUS_OF_ERROR.get(error.code, 503 if error.temporary else 400)


def error_of(status: int, known: dict[int, Error]) -> Error:
    """The reply error of an HTTP status that a framework raised."""
    return known.get(status, ERROR_INTERNAL if status >= 500 else ERROR_BAD_REQUEST)
