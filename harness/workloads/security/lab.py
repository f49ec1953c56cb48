"""Certificates and quotes from keys that we hold: what only an authority or a TPM could get wrong.

An attacker has neither key. With both in our hands, each check of the verifier can be met alone:
the rest of the evidence is the honest pod's.
"""

import datetime as dt
import struct
from functools import cached_property
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from harness.framework.evidence import binding, bundle
from harness.framework.evidence.bundle import Evidence, LaunchClaims, Quote, TeeEvidence
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
    parse_public,
)
from harness.framework.own_keys import common_name
from harness.framework.tee.csv_processor import POLICY_CSV2
from harness.framework.verify import Policy
from harness.workloads.security.registry import Mounted
from harness.workloads.security.world import World

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


class Lab:
    """An authority, a host under it, and the honest pod's launch certified by them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.root_key, self.host_key = new_key(), new_key()
        sent = world.evidence
        if sent.launch is None or sent.launch_report is None:
            raise ValueError("the honest pod's evidence has no launch")
        self.claims: LaunchClaims = sent.launch
        self.launch_report: TeeEvidence = sent.launch_report
        self.root = CertificateSpec(
            "lab", "lab", self.root_key.public_key(), self.root_key, ca=True, path_length=1
        ).der(world.now_s)

    @cached_property
    def host(self) -> CertificateSpec:
        """The host's certificate."""
        named = bundle.encode(binding.HostBinding("lab-host", self.claims.host_ak_name))
        return CertificateSpec(
            "lab host", "lab", self.host_key.public_key(), self.root_key, ca=True, path_length=0,
            private=((binding.HOST_OID, named),), serial=2,
        )  # fmt: skip

    def leaf(self, public: bytes, claims: LaunchClaims, report: TeeEvidence) -> CertificateSpec:
        """The certificate of the attestation key with this TPMT_PUBLIC."""
        bound = binding.launch_binding(claims, report.report, self.world.trust.measurements[0])
        key = parse_public(public).key
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise TypeError("the lab certifies P-256 keys")
        return CertificateSpec(
            "vTPM", "lab host", key, self.host_key,
            uris=(binding.INSTANCE_URI_PREFIX + claims.instance,),
            purposes=(binding.AIK_EKU_OID,),
            private=((binding.LAUNCH_OID, bundle.encode(bound)),), serial=3,
        )  # fmt: skip

    def policy(self, **changes: Any) -> Policy:
        """The honest policy, which trusts the lab instead of the authority."""
        base = self.world.policy(authority_roots=(self.root,), crls=(self.crl(),))
        return msgspec.structs.replace(base, **changes)

    def crl(
        self,
        *serials: int,
        signer: Key | None = None,
        issuer: str = "lab",
        end: dt.timedelta = _DAY,
    ) -> bytes:
        """A revocation list (DER) of certificates with these serial numbers."""
        now = dt.datetime.fromtimestamp(self.world.now_s, dt.UTC)
        builder = x509.CertificateRevocationListBuilder(
            issuer_name=common_name(issuer), last_update=now - 2 * _DAY, next_update=now + end
        )
        for serial in serials:
            entry = x509.RevokedCertificateBuilder(serial_number=serial, revocation_date=now - _DAY)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(signer or self.root_key, hashes.SHA256()).public_bytes(Encoding.DER)

    def evidence(
        self,
        *,
        leaf: dict[str, Any] | None = None,
        host: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Evidence:
        """The honest evidence certified by the lab; ``leaf`` and ``host`` change certificates."""
        made = self.world.edited(launch=self.claims, launch_report=self.launch_report)
        made = msgspec.structs.replace(made, **changes)
        if made.launch is None or made.launch_report is None:
            raise ValueError("the lab certifies a launch")
        specs = (self.leaf(made.ak_public, made.launch, made.launch_report), self.host)
        ders = [
            msgspec.structs.replace(spec, **(change or {})).der(self.world.now_s)
            for spec, change in zip(specs, (leaf, host), strict=True)
        ]
        return msgspec.structs.replace(made, ak_certificate=ders[0], issuer_chain=(ders[1],))

    def certified(self, evidence: Evidence, policy: Policy | None = None) -> Mounted:
        """``evidence`` of the lab beside what the lab certifies without a flaw."""
        present = self.world.presented
        return Mounted(
            present(evidence, policy or self.policy()), present(self.evidence(), self.policy())
        )

    def relaunched(self, *, public: bytes | None = None, policy: int = POLICY_CSV2) -> Evidence:
        """The launch made again for another key or under another guest policy, and certified."""
        key = public or self.world.evidence.ak_public
        claims = msgspec.structs.replace(self.claims, ak_name=parse_public(key).name)
        data = binding.launch_report_data(claims)
        report = self.world.report(data, policy=policy)
        return self.evidence(ak_public=key, launch=claims, launch_report=report)


def _key_usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False,
        key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
