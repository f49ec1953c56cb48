"""The emulated processors of every kind of TEE behind one interface, for whole worlds of evidence."""

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import rsa
from tee import azure_issuer, tdx_issuer
from tee.snp_issuer import SnpVendor
from tee.tdx_issuer import TdxVendor

from harness.framework.evidence.bundle import Evidence, Quote, TeeEvidence
from harness.framework.tee.csv_processor import SoftwareProcessor
from harness.framework.tee.kinds.azure import AzureTdxRules
from harness.framework.tee.tdx_rules import TdxRules
from harness.framework.tee.tdx_verdict import Collateral
from harness.framework.verify import Policy, TeeRoot

from .world import World


class Guest(NamedTuple):
    """A guest of a platform: its reports are of its own measurement."""

    platform: "Platform"
    measurement: bytes

    def report(self, data: bytes, _mnonce: bytes) -> bytes:
        return self.platform.page(data, self.measurement)


class Platform:
    """What World needs of a processor; ``hrk`` is the root and ``hsk_cek`` the certificates."""

    kind: str
    hrk: bytes
    hsk_cek = b""
    rules: Any = None

    def launch(self, measured: Mapping[str, bytes]) -> Guest:
        text = b"".join(name.encode() + content for name, content in sorted(measured.items()))
        return Guest(self, hashlib.sha384(text).digest())

    def page(self, data: bytes, measurement: bytes) -> bytes:
        raise NotImplementedError


class SnpPlatform(Platform):
    """One chip with a VCEK."""

    kind = "snp"

    def __init__(self) -> None:
        self.vendor = SnpVendor()
        self.leaf = self.vendor.leaf()
        self.hrk, self.hsk_cek = self.vendor.ark, self.leaf.certificates

    def page(self, data: bytes, measurement: bytes) -> bytes:
        return self.vendor.report(self.leaf, data, measurement=measurement)


class TdxPlatform(Platform):
    """One platform with collateral."""

    kind = "tdx"

    def __init__(self) -> None:
        self.vendor = TdxVendor()
        self.hrk = self.vendor.root
        collateral = Collateral(
            tcb_infos=(self.vendor.signed_json("tcbInfo", tdx_issuer.tcb_info()),),
            qe_identity=self.vendor.signed_json("enclaveIdentity", tdx_issuer.identity()),
            signer=self.vendor.signer,
            crls=tuple(self.vendor.revocation_list(name) for name in ("root", "authority")),
        )
        self.rules = TdxRules(collateral=collateral)

    def page(self, data: bytes, measurement: bytes) -> bytes:
        return self.vendor.quote(data, mrtd=measurement, version=5, td15=True)


class TeeWorld(World):
    """A world whose TEE is of another kind than csv."""

    def __init__(self, platform: Any, **options: Any) -> None:
        self.platform: Platform = platform
        super().__init__(platform, **options)

    def tee(self, page: bytes) -> TeeEvidence:
        return TeeEvidence(self.platform.kind, page, self.platform.hsk_cek)

    def policy(self, **changes: object) -> Policy:
        kind, rules = self.platform.kind, self.platform.rules
        own: dict[str, object] = {
            "tee_roots": (TeeRoot("lab", kind, "emulated", self.platform.hrk),),
            "tee_rules": {} if rules is None else {kind: rules},
        }
        return super().policy(**(own | changes))


class ParavisorWorld(TeeWorld):
    """A world without an authority: the paravisor's report names the vTPM's key."""

    def __init__(self, platform: Any) -> None:
        super().__init__(platform, rsa_ak=True)
        self.kind = f"az-{self.platform.kind}-vtpm"

    def paravisor(
        self, user_data: bytes = bytes(64), key: rsa.RSAPrivateKey | None = None
    ) -> TeeEvidence:
        own = key or self.ak
        assert isinstance(own, rsa.RSAPrivateKey)
        runtime = azure_issuer.runtime_data(own, user_data)
        measurement = self.guest.measurement
        if isinstance(self.platform, SnpPlatform):
            vendor, leaf = self.platform.vendor, self.platform.leaf
            return azure_issuer.snp_evidence(vendor, leaf, runtime, measurement=measurement)
        assert isinstance(self.platform, TdxPlatform)
        return azure_issuer.tdx_evidence(self.platform.vendor, runtime, measurement=measurement)

    def evidence(self, **changes: object) -> Evidence:
        base: dict[str, object] = {
            "ak_certificate": None,
            "issuer_chain": (),
            "launch": None,
            "launch_report": self.paravisor(),
        }
        return super().evidence(**(base | changes))

    def fresh(self, quote: Quote) -> TeeEvidence:
        return self.paravisor(self.fresh_data(quote))

    def policy(self, **changes: object) -> Policy:
        rules = self.platform.rules
        own: dict[str, object] = {
            "scheme": "paravisor",
            "tee_roots": (TeeRoot("lab", self.kind, "emulated", self.platform.hrk),),
            "tee_rules": {} if rules is None else {self.kind: AzureTdxRules(rules)},
            "pod_measurements": (self.guest.measurement,),
        }
        return super().policy(**(own | changes))


@cache
def snp() -> SnpPlatform:
    return SnpPlatform()


@cache
def tdx() -> TdxPlatform:
    return TdxPlatform()


def world_of(kind: str, processor: SoftwareProcessor) -> World:
    """A world of a kind of TEE; Azure's have no authority."""
    worlds: dict[str, Callable[[], World]] = {
        "csv": lambda: World(processor),
        "snp": lambda: TeeWorld(snp()),
        "tdx": lambda: TeeWorld(tdx()),
        "az-snp-vtpm": lambda: ParavisorWorld(snp()),
        "az-tdx-vtpm": lambda: ParavisorWorld(tdx()),
    }
    return worlds[kind]()
