"""The attested channel: TLS 1.3, both sides authenticated by keys that TEE reports bind.

Each side has a self-signed certificate over a key made inside its guest. Its TEE report binds
that key and the peer's nonce; who has checked the report pins exactly that certificate. No
certification authority and no host in between is trusted.
"""

import contextlib
import hashlib
import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from harness.framework.errors import FrameworkError
from harness.framework.evidence import binding
from harness.framework.evidence.bundle import TeeEvidence
from harness.framework.own_keys import certificate_builder, common_name, private_pem
from harness.framework.tee import TeeReport, TeeVerificationError, verify_bound

_DAYS = 30


@dataclass(frozen=True)
class ChannelIdentity:
    """A key made in this process and its self-signed certificate (DER); never written to disk."""

    name: str
    key: ec.EllipticCurvePrivateKey
    certificate: bytes

    @classmethod
    def create(cls, name: str) -> "ChannelIdentity":
        """Make a P-256 key and its certificate; ``name`` is a DNS label."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = common_name(name)
        certificate = (
            certificate_builder(subject, subject, key.public_key(), _DAYS)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(name, key, certificate.public_bytes(serialization.Encoding.DER))

    def private_der(self) -> bytes:
        """The key (SEC 1, DER), for the TLS library of this process."""
        return self.key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )

    @property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo of the key (DER)."""
        return spki_of(self.certificate)


def spki_of(certificate: bytes) -> bytes:
    """SubjectPublicKeyInfo in a certificate (DER). Raises ``FrameworkError``."""
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except ValueError as error:
        raise FrameworkError(f"channel certificate: {error}") from error
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def check_peer(
    certificate: bytes,
    report: TeeEvidence,
    nonce: bytes,
    root: bytes,
    measurements: tuple[bytes, ...],
) -> TeeReport:
    """Check that a measured guest under ``root`` made the certificate's key, for our nonce.

    Raises ``FrameworkError`` with the reason; the channel must then not be opened.
    """
    expected = binding.channel_report_data(spki_of(certificate), nonce)
    try:
        proof = verify_bound(report, root, expected)
    except TeeVerificationError as error:
        raise FrameworkError(f"channel peer: {error}") from error
    if proof.measurement not in measurements:
        raise FrameworkError(
            f"channel peer: launch measurement {proof.measurement.hex()[:16]}… is not accepted"
        )
    return proof


@contextlib.contextmanager
def _pem_in_memory(identity: ChannelIdentity) -> Iterator[str]:
    """A path to key and certificate that exists in memory only: OpenSSL wants a file."""
    certificate = x509.load_der_x509_certificate(identity.certificate)
    pem = private_pem(identity.key) + certificate.public_bytes(serialization.Encoding.PEM)
    descriptor = os.memfd_create("channel", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, pem)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def connect_tls(
    stream: socket.socket, identity: ChannelIdentity, peer: bytes, name: str
) -> ssl.SSLSocket:
    """The pod's end; only the service whose certificate is ``peer`` is spoken to.

    The service's end is ``vtpm_serve_tls`` in serve.c. Raises ``OSError`` when it refuses.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=peer)
    with _pem_in_memory(identity) as path:
        context.load_cert_chain(path)
    return context.wrap_socket(stream, server_hostname=name)


def key_digest(certificate: bytes) -> bytes:
    """SHA-256 of the key's SubjectPublicKeyInfo, as launch claims carry it."""
    return hashlib.sha256(spki_of(certificate)).digest()


def _wrapping_key(shared: bytes, ours: bytes, theirs: bytes) -> AESGCM:
    info = b"attestbench state key v1\0" + ours + theirs
    return AESGCM(HKDF(hashes.SHA256(), 32, salt=None, info=info).derive(shared))


def wrap(secret: bytes, certificate: bytes) -> tuple[bytes, bytes]:
    """Encrypt ``secret`` to the key in ``certificate``: sender's key (X9.62 point), sealed bytes.

    ECDH P-256, HKDF-SHA-256 and AES-256-GCM; each key pair wraps one message, so the nonce is 0.
    """
    recipient = x509.load_der_x509_certificate(certificate).public_key()
    if not isinstance(recipient, ec.EllipticCurvePublicKey):
        raise FrameworkError("key release: expected a P-256 channel key")
    sender = ec.generate_private_key(ec.SECP256R1())
    cipher = _wrapping_key(
        sender.exchange(ec.ECDH(), recipient), _point(sender.public_key()), _point(recipient)
    )
    return _point(sender.public_key()), cipher.encrypt(bytes(12), secret, None)


def unwrap(key: ec.EllipticCurvePrivateKey, sender: bytes, sealed: bytes) -> bytes:
    """The secret of ``wrap``. Raises ``FrameworkError`` when it was not sealed for this key."""
    try:
        peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender)
        cipher = _wrapping_key(key.exchange(ec.ECDH(), peer), sender, _point(key.public_key()))
        return cipher.decrypt(bytes(12), sealed, None)
    except (ValueError, InvalidTag) as error:
        raise FrameworkError("key release: the answer is not sealed for this service") from error


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
