"""SM2 signatures by the system's libcrypto (OpenSSL 3), through ctypes."""

import ctypes
import ctypes.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

# SubjectPublicKeyInfo for id-ecPublicKey on curve 1.2.156.10197.1.301, up to the 64-byte point.
_SPKI_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d03420004")
# PrivateKeyInfo on the same curve, up to the 32-byte secret; then what stands before the point.
_PKCS8_PREFIX = bytes.fromhex(
    "308187020100301306072a8648ce3d020106082a811ccf5501822d046d306b0201010420"
)
_PKCS8_PUBLIC = bytes.fromhex("a14403420004")
_MAX_SIGNATURE = 128
_POINTER = ctypes.c_void_p
_SIZE = ctypes.c_size_t
_SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "d2i_PUBKEY": (_POINTER, [_POINTER, _POINTER, ctypes.c_long]),
    "d2i_AutoPrivateKey": (_POINTER, [_POINTER, _POINTER, ctypes.c_long]),
    "EVP_PKEY_free": (None, [_POINTER]),
    "EVP_PKEY_CTX_new": (_POINTER, [_POINTER, _POINTER]),
    "EVP_PKEY_CTX_free": (None, [_POINTER]),
    "EVP_PKEY_CTX_set1_id": (ctypes.c_int, [_POINTER, ctypes.c_char_p, ctypes.c_int]),
    "EVP_MD_CTX_new": (_POINTER, []),
    "EVP_MD_CTX_free": (None, [_POINTER]),
    "EVP_MD_CTX_set_pkey_ctx": (None, [_POINTER, _POINTER]),
    "EVP_sm3": (_POINTER, []),
    "EVP_DigestVerifyInit": (ctypes.c_int, [_POINTER] * 5),
    "EVP_DigestVerify": (
        ctypes.c_int,
        [_POINTER, ctypes.c_char_p, _SIZE, ctypes.c_char_p, _SIZE],
    ),
    "EVP_DigestSignInit": (ctypes.c_int, [_POINTER] * 5),
    "EVP_DigestSign": (
        ctypes.c_int,
        [_POINTER, ctypes.c_char_p, _POINTER, ctypes.c_char_p, _SIZE],
    ),
    "ERR_clear_error": (None, []),
}


@cache
def load() -> ctypes.CDLL | None:
    """The library with its prototypes set, or None when it or a function in it is missing."""
    name = ctypes.util.find_library("crypto") or "libcrypto.so.3"
    try:
        library = ctypes.CDLL(name)
        for function, (result, arguments) in _SIGNATURES.items():
            entry = getattr(library, function)
            entry.restype, entry.argtypes = result, arguments
    except (OSError, AttributeError):
        return None
    return library


def verify(public: bytes, user_id: bytes, message: bytes, r: int, s: int) -> bool:
    """Whether the signature verifies; False for a bad point. Needs :func:`load` to succeed."""
    library = _library()
    signature = encode_dss_signature(r, s)
    with _key(library.d2i_PUBKEY, _SPKI_PREFIX + public) as key:
        if not key:
            return False
        with _digest(library.EVP_DigestVerifyInit, key, user_id) as digest:
            return bool(
                digest
                and library.EVP_DigestVerify(
                    digest, signature, len(signature), message, len(message)
                )
                == 1
            )


def sign(secret: int, public: bytes, user_id: bytes, message: bytes) -> tuple[int, int]:
    """The signature's r and s. Needs :func:`load` to succeed; ValueError for a bad key."""
    library = _library()
    der = _PKCS8_PREFIX + secret.to_bytes(32) + _PKCS8_PUBLIC + public
    buffer, size = ctypes.create_string_buffer(_MAX_SIGNATURE), _SIZE(_MAX_SIGNATURE)
    with _key(library.d2i_AutoPrivateKey, der) as key:
        if not key:
            raise ValueError("not a private key on the SM2 curve")
        with _digest(library.EVP_DigestSignInit, key, user_id) as digest:
            if not digest or not library.EVP_DigestSign(
                digest, buffer, ctypes.byref(size), message, len(message)
            ):
                raise ValueError("libcrypto cannot sign with SM2")
    return decode_dss_signature(buffer.raw[: size.value])


def _library() -> ctypes.CDLL:
    library = load()
    if library is None:
        raise ValueError("the system has no libcrypto (OpenSSL 3) with SM2")
    return library


@contextmanager
def _key(read: Callable[..., int | None], der: bytes) -> Iterator[int | None]:
    """The EVP_PKEY that ``read`` makes of ``der``, or None when it refuses."""
    library = _library()
    buffer = ctypes.c_char_p(der)
    key = read(None, ctypes.byref(buffer), len(der))
    try:
        yield key
    finally:
        library.EVP_PKEY_free(key)
        # A refusal leaves errors behind that another user of libcrypto would find.
        library.ERR_clear_error()


@contextmanager
def _digest(start: Callable[..., int], key: int, user_id: bytes) -> Iterator[int | None]:
    """A digest context that ``start`` made ready for ``key``, or None when it refuses."""
    library = _library()
    context = library.EVP_PKEY_CTX_new(key, None)
    digest = library.EVP_MD_CTX_new()
    try:
        # The id must be set before the digest starts, since ZA is the first thing hashed.
        named = library.EVP_PKEY_CTX_set1_id(context, user_id, len(user_id)) > 0
        library.EVP_MD_CTX_set_pkey_ctx(digest, context)
        ready = named and start(digest, None, library.EVP_sm3(), None, key) == 1
        yield digest if ready else None
    finally:
        library.EVP_MD_CTX_free(digest)
        library.EVP_PKEY_CTX_free(context)
