"""Where a request comes from: the client's address behind proxies, and the page that opened it; pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit


class Peers:
    """Whose word is taken for what.

    Arguments:
        trusted_proxies: networks whose X-Forwarded-For is believed.
        allowed_origins: patterns such as `https://*.example.com`; empty: the page's host is our host.
    """

    def __init__(self, trusted_proxies: Sequence[str], allowed_origins: Sequence[str]) -> None:
        self._trusted: list[IPv4Network | IPv6Network] = [ip_network(each) for each in trusted_proxies]
        self._origins = [pattern.lower() for pattern in allowed_origins]

    def _is_trusted(self, address: str) -> bool:
        try:
            ip = _address(address)
        except ValueError:
            return False
        return any(ip in network for network in self._trusted)

    def client_ip(self, peer: str, forwarded_for: str) -> str:
        """The address of the client: the last one in the chain that is none of our proxies.

        What stands left of it may be forged, and a chain from a peer that is no proxy of ours is.
        """
        if not forwarded_for or not self._is_trusted(peer):
            return peer
        client = peer
        for hop in reversed([hop.strip() for hop in forwarded_for.split(",")]):
            try:
                client = str(_address(hop))
            except ValueError:
                return client
            if not self._is_trusted(client):
                return client
        return client

    def origin_allowed(self, origin: str, host: str) -> bool:
        """Whether a page of `origin` may connect. Phones and backends send none, and pass."""
        if not origin:
            return True
        if self._origins:
            return any(fnmatch.fnmatchcase(origin.lower(), pattern) for pattern in self._origins)
        try:
            return bool(host) and urlsplit(origin).netloc.lower() == host.lower()
        except ValueError:  # no URL at all
            return False


def _address(text: str) -> IPv4Address | IPv6Address:
    """Sockets for both families, and proxies that use them, write an IPv4 address as `::ffff:10.0.0.1`."""
    found = ip_address(text)
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
