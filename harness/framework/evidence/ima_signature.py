"""Signatures of files in IMA lists (security.ima), as the kernel's appraisal checks them.

Version 2 is over the file's digest, version 3 over a structure that says of which kind the digest
is (of an fs-verity tree). A signature says who signed the content, nothing about its path.
"""

import hashlib
import struct
from collections.abc import Iterable
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from harness.framework.errors import ParseError
from harness.framework.evidence.ima_log import DIGEST_OF_TREE
from harness.framework.evidence.tpm_public import PublicKey
from harness.framework.evidence.x509_reading import is_strong

MAX_KEY_SIZE = 16384

_WHAT = "IMA signature"
_HEADER = struct.Struct(">BBBIH")  # type, version, hash, key id, size of the signature
_DIGSIG, _VERITY_DIGSIG = 0x03, 0x06
_VERSION_OF = {_DIGSIG: 2, _VERITY_DIGSIG: 3}
# The kernel's enum hash_algo; older ones are too weak to sign with.
_HASHES: dict[int, hashes.HashAlgorithm] = {
    4: hashes.SHA256(),
    5: hashes.SHA384(),
    6: hashes.SHA512(),
}
_MALFORMED = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)


class FileSignature(NamedTuple):
    """A signature taken apart; ``key_id`` are the last four bytes of the key's identifier."""

    of_tree: bool
    hash_id: int
    key_id: int
    signature: bytes


class NamedKey(NamedTuple):
    """A key and the id by which signatures name it."""

    key: PublicKey
    key_id: int


def parse(raw: bytes) -> FileSignature:
    """Read security.ima. Raises ParseError for anything but a version 2 or 3 signature."""
    if len(raw) < _HEADER.size:
        raise ParseError(_WHAT, f"{len(raw)} bytes, expected a header of {_HEADER.size}")
    kind, version, hash_id, key_id, size = _HEADER.unpack_from(raw)
    if _VERSION_OF.get(kind) != version:
        raise ParseError(_WHAT, f"type {kind}, version {version}, expected 3/2 or 6/3")
    if hash_id not in _HASHES:
        raise ParseError(_WHAT, f"hash {hash_id}, expected SHA-256, SHA-384 or SHA-512 (4, 5, 6)")
    signature = raw[_HEADER.size :]
    if len(signature) != size:
        raise ParseError(_WHAT, f"{len(signature)} bytes of signature, its header says {size}")
    return FileSignature(kind == _VERITY_DIGSIG, hash_id, key_id, signature)


def load_key(data: bytes) -> NamedKey | None:
    """A certificate or public key, DER or PEM; None if it is neither.

    The id is the certificate's subject key identifier, or else the SHA-1 of the key as RFC 5280
    counts it. Validity and issuer of a certificate are not looked at, as in the kernel.

    Raises:
        ParseError: a key of a kind or size that can't be accepted.
    """
    if len(data) > MAX_KEY_SIZE:
        return None
    for load in (_certificate, _public_key):
        try:
            loaded, key_id = load(data)
        except _MALFORMED:
            continue
        key = _strong(loaded)
        return NamedKey(key, key_id if key_id is not None else _computed_id(key))
    return None


class KeyRing:
    """The keys that file signatures may be by; bounded by what a policy names."""

    def __init__(self, keys: Iterable[NamedKey] = ()) -> None:
        self._keys: dict[int, list[PublicKey]] = {}
        for key in keys:
            self.add(key)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def add(self, key: NamedKey) -> None:
        """Accept signatures by ``key`` from now on."""
        known = self._keys.setdefault(key.key_id, [])
        if key.key not in known:
            known.append(key.key)

    def problem(self, raw: bytes, algorithm: str, digest: bytes, digest_of: str) -> str | None:
        """Why ``raw`` is no signature by one of the keys over a file's digest; None if it is."""
        try:
            signature = parse(raw)
        except ParseError as error:
            return str(error)
        used = _HASHES[signature.hash_id]
        if algorithm != used.name or len(digest) != used.digest_size:
            return f"the signature is over {used.name}, the digest is {algorithm}"
        if signature.of_tree != (digest_of == DIGEST_OF_TREE):
            return "the signature is over another kind of digest"
        if signature.of_tree:
            file_id = bytes([_VERITY_DIGSIG, signature.hash_id]) + digest
            digest = hashlib.new(used.name, file_id).digest()
        keys = self._keys.get(signature.key_id, [])
        if any(_is_signed(key, signature.signature, digest, used) for key in keys):
            return None
        what = "the signature is wrong" if keys else "no such key"
        return f"key {signature.key_id:08x}: {what}"


def _is_signed(
    key: PublicKey, signature: bytes, digest: bytes, algorithm: hashes.HashAlgorithm
) -> bool:
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, digest, padding.PKCS1v15(), Prehashed(algorithm))
        else:
            key.verify(signature, digest, ec.ECDSA(Prehashed(algorithm)))
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True


Loaded = tuple[object, int | None]


def _certificate(data: bytes) -> Loaded:
    pem = data.startswith(b"-----BEGIN")
    load = x509.load_pem_x509_certificate if pem else x509.load_der_x509_certificate
    certificate = load(data)
    try:
        identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return certificate.public_key(), None
    digest = identifier.value.digest
    return certificate.public_key(), int.from_bytes(digest[-4:]) if len(digest) >= 4 else None


def _public_key(data: bytes) -> Loaded:
    pem = data.startswith(b"-----BEGIN")
    load = serialization.load_pem_public_key if pem else serialization.load_der_public_key
    return load(data), None


def _strong(key: object) -> PublicKey:
    if is_strong(key):
        return key
    raise ParseError("IMA key", "expected RSA from 2048 bits, or ECDSA on P-256, P-384 or P-521")


def _computed_id(key: PublicKey) -> int:
    if isinstance(key, rsa.RSAPublicKey):
        shown = key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    else:
        shown = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return int.from_bytes(hashlib.sha1(shown).digest()[-4:])  # noqa: S324 - an identifier
