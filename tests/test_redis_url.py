"""Redis URLs: what they mean, and one line for each mistake."""

from __future__ import annotations

import pytest

from gateway.brokers.redis_url import Endpoint, parse_url
from gateway.errors import UpstreamError


def test_a_plain_url() -> None:
    url = parse_url("redis://localhost")
    assert (url.kind, url.endpoints) == ("single", (Endpoint("localhost", 6379),))
    assert parse_url("redis://10.0.0.1:7000/3").endpoints[0].db == 3
    assert parse_url("redis://10.0.0.1?db=4").endpoints[0].db == 4


def test_credentials_may_hold_any_character() -> None:
    credentials = parse_url("redis://us%40er:p%3Aa%2F%40ss@host").endpoints[0].credentials
    assert (credentials.username, credentials.password) == ("us@er", "p:a/@ss")
    assert parse_url("redis://:secret@host").endpoints[0].credentials.username == ""


def test_no_repr_or_str_shows_the_password() -> None:
    url = parse_url("redis+sentinel://:hush@a,b/main?sentinel_password=hush")
    assert "hush" not in repr(url)
    assert str(url) == "a:26379,b:26379/main"


def test_tls() -> None:
    url = parse_url("rediss://host?ssl_cert_reqs=none")
    tls = url.endpoints[0].tls
    assert tls is not None
    assert not tls.context.check_hostname
    strict = parse_url("rediss://host").endpoints[0].tls
    assert strict is not None
    assert strict.context.check_hostname
    assert parse_url("redis://host").endpoints[0].tls is None


def test_a_unix_socket() -> None:
    endpoint = parse_url("unix://:pw@/run/redis.sock?db=2").endpoints[0]
    assert (endpoint.path, endpoint.db, str(endpoint)) == ("/run/redis.sock", 2, "/run/redis.sock")


def test_sentinels_have_addresses_and_credentials_of_their_own() -> None:
    url = parse_url("redis+sentinel://user:pw@s1:1,s2,[::1]:3/main?db=5&sentinel_password=spw")
    assert [str(item) for item in url.endpoints] == ["s1:1", "s2:26379", "[::1]:3"]
    assert {item.credentials.password for item in url.endpoints} == {"spw"}
    assert (url.master_name, url.master.db, url.master.credentials.password) == ("main", 5, "pw")


def test_a_cluster_has_seeds() -> None:
    url = parse_url("redis+cluster://a:1,b:2")
    assert (url.kind, [item.port for item in url.endpoints]) == ("cluster", [1, 2])


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("", "start with"),
        ("localhost:6379", "start with"),
        ("http://:hush@localhost", "start with"),
        ("redis://", "host is missing"),
        ("redis://:hush@", "host is missing"),
        ("redis://host:70000", "ort"),
        ("redis://host:abc", "ort"),
        ("redis://a,b", "several"),
        ("redis://host?db=x", "database is a number"),
        ("redis://host?tiemout=3", "tiemout"),
        ("redis+sentinel://:hush@host:1", "name of the master"),
        ("redis+cluster://host/2", "no databases"),
        ("unix://", "path of the socket"),
        ("rediss://host?ssl_cert_reqs=perhaps", "perhaps"),
        ("rediss://:hush@host?ssl_ca_certs=/nowhere/ca.pem", "No such file"),
    ],
)
def test_a_mistake_is_one_line_without_the_password(url: str, hint: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        parse_url(url)
    text = str(caught.value)
    assert hint in text
    assert "\n" not in text
    assert "hush" not in text
