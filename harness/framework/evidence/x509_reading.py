"""What every reader of X.509 certificates and keys from outside asks of them."""

from typing import TypeGuard, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from harness.framework.evidence.tpm_public import PublicKey

HASHES = ("sha256", "sha384", "sha512")
MIN_RSA_BITS = 2048
# cryptography reads much of a certificate only when it is asked for it, so any access can raise.
MALFORMED = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_LONGEST = 200
_E = TypeVar("_E", bound=x509.ExtensionType)


def is_strong(key: object) -> TypeGuard[PublicKey]:
    """Whether a key is RSA of at least 2,048 bits or on P-256, P-384 or P-521."""
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= MIN_RSA_BITS
    return isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES


def extension_of(extensions: x509.Extensions, kind: type[_E]) -> x509.Extension[_E] | None:
    """The extension of that kind, None where there is none."""
    try:
        return extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def is_list_signed_by(crl: x509.CertificateRevocationList, key: object) -> bool:
    """Whether the signature of a revocation list is ``key``'s."""
    if not isinstance(key, PublicKey):
        return False
    try:
        return crl.is_signature_valid(key)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False


def one_line(error: Exception) -> str:
    """An error of cryptography's in one line of bounded length."""
    return " ".join(str(error).split())[:_LONGEST]
