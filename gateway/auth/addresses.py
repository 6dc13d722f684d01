"""Which addresses are one customer's: pure."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

CUSTOMER: Final = 64
"""Bits of an IPv6 address that belong to the network: one customer has at least the rest
(RFC 6177), so whoever wants another address takes one from there."""


def network_of(address: str) -> str:
    """What is counted as one: an IPv4 address, or the /64 of an IPv6 address; any other text as it is."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ip_network((int(found), CUSTOMER), strict=False))
