"""SM2 signatures with SM3 (GB/T 32918.2, 32905), as Hygon's secure processor makes them.

The system's libcrypto does the arithmetic through ctypes, because the one that ``cryptography``
bundles has no SM2. Where libcrypto lacks it too, plain Python gives the same answers five times
slower. Points are 64 bytes (x then y), integers big-endian.
"""

import secrets
from functools import cache
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes, hmac

from harness.framework.tee import sm2_curve, sm2_openssl
from harness.framework.tee.sm2_curve import G, N


class Signature(NamedTuple):
    """The two integers of an SM2 signature."""

    r: int
    s: int


class PrivateKey(NamedTuple):
    """A key pair: ``secret`` in 1..n-2, ``public`` its 64-byte point."""

    secret: int
    public: bytes


def sm3(data: bytes) -> bytes:
    """SM3 digest: 32 bytes."""
    context = hashes.Hash(hashes.SM3())
    context.update(data)
    return context.finalize()


def hmac_sm3(key: bytes, data: bytes) -> bytes:
    """HMAC with SM3: 32 bytes."""
    context = hmac.HMAC(key, hashes.SM3())
    context.update(data)
    return context.finalize()


def generate() -> PrivateKey:
    """A fresh key pair from the operating system's randomness."""
    secret = 1 + secrets.randbelow(N - 2)
    return PrivateKey(secret, sm2_curve.encode(sm2_curve.multiply(secret, G)))


def sign(key: PrivateKey, user_id: bytes, message: bytes) -> Signature:
    """Sign ``message`` under the signer's ``user_id``."""
    if available():
        return Signature(*sm2_openssl.sign(key.secret, key.public, user_id, message))
    return sign_python(key, user_id, message)


def sign_python(key: PrivateKey, user_id: bytes, message: bytes) -> Signature:
    """:func:`sign` without libcrypto.

    Not hardened against timing: only the software secure processor signs, and its host already has
    the key.
    """
    e = int.from_bytes(_digest(key.public, user_id, message))
    while True:
        k = 1 + secrets.randbelow(N - 1)
        x1, _ = sm2_curve.multiply(k, G)
        r = (e + x1) % N
        s = pow(1 + key.secret, -1, N) * (k - r * key.secret) % N
        if r and s and r + k != N:
            return Signature(r, s)


def verify(public: bytes, user_id: bytes, message: bytes, signature: Signature) -> bool:
    """Whether ``signature`` is ``public``'s on ``message``; False for a point off the curve."""
    if not (0 < signature.r < N and 0 < signature.s < N):
        return False
    if available():
        return sm2_openssl.verify(public, user_id, message, signature.r, signature.s)
    return verify_python(public, user_id, message, signature)


def verify_python(public: bytes, user_id: bytes, message: bytes, signature: Signature) -> bool:
    """:func:`verify` without libcrypto."""
    r, s = signature
    point = sm2_curve.decode(public)
    t = (r + s) % N
    if point is None or not (0 < r < N and 0 < s < N) or t == 0:
        return False
    result = sm2_curve.combine(s, t, point)
    if result is None:
        return False
    e = int.from_bytes(_digest(public, user_id, message))
    return (e + result[0]) % N == r


@cache
def available() -> bool:
    """Whether the system's libcrypto can verify SM2, found by trying a known signature."""
    return sm2_openssl.load() is not None and sm2_openssl.verify(
        _KNOWN_PUBLIC, b"1234567812345678", b"message digest", *_KNOWN_SIGNATURE
    )


def _digest(public: bytes, user_id: bytes, message: bytes) -> bytes:
    """SM3(ZA || message), ZA binding the signer's id and key (GB/T 32918.2 §5.5)."""
    bits = (8 * len(user_id)).to_bytes(2)
    return sm3(sm3(bits + user_id + sm2_curve.PARAMETERS + public) + message)


# The example of GM/T 0003.5-2012, annex A, on the recommended curve.
_KNOWN_PUBLIC = bytes.fromhex(
    "09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020"
    "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13"
)
_KNOWN_SIGNATURE = Signature(
    0xF5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3,
    0xB1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA,
)
