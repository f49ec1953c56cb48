"""The service's keys: for TLS and for results. Made where they are missing, to try it out."""

import ipaddress
import socket
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness.framework.errors import FrameworkError
from harness.framework.own_keys import certificate_builder, common_name, write_private

_TRIAL_DAYS = 90


def load_signing_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The P-256 key (PEM) that signs results.

    Raises:
        FrameworkError: names the file and what is wrong with it.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a private key in PEM"
        raise FrameworkError(f"{path}: no signing key: {reason}") from None
    if not (isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)):
        raise FrameworkError(f"{path}: expected a P-256 private key, found another kind")
    return key


def make_signing_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """A new one, in a file of mode 0600. Raises ``FileExistsError`` when there is one."""
    key = ec.generate_private_key(ec.SECP256R1())
    write_private(path, key)
    return key


def make_certificate(certificate: Path, key_path: Path, names: tuple[str, ...]) -> None:
    """A self-signed certificate for ``names`` (host names or addresses), for trying out.

    Raises ``FileExistsError`` when there is a key already.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = common_name("attestbench verifier")
    made = (
        certificate_builder(subject, subject, key.public_key(), _TRIAL_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(key_path, key)
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))


def own_names(host: str) -> tuple[str, ...]:
    """What clients may call a service that listens on ``host``."""
    return tuple(dict.fromkeys((host, "localhost", "127.0.0.1", socket.gethostname())))


def fingerprint(certificate: Path) -> str:
    """SHA-256 of the first certificate in a PEM file. Raises ``FrameworkError``."""
    try:
        first = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a certificate in PEM"
        raise FrameworkError(f"{certificate}: no certificate: {reason}") from None
    return first.fingerprint(hashes.SHA256()).hex()


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public half, which clients pin."""
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
