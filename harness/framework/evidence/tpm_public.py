"""TPMT_PUBLIC and TPMT_SIGNATURE (TPM 2.0 Library Part 2, §12.2.4 and §11.3.4)."""

import hashlib
import struct
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from harness.framework.errors import ParseError
from harness.framework.evidence.reader import Reader

ALG_RSA, ALG_ECC, ALG_NULL = 0x0001, 0x0023, 0x0010
ALG_SHA1, ALG_SHA256, ALG_SHA384, ALG_SHA512 = 0x0004, 0x000B, 0x000C, 0x000D
ALG_RSASSA, ALG_RSAPSS, ALG_ECDSA = 0x0014, 0x0016, 0x0018
_ALG_RSAES, _ALG_ECDAA = 0x0015, 0x001A
FIXED_TPM, FIXED_PARENT, SENSITIVE_DATA_ORIGIN = 1 << 1, 1 << 4, 1 << 5
RESTRICTED, DECRYPT, SIGN = 1 << 16, 1 << 17, 1 << 18

# SHA-1 stays out: a signature or name made with it is refused as unknown.
HASHES: dict[int, tuple[str, type[HashAlgorithm]]] = {
    ALG_SHA256: ("sha256", SHA256),
    ALG_SHA384: ("sha384", SHA384),
    ALG_SHA512: ("sha512", SHA512),
}
_PKCS1 = padding.PKCS1v15()
# Made once: they hold nothing of a signature. The salt of PSS is as long as fits or as the digest,
# by the TPM's choice (Part 1, B.7).
_SIGNED_WITH = {
    hash_id: (kind(), ec.ECDSA(kind()), padding.PSS(padding.MGF1(kind()), padding.PSS.AUTO))
    for hash_id, (_, kind) in HASHES.items()
}
_CURVES: dict[int, ec.EllipticCurve] = {
    0x0003: ec.SECP256R1(),
    0x0004: ec.SECP384R1(),
    0x0005: ec.SECP521R1(),
}
_RSA_BITS = (2048, 3072, 4096)
_RSA_EXPONENT = 65537
_SCHEME = struct.Struct(">HH")
# ECDSA with SHA-256 on P-256, both numbers at full length, as TPMs write them.
_USUAL = struct.Struct(">6s32s2s32s")
_USUAL_START, _USUAL_BETWEEN = bytes.fromhex("0018 000b 0020"), bytes.fromhex("0020")

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class PublicArea(NamedTuple):
    """A TPM key: ``name`` commits to all of it, ``attributes`` are the TPMA_OBJECT bits.

    ``scheme`` and ``scheme_hash`` are algorithm ids, ALG_NULL where the key leaves them open;
    ``spki`` is the key as certificates hold it (SubjectPublicKeyInfo, DER).
    """

    name: bytes
    attributes: int
    scheme: int
    scheme_hash: int
    key: PublicKey
    spki: bytes


class Signature(NamedTuple):
    """A TPMT_SIGNATURE: algorithm ids, and the bytes as ``cryptography`` takes them."""

    scheme: int
    hash_id: int
    value: bytes


def parse_public(raw: bytes) -> PublicArea:
    """Parse a TPMT_PUBLIC of an RSA (2048 to 4096) or NIST-curve key.

    Raises:
        ParseError: truncated, trailing bytes, another kind of key, or a point off its curve.
    """
    reader = Reader(raw, "TPMT_PUBLIC")
    kind, name_hash = reader.u16(), reader.u16()
    attributes = reader.u32()
    reader.sized()  # authPolicy, which the name covers
    if reader.u16() != ALG_NULL:
        reader.take(4)  # key bits and mode of a storage key's cipher
    scheme = reader.u16()
    scheme_hash = ALG_NULL if scheme in (ALG_NULL, _ALG_RSAES) else reader.u16()
    if scheme == _ALG_ECDAA:
        reader.u16()
    if kind == ALG_RSA:
        key: PublicKey = _rsa_key(reader)
    elif kind == ALG_ECC:
        key = _ecc_key(reader)
    else:
        raise ParseError("TPMT_PUBLIC", f"key type {kind:#06x}, expected RSA or ECC")
    reader.end()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PublicArea(_name(raw, name_hash), attributes, scheme, scheme_hash, key, spki)


def parse_signature(raw: bytes) -> Signature:
    """Parse a TPMT_SIGNATURE: RSASSA, RSAPSS or ECDSA. Raises ParseError."""
    if len(raw) == _USUAL.size:  # field by field takes five times as long
        start, r_bytes, between, s_bytes = _USUAL.unpack(raw)
        if (start, between) == (_USUAL_START, _USUAL_BETWEEN):
            value = _der_integer(r_bytes) + _der_integer(s_bytes)
            return Signature(ALG_ECDSA, ALG_SHA256, bytes((0x30, len(value))) + value)
    reader = Reader(raw, "TPMT_SIGNATURE")
    scheme, hash_id = reader.unpack(_SCHEME)
    if scheme in (ALG_RSASSA, ALG_RSAPSS):
        value = reader.sized()
    elif scheme == ALG_ECDSA:
        r, s = (int.from_bytes(reader.sized()) for _ in range(2))
        value = encode_dss_signature(r, s)
    else:
        raise ParseError("TPMT_SIGNATURE", f"scheme {scheme:#06x} is not supported")
    reader.end()
    return Signature(scheme, hash_id, value)


def _der_integer(value: bytes) -> bytes:
    """An unsigned number of at most 32 bytes as DER has it, the shortest way."""
    value = value.lstrip(b"\0")
    if not value or value[0] & 0x80:
        value = b"\0" + value
    return bytes((2, len(value))) + value


def scheme_allowed(public: PublicArea, signature: Signature) -> bool:
    """Whether the key's own scheme and hash are the signature's, or left open."""
    if public.scheme == ALG_NULL:
        return True
    return (public.scheme, public.scheme_hash) == (signature.scheme, signature.hash_id)


def verify_signature(key: PublicKey, message: bytes, signature: Signature) -> bool:
    """Whether ``signature`` is ``key``'s on ``message``; False for SHA-1 or another key type."""
    if signature.hash_id not in HASHES:
        return False
    algorithm, ecdsa, pss = _SIGNED_WITH[signature.hash_id]
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            if signature.scheme != ALG_ECDSA:
                return False
            key.verify(signature.value, message, ecdsa)
        elif signature.scheme == ALG_RSASSA:
            key.verify(signature.value, message, _PKCS1, algorithm)
        elif signature.scheme == ALG_RSAPSS:
            key.verify(signature.value, message, pss, algorithm)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _name(raw: bytes, name_hash: int) -> bytes:
    if name_hash not in HASHES:
        raise ParseError("TPMT_PUBLIC", f"name algorithm {name_hash:#06x} is not supported")
    digest = hashlib.new(HASHES[name_hash][0], raw).digest()
    return name_hash.to_bytes(2) + digest


def _rsa_key(reader: Reader) -> rsa.RSAPublicKey:
    bits, exponent = reader.u16(), reader.u32()
    modulus = int.from_bytes(reader.sized())
    if bits not in _RSA_BITS or modulus.bit_length() != bits:
        raise ParseError("TPMT_PUBLIC", f"RSA key of {bits} bits, expected 2048, 3072 or 4096")
    if exponent not in (0, _RSA_EXPONENT):  # 0 stands for the default
        raise ParseError("TPMT_PUBLIC", f"RSA exponent {exponent}, expected {_RSA_EXPONENT}")
    try:
        return rsa.RSAPublicNumbers(_RSA_EXPONENT, modulus).public_key()
    except ValueError as error:
        raise ParseError("TPMT_PUBLIC", f"not an RSA key: {error}") from None


def _ecc_key(reader: Reader) -> ec.EllipticCurvePublicKey:
    curve_id = reader.u16()
    if reader.u16() != ALG_NULL:
        reader.u16()  # hash of the key derivation scheme
    x, y = (int.from_bytes(reader.sized()) for _ in range(2))
    if curve_id not in _CURVES:
        raise ParseError("TPMT_PUBLIC", f"curve {curve_id:#06x} is not supported")
    try:
        return ec.EllipticCurvePublicNumbers(x, y, _CURVES[curve_id]).public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ParseError("TPMT_PUBLIC", f"not a point of the curve: {error}") from None
