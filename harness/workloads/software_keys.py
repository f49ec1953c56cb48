"""Keys in software that answer as a TPM's would, and certificates of any content for them.

For attesters that need no TPM, and for attacks that only the holder of such a key can mount.
"""

import datetime as dt
import struct

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from harness.framework.evidence.bundle import Quote
from harness.framework.evidence.tpm_public import (
    ALG_ECC,
    ALG_ECDSA,
    ALG_NULL,
    ALG_SHA256,
    FIXED_PARENT,
    FIXED_TPM,
    RESTRICTED,
    SENSITIVE_DATA_ORIGIN,
    SIGN,
)
from harness.framework.own_keys import common_name

Key = ec.EllipticCurvePrivateKey
# userWithAuth and noDA beside what the verifier asks for.
AK_ATTRIBUTES = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | RESTRICTED | SIGN | 0x440
_NIST_P256 = 3
_DAY = dt.timedelta(days=1)


def new_key() -> Key:
    """A P-256 key in software."""
    return ec.generate_private_key(ec.SECP256R1())


def sized(data: bytes) -> bytes:
    """A TPM2B: two bytes of size, then the data."""
    return struct.pack(">H", len(data)) + data


def public_area(key: Key, attributes: int = AK_ATTRIBUTES) -> bytes:
    """The TPMT_PUBLIC that a TPM would have for ``key``."""
    point = key.public_key().public_numbers()
    head = struct.pack(">HHIH", ALG_ECC, ALG_SHA256, attributes, 0)
    scheme = struct.pack(">HHHHH", ALG_NULL, ALG_ECDSA, ALG_SHA256, _NIST_P256, ALG_NULL)
    return head + scheme + sized(point.x.to_bytes(32)) + sized(point.y.to_bytes(32))


def tpm_signature(key: Key, message: bytes) -> bytes:
    """A TPMT_SIGNATURE (ECDSA, SHA-256) by ``key``, which may be in a TPM."""
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    head = struct.pack(">HH", ALG_ECDSA, ALG_SHA256)
    return head + sized(r.to_bytes(32)) + sized(s.to_bytes(32))


def signed_quote(key: Key, attest: bytes) -> Quote:
    """``attest`` as ``key`` would quote it."""
    return Quote(attest, tpm_signature(key, attest))


class CertificateSpec(msgspec.Struct, frozen=True):
    """What a certificate says; ``private`` are extensions by OID."""

    subject: str
    issuer: str
    key: ec.EllipticCurvePublicKey
    signer: Key
    ca: bool = False
    path_length: int | None = None
    cert_sign: bool | None = None
    uris: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    private: tuple[tuple[str, bytes], ...] = ()
    start: dt.timedelta = -_DAY
    end: dt.timedelta = 365 * _DAY
    serial: int = 0

    def der(self, now_s: float) -> bytes:
        """The certificate, valid around ``now_s``."""
        now = dt.datetime.fromtimestamp(now_s, dt.UTC)
        builder = x509.CertificateBuilder(
            subject_name=common_name(self.subject),
            issuer_name=common_name(self.issuer),
            public_key=self.key,
            serial_number=self.serial or x509.random_serial_number(),
            not_valid_before=now + self.start,
            not_valid_after=now + self.end,
        )
        constraints = x509.BasicConstraints(ca=self.ca, path_length=self.path_length)
        builder = builder.add_extension(constraints, critical=True)
        signs = self.ca if self.cert_sign is None else self.cert_sign
        builder = builder.add_extension(_key_usage(signs), critical=True)
        if self.purposes:
            oids = [x509.ObjectIdentifier(oid) for oid in self.purposes]
            builder = builder.add_extension(x509.ExtendedKeyUsage(oids), critical=False)
        if self.uris:
            uris = [x509.UniformResourceIdentifier(uri) for uri in self.uris]
            builder = builder.add_extension(x509.SubjectAlternativeName(uris), critical=False)
        for oid, value in self.private:
            extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.signer, hashes.SHA256()).public_bytes(Encoding.DER)


def _key_usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False,
        key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
