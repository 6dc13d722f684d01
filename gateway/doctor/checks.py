"""All checks in their order, and running them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.client import HTTPException
from typing import Final

from gateway.doctor import certificates, exposure, files, names, sockets, web, wechat
from gateway.doctor.advice import domain_lists, unprovable
from gateway.doctor.report import Finding, Level, Report, fail
from gateway.doctor.target import CannotGoOn, Options, Target
from gateway.doctor.wire import Refused

Check = Callable[[Target], Iterator[Finding]]

REACH: Final[tuple[Check, ...]] = (
    names.is_a_name,
    names.resolves,
    names.port_answers,
    certificates.speaks_tls,
)
"""Each rests on the one before, and all others on them."""

TLS: Final[tuple[Check, ...]] = (
    certificates.versions,
    certificates.certificate_name,
    certificates.certificate_dates,
    certificates.chain,
    certificates.signatures,
    certificates.ciphers,
    certificates.resumption,
)
WEB: Final[tuple[Check, ...]] = (
    web.not_found_is_json,
    web.body_limit,
    web.too_large_is_json,
    web.uploads_stream,
    files.round_trip,
    files.callback,
    exposure.internal_paths,
    exposure.internal_ports,
    exposure.sandbox,
    web.clock,
)
SOCKET: Final[tuple[Check, ...]] = (
    sockets.answers_without_upgrade,
    sockets.client_address,
    sockets.upgrades,
    sockets.first_message,
    sockets.says_goodbye,
    sockets.stays_open,
)
"""None works after one that cannot go on."""


def examine(options: Options, told: Callable[[str], None] = lambda name: None) -> Report:
    """Everything. `told` hears the name of each check before it runs."""
    target = Target(options)
    findings: list[Finding] = []
    if _chain(target, REACH, findings, told):
        for check in (*TLS, *WEB):
            _chain(target, (check,), findings, told)
        _chain(target, SOCKET, findings, told)
    if options.wechat:
        _chain(target, (wechat.apps,), findings, told)
    usable = all(each.level is not Level.FAIL for each in findings if each.check == names.CHECK)
    lists = domain_lists(options.domain) if usable else {}
    return Report(options.domain, findings, lists, unprovable(options.domain))


def _chain(
    target: Target, checks: tuple[Check, ...], findings: list[Finding], told: Callable[[str], None]
) -> bool:
    """Run checks until one cannot go on; whether all ran."""
    for check in checks:
        name = check.__name__.replace("_", " ")
        told(name)
        try:
            findings.extend(check(target))  # what came before an error stays
        except CannotGoOn:
            return False
        except (OSError, HTTPException, Refused) as error:
            # OSError holds TLS errors and timeouts. What a check expects it handles itself.
            why = str(error) or type(error).__name__
            findings.append(
                fail(name, f"no answer: {why}", "see nginx's error log for this minute, and the lines above")
            )
    return True
