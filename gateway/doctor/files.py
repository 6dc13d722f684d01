"""A file there and back, and WeChat's callback."""

from __future__ import annotations

import hashlib
import secrets
import struct
import zlib
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlencode

from gateway.doctor.report import Finding, fail, ok, warn
from gateway.doctor.target import Answer, Target, parse_json
from gateway.doctor.web import FILES, upload

CALLBACK: Final = "/wx/callback"
RANGE: Final = "bytes=0-7"
ECHO: Final = "4375120948345356249"


def picture() -> bytes:
    """The smallest PNG: a type that everybody allows."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    parts = part(b"IHDR", head) + part(b"IDAT", zlib.compress(b"\0\0")) + part(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def round_trip(target: Target) -> Iterator[Finding]:
    """Upload, download a part of it, and remove it."""
    check, content = "upload and download", picture()
    token = target.options.token
    if not token:
        yield warn(
            check, "not tried without a user", "give --token: that of a sign-in (POST /wx/login), no JWT"
        )
        return
    answer = upload(target, content, token, "doctor.png")
    if answer.status not in (200, 201):
        yield _not_taken(check, answer)
        return
    value = parse_json(answer.body)
    path = _path(value)
    if not path:
        yield fail(check, "the answer names no file", "is another server behind /files?")
        return
    headers = {"Authorization": f"Bearer {token}"}
    try:
        yield _judge_download(check, target.request("GET", path, {**headers, "Range": RANGE}), content)
    finally:
        target.request("DELETE", path.partition("?")[0], headers)


def _not_taken(check: str, answer: Answer) -> Finding:
    if answer.status == 404:
        return warn(
            check, "there is no /files here", "let nginx pass /files to the gateway, if phones are to upload"
        )
    if answer.status in (401, 403):
        return warn(check, f"the user was not accepted ({answer.status})", "give --token of a signed-in user")
    return fail(check, f"the upload was answered {answer.kind}", "see the gateway's log for this minute")


def _path(value: object) -> str:
    if not isinstance(value, dict):
        return ""
    return f"{FILES}/{value['id']}" if value.get("id") else ""


def _judge_download(check: str, answer: Answer, content: bytes) -> Finding:
    if answer.status in (301, 302, 303, 307):
        return warn(
            check,
            "downloads are redirected to the store",
            "put the store's domain into the downloadFile list too, or set files.s3_redirect = false",
        )
    if answer.headers.get("content-encoding"):
        return fail(
            check, "downloads are compressed", "gzip off: without a Content-Length phones show no progress"
        )
    if answer.status == 206 and answer.body == content[:8]:
        return ok(check, "uploaded, a Range of it downloaded, removed")
    if answer.status == 200 and answer.body == content:
        return warn(
            check, "Range is ignored", "let the proxy pass the Range header and 206: resuming needs it"
        )
    if answer.status == 200:
        return fail(
            check,
            f"{len(answer.body)} other bytes came back",
            "is a cache in between? Switch it off for /files",
        )
    return fail(
        check,
        f"the download was answered {answer.kind}",
        "files.accel_location and the location in nginx differ?",
    )


# ---------------------------------------------------------------------------- callback
def callback(target: Target) -> Iterator[Finding]:
    """WeChat's check of the URL: the right signature is echoed, a wrong one never."""
    check = "callback URL"
    wrong = target.request("GET", f"{CALLBACK}?{_query('wrong', target.now())}")
    if _echoes(wrong):
        yield fail(
            check,
            "a wrong signature is accepted: anybody can send messages as WeChat",
            "check signatures, and set the Token of the console: wechat.apps[].callback_token",
        )
        return
    if wrong.status >= 500:
        yield fail(check, f"answered {wrong.kind}", "see the gateway's log for this minute")
        return
    apps = [each for each in target.settings.wechat.apps if each.callback_token.get_secret_value()]
    if not apps:
        yield ok(check, f"no callback_token is configured; a wrong signature gets {wrong.status}")
    for app in apps:
        query = _query(app.callback_token.get_secret_value(), target.now())
        yield _judge_echo(check, app.appid, target.request("GET", f"{CALLBACK}/{app.appid}?{query}"))


def _judge_echo(check: str, appid: str, answer: Answer) -> Finding:
    if _echoes(answer):
        return ok(check, f"{appid}: a right signature is echoed, a wrong one is not")
    return fail(
        check,
        f"{appid}: a right signature is answered {answer.kind}",
        "let nginx pass /wx/callback with its query; is the Token the same as in the console?",
    )


def _echoes(answer: Answer) -> bool:
    return answer.status == 200 and answer.body == ECHO.encode()


def _query(token: str, now: float) -> str:
    timestamp, nonce = str(int(now)), str(secrets.randbelow(10**9))
    text = "".join(sorted([token, timestamp, nonce]))
    signature = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 (WeChat's choice)
    return urlencode({"signature": signature, "timestamp": timestamp, "nonce": nonce, "echostr": ECHO})
