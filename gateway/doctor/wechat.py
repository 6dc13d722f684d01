"""WeChat's side: does it know the app, and does it talk to this machine?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx

from gateway.config.wechat import WeChatApp
from gateway.doctor.report import Finding, fail, ok, warn
from gateway.doctor.target import Target

STABLE_TOKEN: Final = "/cgi-bin/stable_token"  # noqa: S105 (a path)
"""https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken
Asking does not end the token that another program holds, unlike /cgi-bin/token."""

_CONSOLE: Final = "mp.weixin.qq.com → 开发管理 → 开发设置"


def apps(target: Target) -> Iterator[Finding]:
    """Each AppID and secret is accepted, from this address."""
    if not target.settings.wechat.apps:
        yield warn(
            "WeChat", "no app is configured", "give --config of the gateway, with [[wechat.apps]] in it"
        )
    for app in target.settings.wechat.apps:
        yield _ask(app, target.options.timeout)


def _ask(app: WeChatApp, seconds: float) -> Finding:
    check = f"WeChat {app.appid}"
    body = {
        "grant_type": "client_credential",
        "appid": app.appid,
        "secret": app.secret.get_secret_value(),
        "force_refresh": False,
    }
    try:
        with httpx.Client(timeout=seconds) as client:
            answer = client.post(f"{app.api_base.rstrip('/')}{STABLE_TOKEN}", json=body)
    except httpx.HTTPError as error:
        # Not the error's text: it may hold the address with a proxy's password.
        what = type(error).__name__
        return fail(
            check, f"not reachable: {what}", f"let this machine connect to {app.api_base} (DNS, firewall)"
        )
    if answer.status_code == 404:
        return warn(check, "nothing at stable_token", f"is wechat.apps[].api_base right? {app.api_base}")
    try:
        value = answer.json()
    except ValueError:
        return fail(
            check,
            f"HTTP {answer.status_code}, no JSON",
            "something between answers for WeChat: a proxy, a portal",
        )
    return _judge(check, value if isinstance(value, dict) else {})


def _judge(check: str, value: dict[str, Any]) -> Finding:
    if value.get("access_token"):
        return ok(check, "AppID, secret and this machine's address are accepted")
    code, said = int(value.get("errcode") or 0), str(value.get("errmsg") or "")
    known = _REFUSALS.get(code)
    if known is not None:
        return known(check, said)
    return fail(
        check, f"refused: errcode {code} {said}", "see the list of errcodes at developers.weixin.qq.com"
    )


def _not_allowed(check: str, said: str) -> Finding:
    found = re.search(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}", said)
    address = found[0] if found else "the address of this machine"
    return fail(check, f"{address} is not on the IP list (40164)", f"add {address}: {_CONSOLE} → IP白名单")


def _simply(level: Callable[[str, str, str], Finding], found: str, fix: str) -> Callable[[str, str], Finding]:
    return lambda check, said: level(check, found, fix)


_REFUSALS: Final[dict[int, Callable[[str, str], Finding]]] = {
    -1: _simply(warn, "WeChat is busy (-1)", "run the doctor again in a minute"),
    40001: _simply(fail, "the secret is wrong (40001)", f"copy it again: {_CONSOLE} → AppSecret"),
    40013: _simply(fail, "the AppID is wrong (40013)", f"copy it again: {_CONSOLE} → AppID"),
    40125: _simply(fail, "the secret is wrong (40125)", f"copy or reset it: {_CONSOLE} → AppSecret"),
    40164: _not_allowed,
    45009: _simply(
        warn, "the daily quota is used up (45009)", "another program asks too often; wait until midnight"
    ),
    45011: _simply(warn, "asked too often (45011)", "run the doctor again in a minute"),
    50004: _simply(fail, "the app is frozen or being moved (50004)", "see the notices at mp.weixin.qq.com"),
}
