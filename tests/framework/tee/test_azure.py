"""Azure's paravisor: real evidence verifies down to the vTPM's quote, every change is refused."""

import base64
import hashlib
import json
import ssl
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from harness.framework.evidence import quote as quotes
from harness.framework.evidence import tpm_public
from harness.framework.evidence.bundle import TeeEvidence
from harness.framework.evidence.memo import Memo, forgetful
from harness.framework.tee import verifier
from harness.framework.tee.kinds.azure import AzureSnpRules, AzureTdxRules
from harness.framework.tee.report import TeeReport, TeeVerificationError
from harness.framework.tee.snp_rules import SnpRules
from harness.framework.tee.tdx_rules import TdxRules
from harness.framework.verify.cache import VerificationCache

from .azure_issuer import VM_ID, hcl_report, runtime_data, snp_evidence, tdx_evidence
from .snp_issuer import NOW, Leaf, SnpVendor
from .tdx_issuer import TdxVendor

DATA = Path(__file__).parents[2] / "data" / "azure"
KINDS = ("snp", "tdx")
ROOTS = {"snp": "amd-milan", "tdx": "intel-sgx"}
RULES: dict[str, Any] = {
    "snp": AzureSnpRules(),
    "tdx": AzureTdxRules(TdxRules(require_collateral=False)),
}


def recorded(kind: str) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads((DATA / f"{kind}-evidence-v1.json").read_bytes())
    return decoded


def base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def real(kind: str) -> TeeEvidence:
    evidence = recorded(kind)
    below = base64url(evidence["vcek" if kind == "snp" else "td_quote"])
    return TeeEvidence(f"az-{kind}-vtpm", base64url(evidence["hcl_report"]), below)


def verified(evidence: TeeEvidence, root: bytes | None = None, memo: Memo = forgetful) -> TeeReport:
    kind = evidence.tee.split("-")[1]
    checker = verifier(evidence.tee)
    assert checker is not None
    root = checker.roots[ROOTS[kind]] if root is None else root
    return checker.verify(evidence, root, RULES[kind], NOW, memo)


def broken(report: TeeReport, rules: Any) -> set[str]:
    checker = verifier(report.tee)
    assert checker is not None
    return {failure for failure, _ in checker.check_rules(report, rules)}


def refusal(evidence: TeeEvidence, root: bytes | None = None) -> str:
    with pytest.raises(TeeVerificationError) as caught:
        verified(evidence, root)
    return caught.value.failure


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


@pytest.mark.parametrize("kind", KINDS)
def test_real_evidence_verifies_down_to_the_quoted_pcrs(kind: str) -> None:
    """Its quote is over Azure's own nonce, so that it is judged here and not as a whole bundle."""
    report = verified(real(kind))
    assert broken(report, RULES[kind]) == set()
    key = load_der_public_key(report.key)
    assert isinstance(key, rsa.RSAPublicKey)
    quote = recorded(kind)["tpm_quote"]
    attest, value = bytes.fromhex(quote["message"]), bytes.fromhex(quote["signature"])
    signature = tpm_public.Signature(tpm_public.ALG_RSASSA, tpm_public.ALG_SHA256, value)
    assert tpm_public.verify_signature(key, attest, signature)
    assert not tpm_public.verify_signature(key, flip(attest, 60), signature)
    info = quotes.parse_quote(attest)
    assert info.extra_data == b"challenge"
    assert info.selections == (quotes.PcrSelection(tpm_public.ALG_SHA256, tuple(range(24))),)
    pcrs = [bytes.fromhex(pcr) for pcr in quote["pcrs"]]
    assert quotes.pcr_digest(pcrs, tpm_public.ALG_SHA256) == info.pcr_digest
    other = verified(real("tdx" if kind == "snp" else "snp"))
    other_key = load_der_public_key(other.key)
    assert isinstance(other_key, rsa.RSAPublicKey)
    assert not tpm_public.verify_signature(other_key, attest, signature)


def test_the_older_snp_evidence_verifies_too() -> None:
    pem = (DATA / "snp-vcek.pem").read_text().split("-----BEGIN")[1:]
    chain = b"".join(ssl.PEM_cert_to_DER_cert("-----BEGIN" + part) for part in pem)
    report = verified(TeeEvidence("az-snp-vtpm", (DATA / "snp-hcl-report.bin").read_bytes(), chain))
    assert report.instance == VM_ID
    bincode = (DATA / "snp-quote.bin").read_bytes()
    signature, message = bincode[8:264], bincode[272 : 272 + 122]
    key = load_der_public_key(report.key)
    assert isinstance(key, rsa.RSAPublicKey)
    signed = tpm_public.Signature(tpm_public.ALG_RSASSA, tpm_public.ALG_SHA256, signature)
    assert tpm_public.verify_signature(key, message, signed)


@pytest.mark.parametrize(
    ("kind", "unsigned"), [("snp", set()), ("tdx", {*range(48, 64), *range(256, 288)})]
)
def test_every_flipped_byte_of_the_real_report_is_refused(kind: str, unsigned: set[int]) -> None:
    """In a TD's report, CPUSVN and MAC mean something to its own machine only."""
    evidence, memo, accepted = real(kind), VerificationCache().memo, set()
    for at in range(len(evidence.report)):
        damaged = msgspec.structs.replace(evidence, report=flip(evidence.report, at))
        try:
            verified(damaged, memo=memo)
        except TeeVerificationError:
            continue
        accepted.add(at)
    assert accepted == unsigned


@pytest.mark.parametrize("at", [32, 33, 34, 35])
def test_type_and_version_of_a_td_report_are_fixed(at: int) -> None:
    evidence = real("tdx")
    for mask in (1, 2, 128):
        report = bytearray(evidence.report)
        report[at] ^= mask
        damaged = msgspec.structs.replace(evidence, report=bytes(report))
        assert refusal(damaged) == "tee.azure.td_report"


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bytes_of_the_real_certificates_are_refused(kind: str) -> None:
    evidence = real(kind)
    for at in range(0, len(evidence.certificates), 61):
        below = flip(evidence.certificates, at)
        refusal(msgspec.structs.replace(evidence, certificates=below))


@cache
def amd() -> tuple[SnpVendor, Leaf]:
    vendor = SnpVendor()
    return vendor, vendor.leaf()


@cache
def intel() -> TdxVendor:
    return TdxVendor()


@cache
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def issued(kind: str, runtime: bytes, measurement: bytes = b"m" * 48) -> tuple[TeeEvidence, bytes]:
    if kind == "snp":
        return snp_evidence(*amd(), runtime, measurement=measurement), amd()[0].ark
    return tdx_evidence(intel(), runtime, measurement=measurement), intel().root


@pytest.mark.parametrize("kind", KINDS)
def test_the_report_says_what_the_paravisor_said(kind: str) -> None:
    user = hashlib.sha512(b"user").digest()
    report = verified(*issued(kind, runtime_data(key(), user)))
    spki = key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert (report.key, report.report_data, report.instance) == (spki, user, VM_ID)
    assert (report.measurement, report.tee) == (b"m" * 48, f"az-{kind}-vtpm")


@pytest.mark.parametrize("hash_id", [1, 2, 3])
def test_all_hashes_bind_the_runtime_data(hash_id: int) -> None:
    vendor, leaf = amd()
    runtime = runtime_data(key())
    good = snp_evidence(vendor, leaf, runtime, hash_id=hash_id)
    assert verified(good, vendor.ark).instance == VM_ID
    other = hcl_report(good.report[32:1216], runtime, 2, hash_id % 3 + 1)
    changed = hcl_report(good.report[32:1216], runtime_data(key(), b"\1" * 64), 2, hash_id)
    for report in (other, changed):
        evidence = msgspec.structs.replace(good, report=report)
        assert refusal(evidence, vendor.ark) == "tee.azure.binding"


@pytest.mark.parametrize(
    "header",
    [{0: 0}, {4: 3}, {8: 2346}, {12: 1}, {16: 1}, {20: 1}, {1216: 0}, {1220: 2}, {1224: 4},
     {1228: 0}, {1228: 4}, {1232: 1 << 31}, {1232: 0}, {2596: 1}],
)  # fmt: skip
def test_another_form_is_a_format_failure(header: dict[int, int]) -> None:
    vendor, leaf = amd()
    evidence = snp_evidence(vendor, leaf, runtime_data(key()), header=header)
    assert refusal(evidence, vendor.ark) == "tee.azure.format"
    for size in (0, 31, 1235):
        short = msgspec.structs.replace(evidence, report=evidence.report[:size])
        assert refusal(short, vendor.ark) == "tee.azure.format"


def test_runtime_data_without_exactly_one_usable_key_are_refused() -> None:
    vendor, leaf = amd()
    good = json.loads(runtime_data(key()))["keys"][0]
    keys: tuple[list[dict[str, Any]], ...] = (
        [],
        [good, good],
        [good | {"kid": "HCLEkPub"}],
        [good | {"kty": "EC"}],
        [good | {"e": "Aw"}],
        [good | {"n": "AQAB"}],
        [good | {"n": "!!"}],
    )
    for bad in keys:
        evidence = snp_evidence(vendor, leaf, runtime_data(key(), changes={"keys": bad}))
        assert refusal(evidence, vendor.ark) == "tee.azure.format"
    others: tuple[dict[str, Any], ...] = (
        {"user-data": "zz"},
        {"user-data": "00" * 65},
        {"vm-configuration": {}},
    )
    for changes in others:
        evidence = snp_evidence(vendor, leaf, runtime_data(key(), changes=changes))
        assert refusal(evidence, vendor.ark) == "tee.azure.format"
    for runtime in (b"\xff", b"", b"[]"):
        assert refusal(snp_evidence(vendor, leaf, runtime), vendor.ark) == "tee.azure.format"


def test_rules_of_hardware_and_vm() -> None:
    configuration = {"secure-boot": False, "tpm-enabled": True}
    runtime = runtime_data(key(), changes={"vm-configuration": configuration})
    rules: dict[str, Any] = {
        "snp": AzureSnpRules(SnpRules(forbidden_bits=1 << 16), require_secure_boot=False),
        "tdx": AzureTdxRules(
            TdxRules(required_attributes=1, require_collateral=False), require_secure_boot=False
        ),
    }
    for kind in KINDS:
        report = verified(*issued(kind, runtime))
        assert broken(report, RULES[kind]) == {"tee.azure.secure_boot"}
        assert broken(report, rules[kind]) == {"tee.policy"}


def test_hardware_evidence_of_another_vm_is_refused() -> None:
    vendor, leaf = amd()
    mine, root = issued("tdx", runtime_data(key()))
    theirs, _ = issued("tdx", runtime_data(key(), b"\1" * 64))
    mixed = msgspec.structs.replace(mine, certificates=theirs.certificates)
    assert refusal(mixed, root) == "tee.azure.td_report"
    snp = snp_evidence(vendor, leaf, runtime_data(key()))
    elsewhere = vendor.leaf(seed=b"other")
    assert (
        refusal(msgspec.structs.replace(snp, certificates=elsewhere.certificates), vendor.ark)
        == "tee.report.signature"
    )
    crossed = TeeEvidence("az-tdx-vtpm", snp.report, mine.certificates)
    assert refusal(crossed, root) == "tee.azure.format"
