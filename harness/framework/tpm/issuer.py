"""A private key that stays in its TPM, usable where pyca/cryptography signs a certificate.

A restricted key signs only what its own TPM has hashed and found not to begin with
TPM_GENERATED: TPM2_Hash (or a hash sequence) returns a ticket, TPM2_Sign demands it
(TPM 2.0 part 3, 20.2). A certificate signature can therefore never pass for a quote.
"""

from typing import Any, NoReturn

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from tpm2_pytss import ESAPI, ESYS_TR, TPM2_ALG, TPM2B_MAX_BUFFER, TPM2B_PUBLIC, TPMT_PUBLIC

from harness.framework.tpm.keys import NULL_SCHEME, TpmKey

_MAX_HASH_BYTES = 1024


def public_key_of(public_area: bytes) -> Any:
    """The pyca public key in a TPMT_PUBLIC."""
    area, _ = TPMT_PUBLIC.unmarshal(public_area)
    return serialization.load_der_public_key(TPM2B_PUBLIC(publicArea=area).to_der())


class TpmIssuerKey(ec.EllipticCurvePrivateKey):
    """A P-256 signing key in a TPM, restricted or not. Every private accessor refuses."""

    def __init__(self, ectx: ESAPI, key: TpmKey) -> None:
        self._ectx = ectx
        self._key = key
        self._public: ec.EllipticCurvePublicKey = public_key_of(key.public)

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """ECDSA over SHA-256 of ``data``, DER encoded, made by TPM2_Sign."""
        if not isinstance(signature_algorithm.algorithm, hashes.SHA256):
            raise NotImplementedError("this TPM key signs with SHA-256 only")
        digest, ticket = self._hash(bytes(data))
        signature = self._ectx.sign(self._key.handle, digest, NULL_SCHEME, ticket)
        ecdsa = signature.signature.ecdsa
        return encode_dss_signature(
            int.from_bytes(bytes(ecdsa.signatureR), "big"),
            int.from_bytes(bytes(ecdsa.signatureS), "big"),
        )

    def _hash(self, data: bytes) -> tuple[Any, Any]:
        if len(data) <= _MAX_HASH_BYTES:
            digest, ticket = self._ectx.hash(data, TPM2_ALG.SHA256, ESYS_TR.OWNER)
            return digest, ticket
        sequence = self._ectx.hash_sequence_start(b"", TPM2_ALG.SHA256)
        blocks = [data[i : i + _MAX_HASH_BYTES] for i in range(0, len(data), _MAX_HASH_BYTES)]
        for block in blocks[:-1]:
            self._ectx.sequence_update(sequence, TPM2B_MAX_BUFFER(block))
        digest, ticket = self._ectx.sequence_complete(
            sequence, TPM2B_MAX_BUFFER(blocks[-1]), ESYS_TR.OWNER
        )
        return digest, ticket

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public half."""
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        """The key's curve."""
        return self._public.curve

    @property
    def key_size(self) -> int:
        """Bits of the curve's order."""
        return self._public.key_size

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:
        """Refused: a signing key."""
        raise NotImplementedError("this TPM key only signs")

    def private_numbers(self) -> NoReturn:
        """Refused: the key exists in its TPM only."""
        raise NotImplementedError("the private key exists in its TPM only")

    def private_bytes(self, *_: object, **__: object) -> NoReturn:
        """Refused: the key exists in its TPM only."""
        raise NotImplementedError("the private key exists in its TPM only")

    def __copy__(self) -> "TpmIssuerKey":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "TpmIssuerKey":
        return self
