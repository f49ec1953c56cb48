"""X.509 certificates and revocation lists of processor vendors (RFC 5280).

Beside the verifier's own chain, because vendors keep to other profiles: AMD signs with RSA-PSS, and
its leaves have serial number 0 and neither basic constraints nor key usage.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID

from harness.framework.errors import ParseError, PolicyError
from harness.framework.evidence.tpm_public import PublicKey
from harness.framework.evidence.x509_reading import (
    HASHES,
    MALFORMED,
    extension_of,
    is_list_signed_by,
    is_strong,
    one_line,
)
from harness.framework.tee.der import Element, read, sequence

_MAX_CERTIFICATES = 8
_INTEGER, _VERSION = 0x02, 0xA0
_UNDERSTOOD = frozenset(
    oid.dotted_string for oid in (ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE)
)

Scheme = padding.PSS | ec.ECDSA


class VendorCertificate(NamedTuple):
    """A parsed certificate: names as DER, times in seconds since 1970, extensions by dotted OID.

    ``signed`` are the bytes that the issuer signs, ``critical`` the OIDs marked so.
    ``path_length`` is None for no limit.
    """

    der: bytes
    signed: bytes
    signature: bytes
    scheme: Scheme
    digest: HashAlgorithm
    subject: bytes
    common_name: str
    issuer: bytes
    serial: int
    not_before_s: float
    not_after_s: float
    issues: bool
    signs_lists: bool
    path_length: int | None
    key: PublicKey
    spki: bytes
    extensions: Mapping[str, bytes]
    critical: frozenset[str]


class ChainError(Exception):
    """A chain doesn't hold; ``check`` is ``chain``, ``validity``, ``revoked`` or ``crl``."""

    def __init__(self, check: str, detail: str) -> None:
        super().__init__(detail)
        self.check = check
        self.detail = detail


def split(certificates: bytes) -> tuple[bytes, ...]:
    """The DER certificates of a concatenation, at most eight. Raises ParseError."""
    found: list[bytes] = []
    at = 0
    while at < len(certificates):
        if len(found) == _MAX_CERTIFICATES:
            raise ParseError("certificates", f"more than {_MAX_CERTIFICATES}")
        element = read(certificates, at, "certificates")
        found.append(certificates[at : element.end])
        at = element.end
    return tuple(found)


@lru_cache(maxsize=256)
def parse(der: bytes) -> VendorCertificate:
    """Read one certificate. Raises ParseError: malformed, or a weak or unknown key or signature."""
    body, algorithm, signature = _parts(der)
    # Nobody signs the count of unused bits, so it must not be one that could be another.
    if signature.content_of(der)[:1] != b"\0":
        raise ParseError("certificate", "the signature has unused bits")
    signed = der[body.start : body.end]
    fields = list(sequence(signed, "certificate"))
    at = 1 if fields and fields[0].tag == _VERSION else 0
    if len(fields) < at + 2 or fields[at].tag != _INTEGER:
        raise ParseError("certificate", "has no serial number")
    # What is signed names the algorithm again; nobody signs the outer name.
    if fields[at + 1].of(signed) != algorithm.of(der):
        raise ParseError("certificate", "names two signature algorithms")
    serial = fields[at].content_of(signed)
    try:
        return _facts(der, signed, _readable(der, body.start + fields[at].content, serial), serial)
    except MALFORMED as error:
        raise ParseError("certificate", one_line(error)) from None


def parse_root(der: bytes) -> VendorCertificate:
    """A root that a policy names.

    Raises:
        PolicyError: it can't be read.
    """
    try:
        return parse(der)
    except ParseError as error:
        raise PolicyError(f"policy: tee_roots: {error}") from None


def parse_list(der: bytes) -> x509.CertificateRevocationList:
    """Read a revocation list. Raises ParseError: malformed, not understood, or without an end."""
    try:
        crl = x509.load_der_x509_crl(der)
        if crl.next_update_utc is None:
            raise ParseError("revocation list", "has no next update")
        if critical := [ext.oid.dotted_string for ext in crl.extensions if ext.critical]:
            raise ParseError("revocation list", f"critical extensions {', '.join(critical)}")
    except MALFORMED as error:
        raise ParseError("revocation list", one_line(error)) from None
    return crl


def check_dates(
    path: Sequence[VendorCertificate],
    lists: Sequence[x509.CertificateRevocationList],
    now_s: float,
    *,
    require_lists: bool,
) -> None:
    """Check that nothing of ``path`` (leaf first, root last) is out of date or revoked.

    With ``require_lists`` each issuer that may sign lists must have one.

    Raises:
        ChainError: the first check that failed.
    """
    for certificate in path:
        if not certificate.not_before_s <= now_s <= certificate.not_after_s:
            raise ChainError(
                "validity",
                f"certificate {certificate.common_name!r} is valid from "
                f"{certificate.not_before_s:.0f} to {certificate.not_after_s:.0f}, it is "
                f"{now_s:.0f}",
            )
    for child, issuer in pairwise(path):
        own = [crl for crl in lists if crl.issuer.public_bytes() == issuer.subject]
        # AMD's intermediates may not sign lists, so there is none of theirs to wait for.
        if require_lists and issuer.signs_lists and not own:
            raise ChainError("crl", f"no revocation list of {issuer.common_name!r}")
        for crl in own:
            _check_list(crl, issuer, now_s)
            if crl.get_revoked_certificate_by_serial_number(child.serial) is not None:
                raise ChainError("revoked", f"certificate {child.common_name!r} is revoked")


def check_signatures(path: Sequence[VendorCertificate]) -> None:
    """Check that each of ``path``, leaf first, is issued by the next one, the last one by itself.

    Raises:
        ChainError: a name, signature, issuer's right or critical extension is wrong.
    """
    # From the root down, so that no key is used before it is known to be the vendor's.
    last = len(path) - 1
    for depth in range(last, -1, -1):
        child, issuer = path[depth], path[min(depth + 1, last)]
        # The root, which stands above itself, has as many issuers below it as above the leaf.
        below = min(depth, last - 1)
        problem = None
        if not is_signed_by(child, issuer):
            problem = f"is not signed by {issuer.common_name!r}"
        elif not issuer.issues:
            problem = f"is issued by {issuer.common_name!r}, which may not issue certificates"
        elif issuer.path_length is not None and issuer.path_length < below:
            problem = f"is too far below {issuer.common_name!r}"
        elif unknown := sorted(child.critical - _UNDERSTOOD):
            problem = f"has critical extensions {', '.join(unknown)}"
        if problem is not None:
            raise ChainError("chain", f"certificate {child.common_name!r} {problem}")


def is_signed_by(child: VendorCertificate, issuer: VendorCertificate) -> bool:
    """Whether the names chain and the signature is the issuer's."""
    if child.issuer != issuer.subject:
        return False
    key, scheme = issuer.key, child.scheme
    try:
        if isinstance(key, rsa.RSAPublicKey) and isinstance(scheme, padding.PSS):
            key.verify(child.signature, child.signed, scheme, child.digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(scheme, ec.ECDSA):
            key.verify(child.signature, child.signed, scheme)
        else:
            return False
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True


def _parts(der: bytes) -> tuple[Element, Element, Element]:
    parts = tuple(sequence(der, "certificate"))
    if len(parts) != 3:
        raise ParseError("certificate", f"{len(parts)} parts, expected 3")
    return parts


def _readable(der: bytes, at: int, serial: bytes) -> x509.Certificate:
    """The certificate for reading: ``cryptography`` is going to refuse serial numbers below 1."""
    if int.from_bytes(serial, signed=True) < 1:
        der = der[:at] + b"\1" + der[at + 1 :]
    return x509.load_der_x509_certificate(der)


def _facts(
    der: bytes, signed: bytes, certificate: x509.Certificate, serial: bytes
) -> VendorCertificate:
    extensions = certificate.extensions
    basic = extension_of(extensions, x509.BasicConstraints)
    usage = extension_of(extensions, x509.KeyUsage)
    key = _strong_key(certificate)
    scheme, digest = _algorithm(certificate)
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return VendorCertificate(
        der=der,
        signed=signed,
        signature=certificate.signature,
        scheme=scheme,
        digest=digest,
        subject=certificate.subject.public_bytes(),
        common_name=str(names[0].value) if names else "",
        issuer=certificate.issuer.public_bytes(),
        serial=int.from_bytes(serial, signed=True),
        not_before_s=certificate.not_valid_before_utc.timestamp(),
        not_after_s=certificate.not_valid_after_utc.timestamp(),
        issues=bool(basic and basic.value.ca and usage and usage.value.key_cert_sign),
        signs_lists=bool(usage and usage.value.crl_sign),
        path_length=basic.value.path_length if basic else None,
        key=key,
        spki=key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        extensions={
            ext.oid.dotted_string: ext.value.value
            for ext in extensions
            if isinstance(ext.value, x509.UnrecognizedExtension)
        },
        critical=frozenset(ext.oid.dotted_string for ext in extensions if ext.critical),
    )


def _strong_key(certificate: x509.Certificate) -> PublicKey:
    key = certificate.public_key()
    if is_strong(key):
        return key
    raise ParseError("certificate", "the key is neither RSA of 2048 bits nor on a NIST curve")


def _algorithm(certificate: x509.Certificate) -> tuple[Scheme, HashAlgorithm]:
    scheme = certificate.signature_algorithm_parameters
    digest = certificate.signature_hash_algorithm
    if digest is None or digest.name not in HASHES:
        raise ParseError("certificate", "is signed with a weak or unknown hash")
    if not isinstance(scheme, padding.PSS | ec.ECDSA):
        raise ParseError("certificate", "is signed with neither RSA-PSS nor ECDSA")
    return scheme, digest


def _check_list(
    crl: x509.CertificateRevocationList, issuer: VendorCertificate, now_s: float
) -> None:
    if not (issuer.signs_lists and is_list_signed_by(crl, issuer.key)):
        raise ChainError("crl", f"the list of {issuer.common_name!r} is not signed by it")
    start, end = crl.last_update_utc, crl.next_update_utc
    if end is None or not start.timestamp() <= now_s <= end.timestamp():
        raise ChainError("crl", f"the list of {issuer.common_name!r} is not in date")
