"""A throw-away authority: a root, an intermediate, and certificates as good or as bad as a test wants."""

from __future__ import annotations

import datetime
import subprocess
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Pair:
    """Paths of a certificate and its key, as nginx takes them."""

    cert: Path
    key: Path


class Authority:
    """Writes PEM files into `folder`; `root` is what clients have to believe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root_key = ec.generate_private_key(ec.SECP256R1())
        self._root = _sign(_builder("Test Root", "Test Root", self._root_key, ca=True), self._root_key)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._intermediate = _sign(
            _builder("Test Intermediate", "Test Root", self._key, ca=True), self._root_key
        )
        self._ca_files = Pair(folder / "intermediate.pem", folder / "intermediate.key.pem")
        self._ca_files.cert.write_bytes(_pem(self._intermediate))
        self._ca_files.key.write_bytes(_key_pem(self._key))
        self.root = folder / "root.pem"
        self.root.write_bytes(_pem(self._root))

    def issue(
        self,
        *names: str,
        days: float = 90,
        chain: bool = True,
        rsa_bits: int = 0,
        self_signed: bool = False,
    ) -> Pair:
        """A certificate for `names`, valid for `days` from now (negative: expired); with its chain."""
        key: Key = (
            rsa.generate_private_key(65537, rsa_bits) if rsa_bits else ec.generate_private_key(ec.SECP256R1())
        )
        issuer = names[0] if self_signed else "Test Intermediate"
        builder = _builder(names[0], issuer, key, days=days).add_extension(_names(names), critical=False)
        leaf = _sign(builder, key if self_signed else self._key)
        number = len(list(self._folder.iterdir()))
        cert, key_path = self._folder / f"{number}.cert.pem", self._folder / f"{number}.key.pem"
        cert.write_bytes(_pem(leaf) + (_pem(self._intermediate) if chain and not self_signed else b""))
        key_path.write_bytes(_key_pem(key))
        return Pair(cert, key_path)

    def issue_with_sha1(self, name: str) -> Pair:
        """The same, signed as nobody does any more; only the openssl program still can."""
        pair = self.issue(name, self_signed=True)  # openssl takes no other to sign again
        signed = pair.cert.with_suffix(".sha1.pem")
        words = ["openssl", "x509", "-in", str(pair.cert), "-out", str(signed), "-sha1", "-days", "90"]
        words += ["-CA", str(self._ca_files.cert), "-CAkey", str(self._ca_files.key), "-set_serial", "1"]
        subprocess.run(words, check=True, capture_output=True)
        pair.cert.write_bytes(signed.read_bytes() + self._ca_files.cert.read_bytes())
        return pair


def _names(names: tuple[str, ...]) -> x509.SubjectAlternativeName:
    def one(name: str) -> x509.GeneralName:
        try:
            return x509.IPAddress(ip_address(name))
        except ValueError:
            return x509.DNSName(name)

    return x509.SubjectAlternativeName([one(name) for name in names])


def _builder(
    subject: str, issuer: str, key: Key, *, ca: bool = False, days: float = 90
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 100 * DAY)
        .not_valid_after(now + days * DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )


def _sign(builder: x509.CertificateBuilder, key: Key) -> x509.Certificate:
    return builder.sign(key, hashes.SHA256())


def _key_pem(key: Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
