"""What the host does with its hardware TPM (design §5).

The restricted attestation key issues vTPM certificates itself: it signs only what its own TPM
hashed and what does not begin with TPM_GENERATED. The variant with a separate, unrestricted
issuing key is its own arm.
"""

import datetime
import secrets
from typing import Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from tpm2_pytss import ESAPI, ESYS_TR, TPMS_ATTEST

from harness.framework.authority import Authority, HostKeys
from harness.framework.errors import FrameworkError
from harness.framework.evidence import binding, bundle
from harness.framework.evidence.bundle import LaunchClaims, Quote
from harness.framework.evidence.tpm_public import (
    parse_public,
    parse_signature,
    verify_signature,
)
from harness.framework.tpm import keys
from harness.framework.tpm.issuer import TpmIssuerKey, public_key_of
from harness.framework.tpm.keys import TpmKey

Issuer = Literal["attestation-key", "issuing-key"]
_RSA_EK_HANDLE = 0x81010001
_RSA_EK_CERTIFICATE = 0x01C00002
_NV_CHUNK = 512
_LEAF_DAYS = 90
_SIGNS = x509.KeyUsage(
    digital_signature=True, content_commitment=False, key_encipherment=False,
    data_encipherment=False, key_agreement=False, key_cert_sign=False, crl_sign=False,
    encipher_only=False, decipher_only=False,
)  # fmt: skip
PLATFORM_PCRS = tuple(range(8))


class Pending(msgspec.Struct, frozen=True):
    """An issuance that waits for the proof that the AK is in the vTPM."""

    instance: str
    ak_public: bytes
    ak_name: bytes
    ek_name: bytes
    nonce: bytes
    secret: bytes
    credential: bytes
    encrypted: bytes


class HardwareTpm:
    """An enrolled host's TPM over an open ESAPI context."""

    def __init__(self, ectx: ESAPI, issuer: Issuer, chain: dict[str, bytes]) -> None:
        self._ectx = ectx
        self._ak = keys.persistent_key(ectx, keys.AK_HANDLE)
        where = keys.AK_HANDLE if issuer == "attestation-key" else keys.ISSUING_KEY_HANDLE
        self._issuer = TpmIssuerKey(ectx, keys.persistent_key(ectx, where))
        self._certificate = x509.load_der_x509_certificate(chain[issuer])

    @property
    def ak_name(self) -> bytes:
        """TPM Name of the host's attestation key."""
        return self._ak.name

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The certificates between a vTPM's and the authority's root (DER)."""
        return (self._certificate.public_bytes(Encoding.DER),)

    def begin(self, instance: str, ak_public: bytes, ak_name: bytes, ek_public: bytes) -> Pending:
        """Check the key that asks for a certificate and challenge the TPM it claims to be in.

        Raises ``FrameworkError`` for a key that may not attest.
        """
        problem = keys.area_is_attestation_key(ak_public, ak_name)
        if problem:
            raise FrameworkError(f"instance {instance}: attestation key refused: {problem}")
        secret = secrets.token_bytes(32)
        credential, encrypted = keys.make_credential(ek_public, ak_name, secret)
        ek_name = keys.name_of(ek_public)
        return Pending(
            instance,
            ak_public,
            ak_name,
            ek_name,
            secrets.token_bytes(32),
            secret,
            credential,
            encrypted,
        )

    def issue(
        self,
        pending: Pending,
        answer: bytes,
        claims: LaunchClaims,
        report: bytes,
        measurement: bytes,
    ) -> bytes:
        """The vTPM's AK certificate (DER), signed inside the hardware TPM.

        Raises ``FrameworkError`` when the credential was not activated or the claims differ from
        what was begun.
        """
        if not secrets.compare_digest(pending.secret, answer):
            raise FrameworkError(
                f"instance {pending.instance}: the attestation key is not in the vTPM it names"
            )
        expected = (pending.instance, pending.ak_name, pending.ek_name, self.ak_name, pending.nonce)
        if expected != (
            claims.instance, claims.ak_name, claims.ek_name, claims.host_ak_name, claims.nonce,
        ):  # fmt: skip
            raise FrameworkError(f"instance {pending.instance}: launch claims are for another key")
        now = datetime.datetime.now(datetime.UTC)
        launch = bundle.encode(binding.launch_binding(claims, report, measurement))
        name = x509.NameAttribute(x509.NameOID.COMMON_NAME, f"vTPM {claims.instance}"[:64])
        uri = x509.UniformResourceIdentifier(binding.INSTANCE_URI_PREFIX + claims.instance)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([name]))
            .issuer_name(self._certificate.subject)
            .public_key(public_key_of(pending.ak_public))
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=_LEAF_DAYS))
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._issuer.public_key()),
                critical=False,
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_SIGNS, critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([x509.ObjectIdentifier(binding.AIK_EKU_OID)]), critical=False
            )
            .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
            .add_extension(
                x509.UnrecognizedExtension(x509.ObjectIdentifier(binding.LAUNCH_OID), launch),
                critical=False,
            )
            .sign(self._issuer, hashes.SHA256())
        )
        return certificate.public_bytes(Encoding.DER)

    def quote(self, qualifier: bytes) -> Quote:
        """A quote of the host's own PCRs, for deep attestation."""
        attest, signature = keys.quote(self._ectx, self._ak.handle, qualifier, PLATFORM_PCRS)
        return Quote(attest=attest, signature=signature)


def enrol(
    ectx: ESAPI, host: str, authority: Authority, manufacturer: tuple[bytes, bytes]
) -> dict[str, bytes]:
    """Make the host's keys and have the authority certify both issuers (DER by issuer).

    ``manufacturer`` is the issuing certificate of the EK's and its root.
    """
    ek = keys.persistent_key(ectx, _RSA_EK_HANDLE)
    storage = keys.create_storage_key(ectx)
    ak = keys.create_signing_key(ectx, storage.handle, "ecc256", keys.AK_HANDLE)
    issuing = keys.create_signing_key(
        ectx, storage.handle, "ecc256", keys.ISSUING_KEY_HANDLE, restricted=False
    )
    host_keys = HostKeys(
        host=host,
        ek_certificate=_read_nv(ectx, _RSA_EK_CERTIFICATE),
        ek_chain=(manufacturer[0],),
        ek_public=ek.public,
        ak_public=ak.public,
        ak_name=ak.name,
    )
    enrolment = authority.challenge(host_keys, (manufacturer[1],))
    answer = keys.activate_credential(
        ectx, ek.handle, ak.handle, enrolment.credential, enrolment.encrypted
    )
    _check_certified(ectx, ak, issuing)
    return {
        "attestation-key": authority.certify(enrolment, answer),
        "issuing-key": authority.certify(enrolment, answer, issuing.public),
    }


def _check_certified(ectx: ESAPI, ak: TpmKey, issuing: TpmKey) -> None:
    """TPM2_Certify: the AK vouches, over a nonce, that the issuing key is in the same TPM."""
    nonce = secrets.token_bytes(32)
    attest, signature = ectx.certify(issuing.handle, ak.handle, nonce, keys.NULL_SCHEME)
    problem = keys.area_is_attestation_key(issuing.public, issuing.name, restricted=False)
    if problem:
        raise FrameworkError(f"issuing key refused: {problem}")
    raw = bytes(attest)
    info, _ = TPMS_ATTEST.unmarshal(raw)
    if bytes(info.extraData) != nonce or bytes(info.attested.certify.name) != issuing.name:
        raise FrameworkError("the attestation key certified another key or another nonce")
    if not verify_signature(
        parse_public(ak.public).key, raw, parse_signature(bytes(signature.marshal()))
    ):
        raise FrameworkError("the certification of the issuing key is not signed by the AK")


def _read_nv(ectx: ESAPI, index: int) -> bytes:
    handle = ectx.tr_from_tpmpublic(index)
    public, _ = ectx.nv_read_public(handle)
    size = int(public.nvPublic.dataSize)
    data = b"".join(
        bytes(ectx.nv_read(handle, min(_NV_CHUNK, size - at), at, auth_handle=ESYS_TR.OWNER))
        for at in range(0, size, _NV_CHUNK)
    )
    # swtpm_setup may allot more than the certificate needs; DER says its own length.
    return data[: 4 + int.from_bytes(data[2:4], "big")] if data[:2] == b"\x30\x82" else data
