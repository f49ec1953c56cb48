"""X.509 certificates and revocation lists, reduced to the facts that a chain check needs."""

import hashlib
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID

from harness.framework.errors import ParseError
from harness.framework.evidence import binding
from harness.framework.evidence.binding import HostBinding, LaunchBinding
from harness.framework.evidence.x509_reading import (
    HASHES,
    MALFORMED,
    extension_of,
    is_list_signed_by,
    is_strong,
    one_line,
)

_B = TypeVar("_B", LaunchBinding, HostBinding)

_UNDERSTOOD = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    x509.ObjectIdentifier(binding.LAUNCH_OID),
    x509.ObjectIdentifier(binding.HOST_OID),
}


class CertificateFacts(NamedTuple):
    """A parsed certificate. Times are seconds since 1970; extensions are None when absent.

    ``path_length`` is None for no limit, ``names`` are all subject alternative names as text,
    ``strong`` says whether its key and signature algorithm are accepted.
    """

    sha256: bytes
    certificate: x509.Certificate
    subject: bytes
    issuer: bytes
    not_before_s: float
    not_after_s: float
    is_ca: bool
    path_length: int | None
    usage: x509.KeyUsage | None
    usage_critical: bool
    purposes: tuple[str, ...]
    names: tuple[str, ...]
    launch: LaunchBinding | None
    host: HostBinding | None
    not_understood: tuple[str, ...]
    strong: bool
    spki: bytes


class RevocationFacts(NamedTuple):
    """A parsed revocation list: ``issuer`` as DER, ``revoked`` serial numbers."""

    sha256: bytes
    crl: x509.CertificateRevocationList
    issuer: bytes
    last_update_s: float
    next_update_s: float
    revoked: frozenset[int]
    not_understood: tuple[str, ...]


def parse_certificate(der: bytes) -> CertificateFacts:
    """Read a certificate, our own extensions included. Raises ParseError."""
    try:
        return _certificate_facts(der)
    except MALFORMED as error:
        raise ParseError("certificate", one_line(error)) from None


def parse_revocation_list(der: bytes) -> RevocationFacts:
    """Read a revocation list; one without a next update is refused. Raises ParseError."""
    try:
        return _revocation_facts(der)
    except MALFORMED as error:
        raise ParseError("revocation list", one_line(error)) from None


def is_issued_by(certificate: CertificateFacts, issuer: CertificateFacts) -> bool:
    """Whether the names chain and the signature is the issuer's."""
    try:
        certificate.certificate.verify_directly_issued_by(issuer.certificate)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def is_list_of(revocation: RevocationFacts, issuer: CertificateFacts) -> bool:
    """Whether the list is signed by ``issuer``."""
    return is_list_signed_by(revocation.crl, issuer.certificate.public_key())


def _certificate_facts(der: bytes) -> CertificateFacts:
    certificate = x509.load_der_x509_certificate(der)
    # Otherwise the count of unused bits, which nobody signs, could be changed in some certificates.
    if not der.endswith(b"\0" + certificate.signature):
        raise ParseError("certificate", "the signature has unused bits, expected whole bytes")
    extensions = certificate.extensions
    key = certificate.public_key()
    digest = certificate.signature_hash_algorithm
    basic = extension_of(extensions, x509.BasicConstraints)
    usage = extension_of(extensions, x509.KeyUsage)
    purposes = extension_of(extensions, x509.ExtendedKeyUsage)
    names = extension_of(extensions, x509.SubjectAlternativeName)
    return CertificateFacts(
        sha256=hashlib.sha256(der).digest(),
        certificate=certificate,
        subject=certificate.subject.public_bytes(),
        issuer=certificate.issuer.public_bytes(),
        not_before_s=certificate.not_valid_before_utc.timestamp(),
        not_after_s=certificate.not_valid_after_utc.timestamp(),
        is_ca=basic is not None and basic.value.ca,
        path_length=basic.value.path_length if basic else None,
        usage=usage.value if usage else None,
        usage_critical=usage is not None and usage.critical,
        purposes=tuple(oid.dotted_string for oid in purposes.value) if purposes else (),
        names=tuple(_name_text(name) for name in names.value) if names else (),
        launch=_private(extensions, binding.LAUNCH_OID, binding.decode_launch_binding),
        host=_private(extensions, binding.HOST_OID, binding.decode_host_binding),
        not_understood=_not_understood(extensions),
        strong=is_strong(key) and digest is not None and digest.name in HASHES,
        spki=key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    )


def _revocation_facts(der: bytes) -> RevocationFacts:
    crl = x509.load_der_x509_crl(der)
    if crl.next_update_utc is None:
        raise ParseError("revocation list", "has no next update")
    return RevocationFacts(
        sha256=hashlib.sha256(der).digest(),
        crl=crl,
        issuer=crl.issuer.public_bytes(),
        last_update_s=crl.last_update_utc.timestamp(),
        next_update_s=crl.next_update_utc.timestamp(),
        revoked=frozenset(entry.serial_number for entry in crl),
        not_understood=tuple(ext.oid.dotted_string for ext in crl.extensions if ext.critical),
    )


def _private(extensions: x509.Extensions, oid: str, decode: Callable[[bytes], _B]) -> _B | None:
    for extension in extensions:
        value = extension.value
        if extension.oid.dotted_string == oid and isinstance(value, x509.UnrecognizedExtension):
            return decode(value.value)
    return None


def _not_understood(extensions: x509.Extensions) -> tuple[str, ...]:
    return tuple(
        extension.oid.dotted_string
        for extension in extensions
        if extension.critical and extension.oid not in _UNDERSTOOD
    )


def _name_text(name: x509.GeneralName) -> str:
    return name.value if isinstance(name, x509.UniformResourceIdentifier) else repr(name)
