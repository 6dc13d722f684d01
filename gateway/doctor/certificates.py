"""What TLS and its certificate look like to a phone.

The chain is judged by what the server sent: desktop browsers and `curl` on many systems fetch or remember
missing intermediates, phones do not.
"""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from gateway.doctor.report import Finding, fail, ok, warn
from gateway.doctor.target import CannotGoOn, Target, lax_context, read_answer
from gateway.nginx.site import CIPHERS

VERSIONS: Final = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
RENEW_BEFORE: Final = timedelta(days=14)
"""ACME clients renew 30 days before the end; with 14 left the renewal has been failing for two weeks."""

MIN_RSA, MIN_EC = 2048, 256
"""Bits, of Apple's App Transport Security."""

# Codes of X509_verify_cert, openssl/x509_vfy.h.
_SELF_SIGNED: Final = (18, 19)
_NO_ISSUER: Final = (2, 20, 21)
_EXPIRED: Final = 10
_DER: Final = 2  # `_ssl.ENCODING_DER`
_FULL_CHAIN: Final = "point ssl_certificate at the full chain (fullchain.pem, leaf first), then reload nginx"


@dataclass(frozen=True, slots=True)
class Presented:
    """What the server showed in one handshake; `chain` as it was sent, leaf first."""

    version: str
    alpn: str
    chain: tuple[x509.Certificate, ...]

    @property
    def leaf(self) -> x509.Certificate:
        return self.chain[0]


def speaks_tls(target: Target) -> Iterator[Finding]:
    """At all: everything else rests on it."""
    check = "TLS"
    try:
        shown = present(target)
    except ssl.SSLError as error:
        if _speaks_http(target):
            yield fail(
                check,
                f"port {target.options.port} speaks http, not https",
                "listen with `ssl` and a certificate there: phones take https and wss only (`gateway nginx`)",
            )
        else:
            why = error.reason or str(error)
            yield fail(
                check, f"no handshake: {why}", "look into nginx's error log; is there a certificate for it?"
            )
        raise CannotGoOn from None
    except OSError as error:
        yield fail(
            check, f"no handshake: {error}", "something before nginx closes the connection; look there"
        )
        raise CannotGoOn from None
    if shown.alpn == "h2":
        yield ok(check, f"{shown.version}, HTTP/2 offered for requests")
    else:
        yield warn(
            check,
            f"{shown.version}, no HTTP/2",
            "listen with `http2`: ten parallel requests then share one connection",
        )


def versions(target: Target) -> Iterator[Finding]:
    """1.2 at least, 1.3 for speed."""
    check = "TLS versions"
    offered = [name for name, version in VERSIONS.items() if _offers(target, version)]
    text = ", ".join(offered)
    if "1.2" not in offered and "1.3" not in offered:
        yield fail(
            check, f"only {text}", "ssl_protocols TLSv1.2 TLSv1.3; WeChat and iOS refuse anything older"
        )
    elif "1.2" not in offered:
        yield fail(check, f"only {text}", "ssl_protocols TLSv1.2 TLSv1.3; older Android phones have no 1.3")
    elif "1.3" not in offered:
        yield warn(check, text, "ssl_protocols TLSv1.2 TLSv1.3: 1.3 saves a phone one round trip")
    elif len(offered) > 2:
        yield warn(
            check, text, "1.0 and 1.1 are broken and no phone of today needs them: TLSv1.2 TLSv1.3 are enough"
        )
    else:
        yield ok(check, text)


def certificate_name(target: Target) -> Iterator[Finding]:
    """The certificate is for this domain."""
    check, leaf = "certificate name", present(target).leaf
    names = dns_names(leaf)
    if any(matches(name, target.domain) for name in names):
        yield ok(check, ", ".join(names[:4]))
    else:
        shown = ", ".join(names[:4]) or _common_name(leaf.subject)
        yield fail(
            check, f"it is for {shown}", f"get a certificate for {target.domain}, or fix server_name in nginx"
        )


def certificate_dates(target: Target) -> Iterator[Finding]:
    """Valid now, and still in two weeks."""
    check, leaf, now = "certificate expiry", present(target).leaf, datetime.fromtimestamp(target.now(), UTC)
    left = leaf.not_valid_after_utc - now
    until = leaf.not_valid_after_utc.date().isoformat()
    if left <= timedelta(0):
        yield fail(
            check,
            f"expired on {until}",
            "renew it, reload nginx, and let the acme client's timer do so from now",
        )
    elif leaf.not_valid_before_utc > now:
        since = leaf.not_valid_before_utc.isoformat(" ", "minutes")
        yield fail(
            check, f"not valid before {since}", "set the clock of this machine and of the one that made it"
        )
    elif left < RENEW_BEFORE:
        yield warn(
            check, f"{left.days} days left, until {until}", "renew it; see why the renewal did not run"
        )
    else:
        yield ok(check, f"until {until}, {left.days} days")


def chain(target: Target) -> Iterator[Finding]:
    """Everything up to a known root was sent."""
    check = "certificate chain"
    sent = present(target).chain
    code, reason = _verify(target)
    issuer = _common_name(sent[-1].issuer)
    if code in _SELF_SIGNED:
        yield fail(
            check,
            f"self-signed by {issuer}, which no phone knows",
            "take a certificate of a public authority, free by acme; for tests of your own give --ca",
        )
    elif code in _NO_ISSUER or (code and not _linked(sent)):
        yield fail(
            check, f"incomplete: {len(sent)} sent, the certificate of {issuer!r} is missing", _FULL_CHAIN
        )
    elif code and code != _EXPIRED:
        yield fail(check, reason, _FULL_CHAIN)
    else:
        yield ok(check, f"{len(sent)} certificates sent, up to {issuer!r}")


def signatures(target: Target) -> Iterator[Finding]:
    """No SHA-1, keys long enough."""
    check, sent = "signatures and keys", present(target).chain
    # The signature of a root is never looked at: it is known, or it is not.
    weak = [each for each in sent if each.issuer != each.subject and _hash_name(each) in ("sha1", "md5")]
    if weak:
        yield fail(
            check,
            f"{_common_name(weak[0].subject)} is signed with {_hash_name(weak[0]).upper()}",
            "have it issued again with SHA-256; no authority makes others today",
        )
    elif short := _short_key(sent[0]):
        yield fail(check, f"{short} key", f"make a new key: EC P-256, or RSA of {MIN_RSA} bits (iOS, ATS)")
    else:
        yield ok(check, f"{_hash_name(sent[0]).upper()}, {_key(sent[0])}")


def ciphers(target: Target) -> Iterator[Finding]:
    """With TLS 1.2, one that iOS takes."""
    check = "ciphers"
    context = lax_context()
    context.set_ciphers(":".join(CIPHERS) + ":@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        with target.tls(context) as sock:
            found = (sock.cipher() or ("unknown",))[0]
            yield ok(check, f"{found} with TLS 1.2")
    except OSError:
        yield fail(
            check,
            "none of those that iOS asks for (ATS) with TLS 1.2",
            "ssl_ciphers with ECDHE and GCM, as `gateway nginx` writes them",
        )


def resumption(target: Target) -> Iterator[Finding]:
    """A returning phone saves the key exchange."""
    check, context = "TLS resumption", lax_context()
    with target.tls(context) as sock:
        # With TLS 1.3 the session comes after the handshake, so something has to be read first.
        sock.sendall(target.head("GET", "/", {}))
        read_answer(sock, "GET")
        session = sock.session
    with target.tls(context, session) as sock:
        reused = sock.session_reused
    if reused:
        yield ok(check, "works: a returning phone needs no new key exchange")
    else:
        yield warn(
            check,
            "does not work",
            "ssl_session_cache shared:…: with it a handshake costs a fraction of the CPU",
        )


# ---------------------------------------------------------------------------- what is asked of the server
@cache
def present(target: Target) -> Presented:
    """What the server presents; asked once."""
    context = lax_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with target.tls(context) as sock:
        return Presented(sock.version() or "", sock.selected_alpn_protocol() or "", _sent_chain(sock))


def _sent_chain(sock: ssl.SSLSocket) -> tuple[x509.Certificate, ...]:
    # Public from Python 3.13 on, where it gives bytes. Before, the same is on the object that ssl wraps.
    public: Any = getattr(sock, "get_unverified_chain", None)
    if public is not None:
        ders = public()
    else:
        wrapped: Any = sock._sslobj  # type: ignore[attr-defined]
        ders = [each.public_bytes(_DER) for each in wrapped.get_unverified_chain()]
    return tuple(x509.load_der_x509_certificate(bytes(each)) for each in ders)


def _offers(target: Target, version: ssl.TLSVersion) -> bool:
    context = lax_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    try:
        target.tls(context).close()
    except OSError:
        return False
    return True


def _speaks_http(target: Target) -> bool:
    try:
        with target.tcp() as sock:
            sock.sendall(target.head("GET", "/", {}))
            return sock.recv(5) == b"HTTP/"
    except OSError:
        return False


def _verify(target: Target) -> tuple[int, str]:
    """OpenSSL's verdict on the chain: 0 is good."""
    try:
        target.tls(target.strict).close()
    except ssl.SSLCertVerificationError as error:
        return error.verify_code, error.verify_message
    except ssl.SSLError as error:
        return -1, error.reason or str(error)
    return 0, ""


def _linked(sent: tuple[x509.Certificate, ...]) -> bool:
    """Each is issued by the next, and the leaf is not alone."""
    return len(sent) > 1 and all(a.issuer == b.subject for a, b in pairwise(sent))


# ---------------------------------------------------------------------------- reading certificates
def dns_names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []  # the common name alone counts nowhere any more
    return names.value.get_values_for_type(x509.DNSName)


def matches(pattern: str, domain: str) -> bool:
    """RFC 6125: a star stands for the whole first label and nothing more."""
    pattern, domain = pattern.lower(), domain.lower()
    if pattern.startswith("*."):
        return domain.partition(".")[2] == pattern[2:]
    return pattern == domain


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else name.rfc4514_string() or "unnamed"


def _hash_name(certificate: x509.Certificate) -> str:
    algorithm = certificate.signature_hash_algorithm
    return algorithm.name if algorithm else "its own hash"


def _key(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return f"EC {key.key_size}" if isinstance(key, ec.EllipticCurvePublicKey) else type(key).__name__


def _short_key(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    short = (isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA) or (
        isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < MIN_EC
    )
    return _key(certificate) if short else ""
