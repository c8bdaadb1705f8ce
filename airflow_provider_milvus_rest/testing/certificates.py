"""A throw-away certificate authority, for a local server with TLS."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Certificates:
    """PEM files: the authority's certificate, and a certificate and key each for the server and for a client."""

    ca: Path
    server_cert: Path
    server_key: Path
    client_cert: Path
    client_key: Path

    @classmethod
    def make(cls, folder: Path) -> Certificates:
        """Write all five to ``folder``. The certificates are valid for ``localhost`` and ``127.0.0.1``, for one day."""
        folder.mkdir(parents=True, exist_ok=True)
        files = cls(*(folder / f"{name}.pem" for name in ("ca", "server", "server-key", "client", "client-key")))
        ca_key = ec.generate_private_key(ec.SECP256R1())
        ca = _sign("Local Milvus CA", ca_key, None, ca_key)
        files.ca.write_bytes(_pem(ca))
        for name, cert, key in (
            ("localhost", files.server_cert, files.server_key),
            ("client", files.client_cert, files.client_key),
        ):
            private = ec.generate_private_key(ec.SECP256R1())
            cert.write_bytes(_pem(_sign(name, private, ca, ca_key)))
            key.touch(mode=0o600)
            key.write_bytes(
                private.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
        return files


def _sign(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    is_ca = issuer is None
    usage = dict.fromkeys(("content_commitment", "data_encipherment", "key_agreement", "encipher_only"), False)
    usage |= {"key_encipherment": False, "decipher_only": False, "digital_signature": not is_ca}
    usage |= {"key_cert_sign": is_ca, "crl_sign": is_ca}  # Python 3.13 verifies strictly, and requires these
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(authority_key, critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
