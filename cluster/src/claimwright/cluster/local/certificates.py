"""The certificates of a cluster: one authority, short-lived, P-256 (made in milliseconds)."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from claimwright.cluster.files import write_atomically

_DAYS = 365
# A node whose clock is a little behind must not find the certificate in the future.
_BACKDATED = dt.timedelta(hours=1)


@dataclass(frozen=True)
class Pair:
    """Where a certificate and its key are on disk."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """A certificate authority and the folder that its certificates go to."""

    folder: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pair(self) -> Pair:
        """Where the authority itself is on disk."""
        return Pair(self.folder / "ca.crt", self.folder / "ca.key")

    def issue(
        self, name: str, common_name: str, *, organization: str | None = None, addresses: Sequence[str] = ()
    ) -> Pair:
        """Write `name.crt` and `name.key` for a client, and for a server at `addresses` (IPs or DNS names)."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_subject(common_name, organization), self.certificate.subject, key)
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if addresses else [])]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if addresses:
            names = x509.SubjectAlternativeName([_general_name(address) for address in addresses])
            builder = builder.add_extension(names, critical=False)
        return _write(self.folder, name, builder.sign(self.key, hashes.SHA256()), key)


def make_authority(folder: Path) -> Authority:
    """Make a new authority in `folder`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _subject("claimwright", None)
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip
    builder = (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
    )
    certificate = builder.sign(key, hashes.SHA256())
    _write(folder, "ca", certificate, key)
    return Authority(folder, certificate, key)


def make_signing_key(folder: Path) -> Pair:
    """Write the key that service account tokens are signed with; `certificate` is its public half."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    pair = Pair(folder / "service-accounts.pub", folder / "service-accounts.key")
    write_atomically(pair.certificate, public)
    write_atomically(pair.key, _key_bytes(key))
    return pair


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + dt.timedelta(days=_DAYS))
    )


def _subject(common_name: str, organization: str | None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


def _general_name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def _write(folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
    write_atomically(pair.certificate, certificate.public_bytes(serialization.Encoding.PEM))
    write_atomically(pair.key, _key_bytes(key))
    return pair


def _key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
