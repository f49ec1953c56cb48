"""The TEE report behind the vTPM (attacks T15-T18, T24, T29)."""

from pathlib import Path

import msgspec
import pytest

from harness.framework.evidence import binding, bundle
from harness.framework.evidence.bundle import Quote, TeeEvidence
from harness.framework.tee.csv_processor import SoftwareProcessor, SoftwareVendor
from harness.framework.tee.kinds.csv import CsvRules
from harness.framework.verify import (
    Policy,
    TeeRoot,
)

from .world import (
    GUEST,
    SERVICE,
    World,
    ids,
    judge,
)

REAL_HRK = (Path(__file__).parents[2] / "data" / "csv" / "hrk.cert").read_bytes()


def test_t15_other_launch_measurement(processor: SoftwareProcessor, world: World) -> None:
    other = World(processor)
    other.guest = processor.launch(SERVICE | {"cmdline": b"debug"})
    other.page = other.report(binding.launch_report_data(other.claims))
    policy = other.policy(accepted_measurements=(world.guest.measurement,))
    result = judge(other, policy=policy)
    assert ids(result) == {"tee.measurement"}


@pytest.mark.parametrize("guest_policy", [0x0, 0x1, 0x4], ids=["none", "no ES", "debug"])
def test_t16_weak_guest_policy(processor: SoftwareProcessor, guest_policy: int) -> None:
    other = World(processor)
    other.guest = processor.launch(SERVICE, guest_policy)
    other.page = other.report(binding.launch_report_data(other.claims))
    assert ids(judge(other)) == {"tee.policy"}
    relaxed = other.policy(tee_rules={"csv": CsvRules(required_bits=0)})
    assert ids(judge(other, policy=relaxed)) == set()
    forbidden = other.policy(
        tee_rules={"csv": CsvRules(required_bits=0, forbidden_bits=guest_policy)}
    )
    assert ids(judge(other, policy=forbidden)) == ({"tee.policy"} if guest_policy else set())


def test_t17_report_signature_and_chain(world: World, tmp_path: Path) -> None:
    def found(evidence: TeeEvidence) -> set[str]:
        return ids(judge(world, world.evidence(launch_report=evidence)))

    page = bytearray(world.page)
    page[0] ^= 1
    assert found(world.tee(bytes(page))) == {"tee.report.signature"}
    stranger = SoftwareVendor().provision(tmp_path / "stranger")
    other = stranger.launch(SERVICE).report(binding.launch_report_data(world.claims), bytes(16))
    assert found(TeeEvidence("csv", other, stranger.hsk_cek)) == {"tee.root"}
    assert found(TeeEvidence("csv", other, world.processor.hsk_cek)) == {"tee.chain.pek"}
    assert found(TeeEvidence("csv", world.page[:-1], world.processor.hsk_cek)) == {"tee.csv.format"}
    assert found(TeeEvidence("sgx", world.page, world.processor.hsk_cek)) == {"tee.kind"}


def test_t17_emulated_report_never_passes_for_real(world: World) -> None:
    hygon = TeeRoot("hygon", "csv", "real", REAL_HRK)
    assert ids(judge(world, policy=world.policy(tee_roots=(hygon,)))) == {"tee.root"}
    claimed = world.processor.hsk_cek
    claimed = claimed[:20] + REAL_HRK[4:20] + claimed[36:]
    evidence = world.evidence(launch_report=TeeEvidence("csv", world.page, claimed))
    result = judge(world, evidence, world.policy(tee_roots=(hygon,)))
    assert ids(result) == {"tee.chain.hsk"}
    assert result.trust_kind == "none"
    # Named but not accepted; accepted but not named.
    refused = judge(world, policy=world.policy(accept_emulated=False))
    assert ids(refused) == {"tee.root.emulated"}
    assert refused.trust_kind == "emulated"
    assert ids(judge(world, policy=world.policy(tee_roots=()))) == {"tee.root"}


def test_damaged_root_in_the_policy(world: World) -> None:
    hrk = bytearray(world.processor.hrk)
    hrk[40] ^= 1
    policy = world.policy(tee_roots=(TeeRoot("lab", "csv", "emulated", bytes(hrk)),))
    assert ids(judge(world, policy=policy)) == {"tee.chain.root"}


def test_t18_report_not_bound_to_this_launch(world: World) -> None:
    other_claims = msgspec.structs.replace(world.claims, nonce=b"n" * 16)
    page = world.report(binding.launch_report_data(other_claims))
    result = judge(world, world.evidence(launch_report=world.tee(page)))
    assert ids(result) == {"tee.report.binding", "chain.ak.launch"}
    assert result.measurement == b""
    other = world.evidence(launch=other_claims)
    assert ids(judge(world, other)) == {"tee.report.binding", "chain.ak.launch"}


def test_t18_same_claims_with_a_later_report_is_not_the_certified_one(world: World) -> None:
    page = world.report(binding.launch_report_data(world.claims))
    assert ids(judge(world, world.evidence(launch_report=world.tee(page)))) == {"chain.ak.launch"}


def test_t24_launch_on_another_host(processor: SoftwareProcessor) -> None:
    world = World(processor)
    host = bundle.encode(binding.HostBinding("host-b", b"\0\x0b" + bytes(32)))
    evidence = world.with_host(private=((binding.HOST_OID, host),))
    assert ids(judge(world, evidence)) == {"chain.host.key"}


def test_t24_chip_and_hardware_tpm_of_two_machines(world: World) -> None:
    chip = world.processor.serial
    for platforms, expected in (
        ({"host-a": (chip,)}, set()),
        ({"host-a": ("ANOTHER", chip)}, set()),
        ({"host-a": ("ANOTHER",), "host-b": (chip,)}, {"chain.host.chip"}),
        ({"host-b": (chip,)}, {"chain.host.chip"}),
    ):
        assert ids(judge(world, policy=world.policy(platforms=platforms))) == expected


def test_t29_missing_parts_are_failures(world: World) -> None:
    for missing in ("launch", "launch_report"):
        result = judge(world, world.evidence(**{missing: None}))
        assert ids(result) == {"chain.launch.missing"}
        assert result.trust_kind == "none"
    empty = world.evidence(boot_log=b"", ima_log=b"")
    assert ids(judge(world, empty)) == {"boot.log.missing", "ima.log.missing"}
    policy = world.policy(require_fresh_report=True, require_deep_quote=True)
    assert ids(judge(world, policy=policy)) == {"tee.fresh.missing", "quote.deep.missing"}


def test_fresh_report(world: World, tmp_path: Path) -> None:
    quote = world.quote()
    policy = world.policy(require_fresh_report=True)

    def found(page: bytes, policy: Policy = policy) -> set[str]:
        evidence = world.evidence(quote=quote, fresh_report=world.tee(page))
        return ids(judge(world, evidence, policy))

    def reported(data: bytes) -> bytes:
        return world.pod.report(data, bytes(16))

    data = world.fresh_data(quote)
    assert found(reported(data)) == set()
    other_quote = Quote(quote.attest + b"\0", b"")
    for stale in (
        world.fresh_data(quote, nonce=b"o" * 32),
        world.fresh_data(other_quote),
        world.fresh_data(quote, boot=world.boot.log + b"\0"),
        world.fresh_data(quote, ima=world.ima.binary[:-1]),
    ):
        assert found(reported(stale)) == {"tee.fresh.binding"}
    assert found(world.page) == {"tee.fresh.binding"}
    # The service's own report, or another guest's, says nothing about this guest.
    assert found(world.report(data)) == {"tee.fresh.measurement"}
    elsewhere = SoftwareVendor().provision(tmp_path / "elsewhere")
    page = elsewhere.launch(GUEST).report(data, bytes(16))
    roots = (*world.policy().tee_roots, TeeRoot("b", "csv", "emulated", elsewhere.hrk))
    foreign = TeeEvidence("csv", page, elsewhere.hsk_cek)
    result = judge(
        world, world.evidence(quote=quote, fresh_report=foreign), world.policy(tee_roots=roots)
    )
    assert ids(result) == {"tee.fresh.identity"}
    debug = world.processor.launch(GUEST, 0).report(data, bytes(16))
    assert found(debug) == {"tee.policy"}


def test_a_guest_cannot_pose_as_a_vtpm_service(world: World) -> None:
    """Whoever can ask the guest's processor for reports must not be able to launch vTPMs."""
    other = World(world.processor)
    other.guest = other.pod
    other.page = other.report(binding.launch_report_data(other.claims))
    policy = other.policy(accepted_measurements=world.policy().accepted_measurements)
    assert ids(judge(other, policy=policy)) == {"tee.measurement"}


def test_a_relayed_vtpm_says_nothing_about_its_guest_without_a_fresh_report(world: World) -> None:
    policy = world.policy(accepted_measurements=(), relayed_measurements=(world.guest.measurement,))
    assert ids(judge(world, policy=policy)) == {"tee.fresh.missing"}
    quote = world.quote()
    fresh = world.tee(world.pod.report(world.fresh_data(quote), bytes(16)))
    evidence = world.evidence(quote=quote, fresh_report=fresh)
    assert ids(judge(world, evidence, policy)) == set()
