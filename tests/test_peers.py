"""Whose word is taken for an address, and which pages may connect: headers are written by strangers."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.websocket.peers import Peers

PROXIES = ("127.0.0.1/32", "10.0.0.0/8", "::1/128", "2001:db8::/32")
peers = Peers(PROXIES, ())

trusted = st.sampled_from(["127.0.0.1", "10.1.2.3", "::1", "2001:db8::7"])
strangers = st.sampled_from(["203.0.113.9", "198.51.100.1", "2a00::5", "192.168.0.1"])
junk = st.sampled_from(
    ["", "unknown", "1.2.3.4:80", "[::1]", "_hidden", "999.1.1.1", "127.0.0.1/32", "' OR 1"]
)


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", "1.2.3.4", "203.0.113.9"),  # forged: that peer is no proxy of ours
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "1.2.3.4, 203.0.113.9", "203.0.113.9"),  # the client wrote 1.2.3.4 itself
        ("127.0.0.1", "127.0.0.1, 203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "203.0.113.9, 10.0.0.7", "203.0.113.9"),  # two proxies in a row
        ("127.0.0.1", "203.0.113.9,10.0.0.7,10.0.0.8", "203.0.113.9"),
        ("127.0.0.1", "10.0.0.7", "10.0.0.7"),  # a client inside our own network
        ("127.0.0.1", "10.0.0.7, 10.0.0.8", "10.0.0.7"),
        ("::1", "2a00::5", "2a00::5"),
        ("::1", "2A00:0:0::5", "2a00::5"),
        ("2001:db8::1", "203.0.113.9", "203.0.113.9"),
        ("::ffff:127.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "203.0.113.9, ::ffff:10.0.0.7", "203.0.113.9"),
        ("127.0.0.1", "junk", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.9, junk", "127.0.0.1"),
        ("127.0.0.1", "junk, 203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "203.0.113.9:4711", "127.0.0.1"),
        ("127.0.0.1", " 203.0.113.9 ", "203.0.113.9"),
        ("127.0.0.1", ",", "127.0.0.1"),
        ("", "203.0.113.9", ""),
        ("unix", "203.0.113.9", "unix"),
    ],
)
def test_the_client_is_the_last_of_the_chain_that_is_no_proxy_of_ours(
    peer: str, forwarded: str, expected: str
) -> None:
    assert peers.client_ip(peer, forwarded) == expected


@settings(max_examples=200, deadline=None)
@given(strangers | junk, st.lists(trusted | strangers | junk, max_size=5))
def test_a_stranger_cannot_choose_its_address(peer: str, chain: list[str]) -> None:
    assert peers.client_ip(peer, ", ".join(chain)) == peer


@settings(max_examples=200, deadline=None)
@given(trusted, st.lists(trusted | strangers | junk, max_size=4), strangers, st.lists(trusted, max_size=3))
def test_behind_our_proxies_nothing_a_client_wrote_counts(
    peer: str, forged: list[str], client: str, ours: list[str]
) -> None:
    assert peers.client_ip(peer, ", ".join([*forged, client, *ours])) == client


@settings(max_examples=200, deadline=None)
@given(trusted, st.text(max_size=40))
def test_whatever_is_forwarded_the_address_is_one(peer: str, forwarded: str) -> None:
    ip_address(peers.client_ip(peer, forwarded))


def test_without_trusted_proxies_nothing_is_believed() -> None:
    assert Peers((), ()).client_ip("127.0.0.1", "203.0.113.9") == "127.0.0.1"


# ---------------------------------------------------------------------------- origins
@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("", "example.com", True),
        ("", "", True),
        ("https://example.com", "example.com", True),
        ("https://EXAMPLE.com", "Example.COM", True),
        ("http://localhost:3000", "localhost:3000", True),
        ("http://localhost:3000", "localhost:8000", False),
        ("https://evil.com", "example.com", False),
        ("https://example.com.evil.com", "example.com", False),
        ("https://example.com@evil.com", "example.com", False),
        ("https://evil.com/example.com", "example.com", False),
        ("example.com", "example.com", False),
        ("null", "example.com", False),
        ("null", "", False),
        ("https://example.com", "", False),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("http://[", "example.com", False),
        ("http://[x]", "[x]", False),
    ],
)
def test_by_default_a_page_must_come_from_our_own_host(origin: str, host: str, allowed: bool) -> None:
    assert peers.origin_allowed(origin, host) is allowed


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("", True),
        ("https://app.example.com", True),
        ("HTTPS://App.Example.Com", True),
        ("https://a.b.example.com", True),
        ("https://example.com", False),
        ("http://app.example.com", False),
        ("https://app.example.com.evil.com", False),
        ("http://localhost:3000", True),
        ("http://localhost:3001", False),
        ("null", False),
        ("http://[", False),
    ],
)
def test_patterns_decide_where_there_are_some(origin: str, allowed: bool) -> None:
    several = Peers((), ("https://*.example.com", "http://Localhost:3000"))
    assert several.origin_allowed(origin, "our.host") is allowed
    assert Peers((), ("*",)).origin_allowed(origin, "our.host")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30) | st.text("http:/[]@#?%.", max_size=12), st.text(max_size=10))
def test_any_origin_is_allowed_or_not(origin: str, host: str) -> None:
    assert peers.origin_allowed(origin, host) in (True, False)
