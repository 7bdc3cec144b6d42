"""An authority of the tests' own, and certificates that it signs."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


@dataclass(frozen=True)
class Certificate:
    """Files of a certificate and its key, both PEM."""

    chain: str
    key: str


class Authority:
    """Signs certificates; its own is in `ca_file`."""

    def __init__(self, folder: Path, *, name: str = "authority") -> None:
        self._folder = folder
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._own = _signed(name, self._key, self._key, issuer=name, names=[], authority=True)
        self.ca_file = str(folder / f"{name}.pem")
        Path(self.ca_file).write_bytes(self._own.public_bytes(serialization.Encoding.PEM))

    def certificate(
        self, name: str, *, uris: Sequence[str] = (), dns: Sequence[str] = (), server: bool = False
    ) -> Certificate:
        """Sign a certificate: for a server on loopback, or for whoever has these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [
            *map(x509.UniformResourceIdentifier, uris),
            *map(x509.DNSName, dns),
            *([LOOPBACK] if server else []),
        ]
        signed = _signed(name, key, self._key, issuer=self._name, names=names)
        files = Certificate(*(str(self._folder / f"{name}.{kind}") for kind in ("pem", "key")))
        Path(files.chain).write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        Path(files.key).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files


def _signed(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    issuer: str,
    names: Sequence[x509.GeneralName],
    authority: bool = False,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())
