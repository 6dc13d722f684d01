"""The name: what a phone may connect to at all."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from ipaddress import ip_address

from gateway.doctor.report import Finding, fail, ok, warn
from gateway.doctor.target import CannotGoOn, Target

CHECK = "name"

_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]")


def is_a_name(target: Target) -> Iterator[Finding]:
    """WeChat's lists take names only: no IP, no localhost, and best no port."""
    check, domain = CHECK, target.domain
    if re.search(r":[0-9]+\Z", domain) and not _is_ip(domain):
        name = domain.rpartition(":")[0]
        yield fail(
            check,
            f"{domain} has a port",
            f"serve on 443 and configure {name}: a request domain with a port works on that port only, "
            "and many "
            "phones open sockets on 443 only",
        )
        raise CannotGoOn
    if _is_ip(domain) or domain == "localhost" or domain.endswith((".localhost", ".local")):
        yield fail(
            check,
            f"{domain} is no domain name",
            "get a domain, file it (ICP) and point it here: WeChat's domain lists take neither IPs nor "
            "localhost",
        )
        raise CannotGoOn
    if not _NAME.fullmatch(domain):
        yield fail(
            check, f"{domain!r} is no domain name", "write it like api.example.com, without https:// or path"
        )
        raise CannotGoOn
    yield ok(check, f"{domain}, without a port")


def resolves(target: Target) -> Iterator[Finding]:
    """To public addresses, each of which answers."""
    check = "DNS"
    if target.options.resolve:
        yield ok(check, f"not asked: --resolve {target.options.resolve}")
        return
    try:
        found = socket.getaddrinfo(target.domain, target.options.port, type=socket.SOCK_STREAM)
    except OSError as error:
        yield fail(
            check, f"does not resolve: {error.strerror}", "add an A record for it at your DNS provider"
        )
        raise CannotGoOn from None
    target.addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    private = [each for each in target.addresses if not ip_address(each).is_global]
    if private:
        yield warn(
            check,
            f"{', '.join(private)} cannot be reached from the internet",
            "point the public record at the public address; inside your network only this machine sees "
            "another one",
        )
    else:
        yield ok(check, ", ".join(target.addresses))


def port_answers(target: Target) -> Iterator[Finding]:
    """443 on every address: a phone takes whichever it likes, and tries IPv6 first."""
    check = "port 443"
    dead = [each for each in target.addresses if not _accepts(target, each)]
    target.addresses = [each for each in target.addresses if each not in dead]
    if not target.addresses:
        yield fail(
            check,
            f"nothing answers at {', '.join(dead)} port {target.options.port}",
            "start nginx, and open 443 in the firewall and in the cloud's security group",
        )
        raise CannotGoOn
    if dead:
        yield warn(
            check,
            f"{', '.join(dead)} does not answer, {', '.join(target.addresses)} does",
            "let nginx listen there too ([::]:443 for IPv6), or remove that DNS record: phones wait "
            "for it first",
        )
    else:
        yield ok(check, f"open at {', '.join(target.addresses)}")


def _accepts(target: Target, address: str) -> bool:
    try:
        target.tcp(address=address).close()
    except OSError:
        return False
    return True


def _is_ip(text: str) -> bool:
    try:
        ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True
