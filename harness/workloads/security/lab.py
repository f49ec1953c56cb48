"""Certificates and quotes from keys that we hold: what only an authority or a TPM could get wrong.

An attacker has neither key. With both in our hands, each check of the verifier can be met alone:
the rest of the evidence is the honest pod's.
"""

import datetime as dt
from functools import cached_property
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from harness.framework.evidence import binding, bundle
from harness.framework.evidence.bundle import Evidence, LaunchClaims, TeeEvidence
from harness.framework.evidence.tpm_public import (
    parse_public,
)
from harness.framework.own_keys import common_name
from harness.framework.tee.csv_processor import POLICY_CSV2
from harness.framework.verify import Policy
from harness.workloads.security.registry import Mounted
from harness.workloads.security.world import World
from harness.workloads.software_keys import CertificateSpec, Key, new_key

_DAY = dt.timedelta(days=1)


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
