"""Methods of the server API about users who are away: notifications, their funnel, and grants."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from gateway.channels import Channels
from gateway.config.units import DAY
from gateway.errors import ERROR_BAD_REQUEST, ClientError
from gateway.http.api_inbox import checked_user, table_of
from gateway.http.api_methods import ID_SIZE, KEY_SIZE, Method, seconds
from gateway.inbox.limits import TEMPLATES
from gateway.notify.base import REFUSALS, STEPS, Job
from gateway.notify.ledger import Answer, Count, Ledger
from gateway.notify.memory import DAYS
from gateway.notify.service import Notification, Notifier
from gateway.protocol import EMPTY_RAW, Publication, one_line
from gateway.wechat.subscribe_message import FieldName, FieldValue, TemplateId

AFTER: Final = 10.0
"""Seconds that the phone has to acknowledge, where the request does not say."""

_FieldOfTemplate = FieldValue | dict[Literal["value"], FieldValue]


class Fallback(Struct, frozen=True, forbid_unknown_fields=True):
    """The subscribe message; `data` by field of the template, as text or as WeChat has it, in `value`."""

    template_id: TemplateId
    data: Annotated[dict[FieldName, _FieldOfTemplate], Meta(min_length=1, max_length=20)]
    page: Annotated[str, Meta(max_length=1024)] = ""
    after: float | str = AFTER
    miniprogram_state: Literal["developer", "trial", "formal"] = "formal"
    lang: Literal["zh_CN", "en_US", "zh_HK", "zh_TW"] = "zh_CN"


class Notify(Struct, frozen=True):
    fallback: Fallback
    user: str = ""
    data: Raw = EMPTY_RAW
    appid: str = ""
    idempotency_key: str = ""
    ack_ttl: float | str = 0.0
    tags: Annotated[dict[str, Annotated[str, Meta(max_length=255)]], Meta(max_length=16)] | None = None


class Notified(Struct, frozen=True):
    id: str


class Period(Struct, frozen=True):
    days: Annotated[int, Meta(ge=1, le=DAYS)] = 1


class Funnel(Struct, frozen=True):
    """One day. `refused` by reason; what did not happen is left out there."""

    day: str
    notified: int
    delivered: int
    acknowledged: int
    sent: int
    uncertain: int
    late: int
    again: int
    lost: int
    refused: dict[str, int]


class Funnels(Struct, frozen=True):
    days: list[Funnel]


class Report(Struct, frozen=True):
    user: str = ""
    templates: Annotated[dict[TemplateId, Answer | Count], Meta(max_length=TEMPLATES)] = {}


class Grants(Struct, frozen=True):
    grants: dict[str, int]


def notify_methods(notifier: Notifier, ledger: Ledger, rules: Channels, data_limit: int) -> dict[str, Method]:
    """`notify`, `notify_stats` and `grants`; `data_limit`: bytes of `data`."""

    async def notify(request: Notify) -> Struct:
        return Notified(await notifier.notify(_notification(request, rules, data_limit)))

    async def stats(request: Period) -> Struct:
        return Funnels([_funnel(day, counts) for day, counts in await notifier.funnel(request.days)])

    async def grants(request: Report) -> Struct:
        return Grants(await ledger.report(checked_user(request.user), request.templates))

    return table_of({"notify": (Notify, notify), "notify_stats": (Period, stats), "grants": (Report, grants)})


def _notification(request: Notify, rules: Channels, data_limit: int) -> Notification:
    data = bytes(one_line(bytes(request.data)))
    if not data:
        raise ClientError(ERROR_BAD_REQUEST, "data is missing")
    if len(data) > data_limit:
        raise ClientError(ERROR_BAD_REQUEST, f"data has {len(data)} bytes, the limit is {data_limit}")
    for name, value, limit in (
        ("appid", request.appid, ID_SIZE),
        ("idempotency_key", request.idempotency_key, KEY_SIZE),
    ):
        if len(value) > limit:
            raise ClientError(ERROR_BAD_REQUEST, f"{name} has more than {limit} characters")
    user = checked_user(request.user)
    rules.options(rules.personal(user))
    message = request.fallback
    return Notification(
        user=user,
        publication=Publication(Raw(data), tags=request.tags or None),
        job=Job(
            appid=request.appid,
            template_id=message.template_id,
            data={name: _text(value) for name, value in message.data.items()},
            page=message.page,
            miniprogram_state=message.miniprogram_state,
            lang=message.lang,
        ),
        after=max(1.0, seconds("fallback.after", message.after)),
        ttl=seconds("ack_ttl", request.ack_ttl),
        key=request.idempotency_key,
    )


def _text(value: str | Mapping[Literal["value"], str]) -> str:
    if isinstance(value, str):
        return value
    if "value" not in value:
        raise ClientError(ERROR_BAD_REQUEST, "a field of fallback.data has no value")
    return value["value"]


def _funnel(day: int, counts: Mapping[str, int]) -> Funnel:
    steps = {name: counts.get(name, 0) for name in STEPS}
    refused = {name: counts[name] for name in REFUSALS if counts.get(name)}
    date = datetime.fromtimestamp(day * DAY, UTC).date().isoformat()
    return msgspec.convert({"day": date, **steps, "refused": refused}, Funnel)
