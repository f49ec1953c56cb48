"""One evidence format for every TEE: each launches a vTPM, and the results are of one shape."""

import base64
import json
import random
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from harness.framework.errors import PolicyError
from harness.framework.evidence import binding
from harness.framework.evidence.bundle import Quote, TeeEvidence, encode_evidence
from harness.framework.tee import sm2, verifiers
from harness.framework.tee.csv_processor import SoftwareProcessor, SoftwareVendor
from harness.framework.tee.kinds.azure import AzureSnpRules
from harness.framework.tee.snp_rules import SnpRules
from harness.framework.verify import TeeRoot, VerificationCache, encode_policy, load_policy, verify

from .platforms import ParavisorWorld, TeeWorld, snp, tdx, world_of
from .world import AK_ATTRIBUTES, GUEST, NOW, World, ids, judge, sized

PARAVISORS = ("az-snp-vtpm", "az-tdx-vtpm")
KINDS = ("csv", "snp", "tdx", *PARAVISORS)


def test_every_kind_is_tried_here() -> None:
    assert set(KINDS) == set(verifiers())


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_of_every_tee_is_accepted_with_the_same_kind_of_result(
    kind: str, processor: SoftwareProcessor
) -> None:
    world, reference = world_of(kind, processor), World(processor)
    result, expected = judge(world), judge(reference)
    assert ids(result) == set()
    assert result.trust_kind == "emulated"
    assert result.measurement == world.guest.measurement
    assert result.chip
    assert result.instance
    assert result.state is not None
    own = {"measurement", "chip", "instance", "host", "host_key", "state"}
    for field in set(result.__struct_fields__) - own:
        assert getattr(result, field) == getattr(expected, field), field


@pytest.mark.parametrize("kind", KINDS)
def test_the_policy_of_every_tee_can_be_written_down(
    kind: str, processor: SoftwareProcessor
) -> None:
    world = world_of(kind, processor)
    policy = load_policy(encode_policy(world.policy()))
    assert policy.rules_by_tee[kind] == world.policy().rules_by_tee[kind]
    assert ids(judge(world, policy=policy)) == set()


@pytest.mark.parametrize("kind", KINDS)
def test_strangers_and_unknown_measurements_are_refused(
    kind: str, processor: SoftwareProcessor
) -> None:
    world = world_of(kind, processor)
    assert ids(judge(world, policy=world.policy(tee_roots=()))) == {"tee.root"}
    refused = judge(world, policy=world.policy(accepted_measurements=()))
    assert ids(refused) == {"tee.measurement"}
    emulated = judge(world, policy=world.policy(accept_emulated=False))
    assert ids(emulated) == {"tee.root.emulated"}
    real = tuple(
        msgspec.structs.replace(root, name=name, kind="real", root=b"")
        for root in world.policy().tee_roots
        for name in verifiers()[kind].roots
    )
    assert ids(judge(world, policy=world.policy(tee_roots=real))) <= {
        "tee.root", "tee.tdx.chain", "tee.snp.chain", "tee.chain.hsk",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "failure"),
    [
        ("csv", "tee.csv.format"),
        ("snp", "tee.snp.format"),
        ("tdx", "tee.tdx.format"),
        ("az-snp-vtpm", "tee.azure.format"),
        ("az-tdx-vtpm", "tee.azure.format"),
    ],
)
def test_a_damaged_report_is_refused_for_that_reason(
    kind: str, failure: str, processor: SoftwareProcessor
) -> None:
    world = world_of(kind, processor)
    good = world.evidence().launch_report
    assert good is not None
    for report in (good.report[:-1500], b""):
        damaged = msgspec.structs.replace(good, report=report)
        assert ids(judge(world, world.evidence(launch_report=damaged))) == {failure}
    if good.certificates and kind != "csv":
        damaged = msgspec.structs.replace(good, certificates=good.certificates[:-9])
        inner = "tee.tdx.format" if "tdx" in kind else "tee.snp.format"
        assert ids(judge(world, world.evidence(launch_report=damaged))) == {inner}


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_report_of_every_tee(kind: str, processor: SoftwareProcessor) -> None:
    world = world_of(kind, processor)
    quote = world.quote()
    if isinstance(world, ParavisorWorld):
        good, stale = world.fresh(quote), world.paravisor()
    else:
        good = world.tee(world.pod.report(world.fresh_data(quote), bytes(16)))
        stale = world.tee(world.pod.report(bytes(64), bytes(16)))
    policy = world.policy(require_fresh_report=True)

    def found(**changes: object) -> set[str]:
        return ids(judge(world, world.evidence(quote=quote, **changes), policy))

    assert found(fresh_report=good) == set()
    assert found(fresh_report=stale) == {"tee.fresh.binding"}
    assert found() == {"tee.fresh.missing"}


@pytest.mark.parametrize("kind", ["snp", "tdx"])
def test_one_flipped_byte_anywhere_in_launch_and_fresh_report_is_refused(kind: str) -> None:
    world = TeeWorld(snp() if kind == "snp" else tdx())
    quote = world.quote()
    fresh = world.tee(world.pod.report(world.fresh_data(quote), bytes(16)))
    wire = encode_evidence(world.evidence(quote=quote, fresh_report=fresh))
    policy, challenge, cache = world.policy(), world.challenge(), VerificationCache()
    assert verify(wire, policy, challenge, NOW, cache).accepted
    for part in {world.page, fresh.report, world.platform.hsk_cek} - {b""}:
        start = wire.index(part)
        for at in random.Random(5).sample(range(start, start + len(part)), 60):
            damaged = wire[:at] + bytes([wire[at] ^ 1 << at % 8]) + wire[at + 1 :]
            assert not verify(damaged, policy, challenge, NOW, cache).accepted, at - start


@pytest.mark.parametrize("kind", PARAVISORS)
def test_a_paravisor_vouches_for_one_key(kind: str, processor: SoftwareProcessor) -> None:
    world = world_of(kind, processor)
    assert isinstance(world, ParavisorWorld)
    other = rsa.generate_private_key(65537, 2048)
    result = judge(world, world.evidence(launch_report=world.paravisor(key=other)))
    assert ids(result) == {"chain.paravisor.key"}
    assert (result.chip, result.instance, result.trust_kind) == ("", "", "none")
    assert ids(judge(world, world.evidence(launch_report=None))) == {"chain.launch.missing"}
    # A report of the hardware alone names no key, whatever it carries.
    platform = world.platform
    bare = TeeWorld(platform).tee(world.guest.report(bytes(64), bytes(16)))
    roots = TeeWorld(platform).policy().tee_roots
    rules = TeeWorld(platform).policy().tee_rules
    policy = world.policy(tee_roots=roots, tee_rules=rules)
    evidence = world.evidence(launch_report=bare)
    assert ids(judge(world, evidence, policy)) == {"chain.paravisor.key"}


@pytest.mark.parametrize("kind", PARAVISORS)
def test_what_a_paravisor_doesnt_vouch_for_is_refused(
    kind: str, processor: SoftwareProcessor
) -> None:
    world = world_of(kind, processor)
    assert isinstance(world, ParavisorWorld)
    beside: tuple[dict[str, Any], ...] = (
        {"ak_certificate": world.leaf_spec().der()},
        {"issuer_chain": (world.host_spec().der(),)},
        {"launch": world.claims},
    )
    for changes in beside:
        assert ids(judge(world, world.evidence(**changes))) == {"chain.paravisor.form"}
    assert "chain.ak.missing" in ids(judge(world, policy=world.policy(scheme="chain")))
    quote = world.quote()
    other = rsa.generate_private_key(65537, 2048)
    fresh = world.paravisor(world.fresh_data(quote), other)
    evidence = world.evidence(quote=quote, fresh_report=fresh)
    assert ids(judge(world, evidence)) == {"tee.fresh.identity"}
    required = world.policy(require_deep_quote=True)
    assert ids(judge(world, policy=required)) == {"quote.deep.missing"}
    deep = world.with_deep_quote()
    assert ids(judge(world, deep)) == {"quote.deep.signature"}


@pytest.mark.parametrize("kind", PARAVISORS)
def test_a_paravisors_key_keeps_its_state_whatever_attributes_are_claimed(
    kind: str, processor: SoftwareProcessor
) -> None:
    """Its report covers the key and not its attributes, so they must not make it a new key."""
    world = world_of(kind, processor)
    before = judge(world).state
    assert before is not None
    public = bytearray(world.public)
    public[7] ^= 0x40  # userWithAuth
    changed = world.evidence(ak_public=bytes(public))
    after = judge(world, changed)
    assert ids(after) == set()
    assert after.state is not None
    assert after.state.ak_name == before.ak_name


def test_rules_of_the_hardware_below_a_paravisor(processor: SoftwareProcessor) -> None:
    world = world_of("az-snp-vtpm", processor)
    strict = AzureSnpRules(SnpRules(vmpls=(3,)))
    policy = world.policy(tee_rules={"az-snp-vtpm": strict})
    assert ids(judge(world, policy=policy)) == {"tee.snp.vmpl"}


def test_a_launch_bound_to_other_claims_is_refused() -> None:
    for platform in (snp(), tdx()):
        world = TeeWorld(platform)
        claims = msgspec.structs.replace(world.claims, nonce=b"n" * 16)
        page = world.report(binding.launch_report_data(claims))
        result = judge(world, world.evidence(launch_report=world.tee(page)))
        assert ids(result) == {"tee.report.binding", "chain.ak.launch"}


DATA = Path(__file__).parents[2] / "data"
REAL = {
    "hygon": TeeEvidence(
        "csv",
        (DATA / "csv" / "csvrs-report.cert").read_bytes().ljust(4096, b"\0"),
        (DATA / "csv" / "csvrs-hsk_cek.cert").read_bytes(),
    ),
    "amd-milan": TeeEvidence(
        "snp",
        (DATA / "snp" / "test-report.bin").read_bytes(),
        (DATA / "snp" / "test-vcek.der").read_bytes(),
    ),
    "intel-sgx": TeeEvidence("tdx", (DATA / "tdx" / "tdx_quote_4.dat").read_bytes(), b""),
}


@pytest.mark.parametrize("root", REAL)
def test_real_reports_hold_under_pinned_roots_and_are_about_nothing_of_ours(
    root: str, processor: SoftwareProcessor
) -> None:
    """All that is wrong with them is what they are bound to, or a root under a name not theirs."""
    world, real = World(processor), REAL[root]
    evidence = world.evidence(launch_report=real)
    named = world.policy(tee_roots=(TeeRoot(root, real.tee, "real"),))
    assert ids(judge(world, evidence, named)) == {"tee.report.binding", "chain.ak.launch"}
    assert ids(judge(world, evidence, world.policy(tee_roots=()))) == {"tee.root"}
    for unknown in (TeeRoot("other", real.tee, "real"), TeeRoot(root, real.tee, "emulated")):
        with pytest.raises(PolicyError, match="no bytes"):
            judge(world, evidence, world.policy(tee_roots=(unknown,)))


def test_a_serial_number_of_another_chip_is_no_identity(
    processor: SoftwareProcessor, tmp_path: Path
) -> None:
    """A fresh report of another CSV chip that claims the serial number of the first."""
    world = World(processor)
    vendor = SoftwareVendor()
    other = vendor.provision(tmp_path / "other")
    quote = world.quote()
    page = other.launch(GUEST).report(world.fresh_data(quote), bytes(16), extended=True)
    at = 1168 + 2084
    covered = page[1168:at] + processor.serial.encode().ljust(64, b"\0") + page[at + 64 : at + 96]
    forged = page[:1168] + covered + sm2.hmac_sm3(bytes(16), covered) + page[at + 128 :]
    fresh = TeeEvidence("csv", forged, other.hsk_cek)
    roots = (*world.policy().tee_roots, TeeRoot("other", "csv", "emulated", other.hrk))
    evidence = world.evidence(quote=quote, fresh_report=fresh)
    assert ids(judge(world, evidence, world.policy(tee_roots=roots))) == {"tee.fresh.identity"}


def _real_azure(kind: str) -> tuple[TeeEvidence, bytes, Quote, dict[int, bytes]]:
    """Recorded evidence of Azure: report, TPMT_PUBLIC of its key, quote and PCR values."""

    def base64url(text: str) -> bytes:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    recorded = json.loads((DATA / "azure" / f"{kind}-evidence-v1.json").read_bytes())
    report = base64url(recorded["hcl_report"])
    below = base64url(recorded["vcek" if kind == "snp" else "td_quote"])
    runtime = json.loads(report[1236:].rstrip(b"\0"))
    modulus = base64url(runtime["keys"][0]["n"])
    parameters = struct.pack(">HHHHI", 0x10, 0x14, 0x0B, 2048, 0)
    public = struct.pack(">HHIH", 1, 0x0B, AK_ATTRIBUTES, 0) + parameters + sized(modulus)
    quoted = recorded["tpm_quote"]
    signature = struct.pack(">HH", 0x14, 0x0B) + sized(bytes.fromhex(quoted["signature"]))
    quote = Quote(bytes.fromhex(quoted["message"]), signature)
    pcrs = {number: bytes.fromhex(value) for number, value in enumerate(quoted["pcrs"])}
    return TeeEvidence(f"az-{kind}-vtpm", report, below), public, quote, pcrs


@pytest.mark.parametrize(("kind", "root"), [("snp", "amd-milan"), ("tdx", "intel-sgx")])
def test_real_azure_evidence_lacks_only_our_nonce_and_the_logs(
    kind: str, root: str, processor: SoftwareProcessor
) -> None:
    report, public, quote, pcrs = _real_azure(kind)
    rules: dict[str, Any] = {"snp": {}, "tdx": {"hardware": {"require_collateral": False}}}
    verified = verifiers()[report.tee]
    parsed = verified.verify(
        report, verified.roots[root], msgspec.convert(rules[kind], verified.rules_type), NOW,
        VerificationCache().memo,
    )  # fmt: skip
    world = World(processor)
    policy = world.policy(
        scheme="paravisor",
        tee_roots=(TeeRoot(root, report.tee, "real"),),
        tee_rules={report.tee: rules[kind]},
        accepted_measurements=(parsed.measurement,),
        accept_emulated=False,
    )
    evidence = world.evidence(
        ak_certificate=None, issuer_chain=(), launch=None, launch_report=report,
        ak_public=public, quote=quote, pcr_values=pcrs, boot_log=b"", ima_log=b"",
    )  # fmt: skip
    result = judge(world, evidence, policy)
    assert ids(result) == {"quote.nonce", "boot.log.missing", "ima.log.missing"}
    assert result.trust_kind == "real"
    assert (result.chip, result.measurement) == (parsed.chip, parsed.measurement)
    pcrs[4] = bytes(32)
    changed = judge(world, msgspec.structs.replace(evidence, pcr_values=pcrs), policy)
    assert ids(changed) == ids(result) | {"quote.pcr.values"}
