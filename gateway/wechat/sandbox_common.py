"""What the parts of the stand-in WeChat share: its users, its refusals, and how it takes bad input."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import Field

ERRMSG = {
    -1: "system error",
    40002: "invalid grant_type",
    40013: "invalid appid",
    40029: "invalid code",
    40125: "invalid appsecret",
    40163: "code been used",
    40226: "high risk user, login has been blocked",
    41002: "appid missing",
    41004: "appsecret missing",
    41008: "missing code",
    40001: "invalid credential, access_token is invalid or not latest",
    40003: "invalid openid",
    41001: "access_token missing",
    42001: "access_token expired",
    40037: "invalid template_id",
    41030: "invalid page",
    43101: "user refuse to accept the msg",
    47003: "argument invalid!",
    45009: "reach max api daily quota limit",
    40129: "invalid scene",
    44002: "empty post data",
    47001: "data format error",
    61010: "user access log timeout",
    87008: "invalid sig_method",
    87009: "invalid signature",
    45011: "api minute-quota reach limit, must slower, retry next minute",
}
User = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Id = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
MaybeId = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_-]*$")]


@dataclass(slots=True)
class Person:
    """One user of one app, as WeChat knows them."""

    openid: str
    unionid: str
    session_key: str = field(repr=False)
    key_since: float


def refusal(errcode: int, detail: str = "") -> dict[str, Any]:
    """A refusal as WeChat words it; the rid is what its staff ask for."""
    rid = "-".join(secrets.token_hex(4) for _ in range(3))
    return {"errcode": errcode, "errmsg": f"{ERRMSG[errcode]}{detail and ' '}{detail}, rid: {rid}"}


def derived_id(*parts: str) -> str:
    """28 characters that start with "o", like an openid or a unionid of WeChat's."""
    digest = hashlib.sha256("\0".join(("wx-gateway sandbox", *parts)).encode()).digest()
    return "o" + base64.urlsafe_b64encode(digest).decode()[:27]


def new_session_key() -> str:
    return base64.b64encode(secrets.token_bytes(16)).decode()


def text_answer(body: Mapping[str, Any]) -> Response:
    return Response(json.dumps(body, ensure_ascii=False, separators=(",", ":")), media_type="text/plain")


class CheckedRoute(APIRoute):
    """Refuses bad input without quoting it: FastAPI's own answer fails on a NaN or a lone surrogate."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's hook around a route."""
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as exc:
                problems = [f"{error['loc'][-1]}: {error['msg']}" for error in exc.errors()]
                raise HTTPException(422, "; ".join(problems)) from None

        return checked
