"""Requests: sizes, errors that are JSON, streaming, and the clock."""

from __future__ import annotations

import email.utils
from collections.abc import Iterator
from http.client import HTTPException
from typing import Final

from gateway.config.units import format_size
from gateway.doctor.report import Finding, fail, ok, warn
from gateway.doctor.target import Answer, Line, Target, read_answer
from gateway.nginx.site import upload_limit

FILES: Final = "/files"
NOWHERE: Final = "/wx/doctor-asks-for-nothing"
SKEW_WARN, SKEW_FAIL = 30.0, 300.0
"""Seconds. A token's times are believed within half a minute; WeChat's signatures carry the time, too."""

BUFFERED_AFTER: Final = 3.0
"""Seconds without an answer to an upload that is refused by its head, after which it must be held back."""

_JSON_ERRORS: Final = (
    "let the proxy answer in JSON (error_page, as `gateway nginx` writes it): wx.uploadFile hands any "
    "body to "
    "JSON.parse"
)


def body_limit(target: Target) -> Iterator[Finding]:
    """As much as the gateway takes is let through. It is really sent."""
    check, size = "body limit", target.settings.files.max_upload_size
    answer = _upload(target, size)
    if answer.status == 413:
        yield fail(
            check,
            f"413 for a file of {format_size(size)}, which the gateway takes",
            f"client_max_body_size {upload_limit(target.settings)} for {FILES} (nginx's own default is 1m)",
        )
    elif answer.status >= 500:
        yield fail(
            check, f"{answer.kind} for {format_size(size)}", "look into the logs of the proxy and the gateway"
        )
    else:
        yield ok(check, f"{format_size(size)} sent, answered {answer.status}")


def too_large_is_json(target: Target) -> Iterator[Finding]:
    """More than the limit is refused, in JSON."""
    check, size = "413", 4 * upload_limit(target.settings)
    head = target.head("POST", FILES, {**_form_headers(), "Content-Length": str(size)})
    with target.tls() as sock:
        line = Line(sock)
        sock.sendall(head)
        if not line.answered(BUFFERED_AFTER):
            yield warn(
                check,
                f"{format_size(size)} are not refused by their Content-Length",
                "set client_max_body_size: else anybody can fill the disk",
            )
            return
        answer = read_answer(line, "POST")
    if answer.status == 413 and not answer.is_json:
        yield fail(check, f"{answer.kind}, no JSON", _JSON_ERRORS)
    elif answer.status == 413:
        yield ok(check, f"JSON, for {format_size(size)}")
    else:
        yield warn(
            check, f"{answer.kind} instead of 413", "set client_max_body_size, as `gateway nginx` does"
        )


def not_found_is_json(target: Target) -> Iterator[Finding]:
    """What is not there is told in JSON."""
    check, answer = "404", target.request("GET", NOWHERE)
    if answer.status != 404:
        yield warn(
            check, f"{answer.kind} for {NOWHERE}", "answer 404: a wrong address must not look like success"
        )
    elif answer.is_json:
        yield ok(check, "JSON")
    else:
        yield fail(check, f"{answer.kind}, no JSON", _JSON_ERRORS)


def uploads_stream(target: Target) -> Iterator[Finding]:
    """An upload that is refused by its head is refused before its body is there."""
    check, size = "uploads unbuffered", 256 * 1024
    # No form, and no user: a server that sees the head can refuse at once.
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
    with target.tls() as sock:
        line = Line(sock)
        sock.sendall(target.head("POST", FILES, headers) + bytes(1024))
        if line.answered(BUFFERED_AFTER):
            answer = read_answer(line, "POST")
            yield ok(check, f"refused ({answer.status}) while it was being sent")
            return
        sock.sendall(bytes(size - 1024))
        answer = read_answer(line, "POST")
    yield warn(
        check,
        f"answered ({answer.status}) only after the last byte: the proxy keeps uploads back",
        "proxy_request_buffering off; for uploads: else each is written to the proxy's disk first",
    )


def clock(target: Target) -> Iterator[Finding]:
    """The server's clock and ours agree."""
    check, answer = "clock", target.request("GET", NOWHERE)
    date = email.utils.parsedate_tz(answer.headers.get("date", ""))
    if date is None:
        yield warn(check, "no Date header", "let the proxy send one, so that clocks can be compared")
        return
    skew = email.utils.mktime_tz(date) - target.now()
    text = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine"
    fix = "run chrony or systemd-timesyncd on both: tokens and WeChat's signatures carry times"
    if abs(skew) <= SKEW_WARN:
        yield ok(check, "agrees with this machine's")
    elif abs(skew) <= SKEW_FAIL:
        yield warn(check, text, fix)
    else:
        yield fail(check, text, fix)


# ---------------------------------------------------------------------------- uploads
_BOUNDARY: Final = "wx-gateway-doctor-1f0c6a"


def _form_headers(token: str = "") -> dict[str, str]:
    headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
    return {**headers, "Authorization": f"Bearer {token}"} if token else headers


def form(content: bytes, filename: str = "doctor.bin") -> bytes:
    """A form with one file in it, as wx.uploadFile sends it."""
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return head.encode() + content + f"\r\n--{_BOUNDARY}--\r\n".encode()


def upload(target: Target, content: bytes, token: str, filename: str) -> Answer:
    """Send one file."""
    body = form(content, filename)
    head = target.head("POST", FILES, {**_form_headers(token), "Content-Length": str(len(body))})
    return target.send(head, body)


def _upload(target: Target, size: int) -> Answer:
    try:
        return upload(target, bytes(size), "", "doctor.bin")
    except (OSError, HTTPException):
        # Cut instead of answered: nothing of its own says why, so it counts as refused.
        return Answer(413, {}, b"")
