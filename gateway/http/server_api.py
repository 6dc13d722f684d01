"""The server API over HTTP: `POST /api/{method}`, as Centrifugo has it, so that its SDKs work.

Bare ASGI: a route of a framework would cost more than the publication itself. One request is one method with
its parameters as the body; `batch` takes many of them.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Mapping, Sequence
from time import monotonic, perf_counter
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec
import structlog
from msgspec import Raw, Struct

from gateway.config import Settings
from gateway.errors import (
    ERROR_BAD_REQUEST,
    ERROR_INTERNAL,
    ERROR_MESSAGE_TOO_LARGE,
    ERROR_METHOD_NOT_FOUND,
    ClientError,
    Error,
    UpstreamError,
)
from gateway.http.api_methods import Method, Methods
from gateway.http.asgi import Gone, Receive, Scope, Send, TooLarge, header, read_body, respond, respond_json
from gateway.http.fan import run_all
from gateway.inbox.service import Inbox
from gateway.metrics import Metrics
from gateway.node.node import Node
from gateway.protection.audit import ACTOR, Audit

COMMANDS_LIMIT: Final = 10_000
"""Commands of one batch."""

AUDITED: Final = frozenset(
    {
        "disconnect",
        "refresh",
        "unsubscribe",
        "block_user",
        "unblock_user",
        "revoke_token",
        "invalidate_user_tokens",
    }
)
"""Methods that are written down: those that do something to users. A dashboard reads all the time."""

_WRITTEN_DOWN: Final = AUDITED | {"", "batch"}
READABLE: Final = frozenset({"delivery", "deliveries", "online_snapshot"})
"""Methods that may be asked for with GET, their parameters in the query."""

REFUSAL_LOG_INTERVAL: Final = 5.0
"""Seconds between two lines of the log about calls without a good key."""

STATUS_OF_ERROR: Final = {100: 500, 102: 404, 104: 404, 107: 400, 108: 400, 112: 416, 113: 409}
"""HTTP statuses of errors in the mode `transport`; any other error is 400, or 503 if it is temporary."""

_encode: Final = msgspec.json.Encoder().encode

log = structlog.get_logger()


class Batch(Struct, frozen=True):
    commands: list[dict[str, Raw]] = []
    parallel: bool = False


class OldForm(Struct, frozen=True):
    """`POST /api`: how requests looked before each method had its own path."""

    method: str = ""
    params: Raw = Raw(b"{}")


class Failed(Exception):
    """The method ended in an error, for the caller to hear."""

    def __init__(self, error: Error, message: str = "") -> None:
        super().__init__(error.message)
        self.error = error
        self.body = _encode({"code": error.code, "message": message or error.message})


class Undecodable(Exception):
    """The body is not what the method takes."""


class ServerAPI:
    """The ASGI app of `/api` and everything below it."""

    def __init__(
        self,
        node: Node,
        settings: Settings,
        metrics: Metrics,
        *,
        more: Sequence[Mapping[str, Method]] = (),
        audit: Audit | None = None,
        inbox: Inbox | None = None,
    ) -> None:
        """`more`: methods of other rooms, each like `Methods.table`. `audit` hears of every call that does
        something to users. `inbox` keeps what wants to be acknowledged; without it that is refused."""
        self._node = node
        self._metrics = metrics
        self._audit = audit
        self._refused = 0
        self._next_refusal_log = 0.0
        self.load_keys(settings)
        self._max_body = settings.api.max_body
        self._transport_errors = settings.api.error_mode == "transport"
        self._methods = Methods(node, settings.channels.max_publication_size, self._guarded, inbox)
        for table in more:
            self._methods.table.update(table)
        self._batch = msgspec.json.Decoder(Batch)
        self._old_form = msgspec.json.Decoder(OldForm)

    @property
    def methods(self) -> list[str]:
        """The names of all methods."""
        return sorted(self._methods.table)

    def load_keys(self, settings: Settings) -> None:
        """Let in those who have the keys of this configuration, and nobody else."""
        self._digests = [_digest(key.get_secret_value().encode()) for key in settings.api.keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of somebody with a key."""
        await self.serve(scope["path"][5:], "", scope, receive, send)

    async def serve(self, method: str, actor: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. `actor`: who was let in, for the audit log; empty: a key is asked for."""
        started = perf_counter()
        outcome = "cancelled"
        try:
            outcome = await self._request(method, actor, scope, receive, send)
        finally:
            self._metrics.api_call(method or "other", outcome, perf_counter() - started)

    async def _request(self, method: str, actor: str, scope: Scope, receive: Receive, send: Send) -> str:
        """The outcome, for the metrics."""
        key, transport_errors = self._read_headers(scope)
        asked = scope["method"] == "GET" and method in READABLE
        if scope["method"] != "POST" and not asked:
            return await _refuse(send, 405, "use POST", "not_found")
        if not (actor or self._let_in(key)):
            self._note_refusal(scope, bool(key))
            await respond(send, 401, b"")
            return "unauthorized"
        if self._audit is not None and method in _WRITTEN_DOWN:
            self._introduce(key, scope, actor)
        if method and method != "batch" and method not in self._methods.table:
            return await _refuse(send, 404, "no such method", "not_found")
        try:
            body = _of_query(scope) if asked else await read_body(scope, receive, self._max_body)
        except TooLarge:
            return await _refuse(send, 413, f"the limit is {self._max_body} bytes", "too_large")
        except Gone:
            # Whoever left does not hear it, whoever is too slow does.
            return await _refuse(send, 408, "the body did not come", "cancelled")
        try:
            await respond(send, 200, await self._answer(method, body))
        except Undecodable as error:
            return await _refuse(send, 400, str(error), "undecodable")
        except Failed as failed:
            if transport_errors:
                default = 503 if failed.error.temporary else 400
                await respond(send, STATUS_OF_ERROR.get(failed.error.code, default), failed.body)
            else:
                await respond(send, 200, b'{"error":%b}' % failed.body)
            return "error"
        return "ok"

    def _note_refusal(self, scope: Scope, with_key: bool) -> None:
        """In the log, a line now and then: one who tries keys must not fill it, and one with an old key is to
        be found by its address."""
        now = monotonic()
        self._refused += 1
        if now >= self._next_refusal_log:
            log.warning(
                "the server API was called without a key that is in api.keys",
                ip=(scope.get("client") or ("",))[0],
                with_key=with_key,
                times=self._refused,
            )
            self._refused, self._next_refusal_log = 0, now + REFUSAL_LOG_INTERVAL

    # ------------------------------------------------------------------------ who asks
    def _read_headers(self, scope: Scope) -> tuple[bytes, bool]:
        """The key that was given, and whether errors go out as HTTP statuses."""
        key = b""
        of_a_page = False
        transport_errors = self._transport_errors
        for name, value in scope["headers"]:
            if name == b"x-api-key":
                key = value
            elif name == b"authorization" and not key and value[:7].lower() == b"apikey ":
                key = value[7:].strip()
            elif name == b"origin":
                of_a_page = True
            elif name == b"x-centrifugo-error-mode":
                transport_errors = value == b"transport" or (value != b"body" and transport_errors)
        # Not from a page: a form can put a key into a query without asking anybody first.
        if not key and scope["query_string"] and not of_a_page:
            key = _key_of_query(scope["query_string"])
        return key, transport_errors

    def _let_in(self, key: bytes) -> bool:
        # Digests, so that the length of a key does not show; all keys, so that neither does which one it was.
        given = _digest(key)
        found = False
        for digest in self._digests:
            found |= hmac.compare_digest(given, digest)
        return found and bool(key)

    def lets_in(self, scope: Scope) -> bool:
        """Whether a request has a key; for what stands beside the methods. It is known then who asks."""
        key = self._read_headers(scope)[0]
        self._introduce(key, scope)
        return self._let_in(key)

    @staticmethod
    def _introduce(key: bytes, scope: Scope, actor: str = "") -> None:
        """Say who makes this call: a key by the first digits of its hash, and a user of the dashboard."""
        user = header(scope, b"x-dashboard-user")[:64].decode("latin-1")
        named = f" {user}" if user.isprintable() and user else ""
        ACTOR.set(actor or f"key:{_digest(key).hex()[:8]}{named}")

    # ------------------------------------------------------------------------ what is asked
    async def _answer(self, method: str, body: bytes) -> bytes:
        """The body of the answer.

        Raises:
            Undecodable: the body is no JSON, or has wrong types.
            Failed: the method ended in an error.
        """
        if not body.isascii():
            # The decoder does not look into embedded JSON; clients would be closed for what is no UTF-8.
            try:
                body.decode()
            except UnicodeDecodeError:
                raise Undecodable("the body is not UTF-8") from None
        if not method:
            form: OldForm = _decode(self._old_form, body)
            if form.method not in self._methods.table:
                raise Failed(ERROR_METHOD_NOT_FOUND)
            method, body = form.method, bytes(form.params)
        if method == "batch":
            return await self._answer_batch(_decode(self._batch, body))
        return b'{"result":%b}' % await self._call(method, body)

    async def _call(self, method: str, body: bytes) -> bytes:
        """The encoded result."""
        decoder, handler = self._methods.table[method]
        request = _decode(decoder, body)
        if self._audit is None or method not in AUDITED:
            return await self._encoded(handler(request))
        outcome = "cancelled"
        try:
            result = await self._encoded(handler(request))
            outcome = "ok"
        except Failed as failed:
            outcome = str(failed.error.code)
            raise
        finally:
            await self._audit.note(method, request, outcome)
        return result

    async def _encoded(self, call: Awaitable[Struct | Raw]) -> bytes:
        try:
            return _encode(await call)
        except ClientError as error:
            reply = error.outcome if isinstance(error.outcome, Error) else ERROR_BAD_REQUEST
            raise Failed(reply, error.detail) from None
        except UpstreamError as error:
            # The detail is for the log: it may name hosts.
            away = self._node.problem and f"{error.error.message}: /readyz says why"
            raise Failed(error.error, away) from error
        except Exception as error:
            log.exception("server API call failed")
            raise Failed(ERROR_INTERNAL) from error

    async def _guarded(self, call: Awaitable[Struct | Raw]) -> bytes:
        """`{"result":…}` or `{"error":…}`: one item of a broadcast."""
        try:
            return b'{"result":%b}' % await self._encoded(call)
        except Failed as failed:
            return b'{"error":%b}' % failed.body

    async def _answer_batch(self, batch: Batch) -> bytes:
        count = len(batch.commands)
        if count > COMMANDS_LIMIT:
            raise Failed(ERROR_BAD_REQUEST, f"{count} commands, the limit is {COMMANDS_LIMIT}")
        replies = await run_all(batch.commands, self._command, parallel=batch.parallel)
        return b'{"replies":[%b]}' % b",".join(replies)

    async def _command(self, command: dict[str, Raw]) -> bytes:
        """One item of a batch: `{method: result}` or `{"error":…}`."""
        try:
            if len(command) != 1:
                raise Failed(ERROR_BAD_REQUEST, "a command of a batch has one method")
            ((method, params),) = command.items()
            if method not in self._methods.table:
                raise Failed(ERROR_METHOD_NOT_FOUND)
            return b'{"%b":%b}' % (method.encode(), await self._call(method, bytes(params)))
        except Failed as failed:
            return b'{"error":%b}' % failed.body
        except Undecodable as error:
            return b'{"error":%b}' % Failed(ERROR_BAD_REQUEST, str(error)).body


def _of_query(scope: Scope) -> bytes:
    """The parameters of a GET, as a body."""
    try:
        query = parse_qs(scope["query_string"].decode(), max_num_fields=16)
    except ValueError:
        query = {}
    given = {name: values[-1] for name, values in query.items() if name != "api_key"}
    return _encode({name: _number(text) if name == "limit" else text for name, text in given.items()})


def _number(text: str) -> int | str:
    """A whole number, or the text that is none, for the decoder to refuse."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else text


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _key_of_query(query: bytes) -> bytes:
    try:
        return parse_qs(query.decode(), max_num_fields=16).get("api_key", [""])[0].encode()
    except ValueError:
        return b""


def _decode(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body or b"{}")
    except msgspec.ValidationError as error:
        return _decode_without_nulls(decoder, body, error)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Undecodable(str(error)) from None
    except RecursionError:
        raise Undecodable("nested too deeply") from None


def _decode_without_nulls(decoder: msgspec.json.Decoder[Any], body: bytes, first: Exception) -> Any:
    """Again, without the fields that are null: many languages write null for what they leave out."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, Raw])
        given = {name: value for name, value in fields.items() if name == "data" or bytes(value) != b"null"}
        if len(given) == len(fields):
            raise Undecodable(str(first))
        return decoder.decode(_encode(given))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Undecodable(str(first)) from None


async def _refuse(send: Send, status: int, message: str, outcome: str) -> str:
    error = _REFUSALS[status]
    headers = [(b"allow", b"POST")] if status == 405 else None
    await respond_json(send, status, {"code": error.code, "message": message}, headers)
    return outcome


_REFUSALS: Final = {
    400: ERROR_BAD_REQUEST,
    404: ERROR_METHOD_NOT_FOUND,
    405: ERROR_METHOD_NOT_FOUND,
    408: ERROR_BAD_REQUEST,
    413: ERROR_MESSAGE_TOO_LARGE,
}
