"""Confirmation keys: what ties an attestation result to whoever presents it (RFC 7800, RFC 8747).

Evidence alone can be relayed: who forwards a challenge to a genuine pod gets genuine evidence. So a
pod names a public key of its own, the quote binds it, the result repeats it as the claim ``cnf``,
and whoever relies on the result asks its presenter to prove that it holds that key.
"""

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from harness.framework.errors import ParseError
from harness.framework.evidence import json_text, x509_reading
from harness.framework.evidence.tpm_public import PublicKey

_WHAT = "confirmation key"


def parse_key(der: bytes) -> ec.EllipticCurvePublicKey:
    """A P-256 key, the kind that JWT's ES256 and TLS 1.3 both use.

    Raises:
        ParseError: not the canonical SubjectPublicKeyInfo (DER) of such a key.
    """
    try:
        key = serialization.load_der_public_key(der)
    except x509_reading.MALFORMED as error:
        raise ParseError(_WHAT, f"no SubjectPublicKeyInfo in DER: {error}") from None
    if not (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)):
        raise ParseError(_WHAT, "another kind of key than P-256")
    if encode_key(key) != der:
        raise ParseError(_WHAT, "not in canonical form")
    return key


def encode_key(key: PublicKey) -> bytes:
    """A public key as evidence names it: SubjectPublicKeyInfo in DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def confirmation_claim(der: bytes) -> dict[str, dict[str, str]]:
    """The value of ``cnf``: the key as a JWK (RFC 7517). Raises ParseError as :func:`parse_key`."""
    numbers = parse_key(der).public_numbers()
    x, y = (json_text.base64url(number.to_bytes(32)) for number in (numbers.x, numbers.y))
    return {"jwk": {"kty": "EC", "crv": "P-256", "x": x, "y": y}}
