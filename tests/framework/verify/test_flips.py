"""Flip coverage of small evidence: all of its bytes, and the engine that counts them."""

import struct
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from cryptography import x509

from harness.framework.evidence import binding
from harness.framework.evidence.bundle import Evidence, ImaPrefix, encode_evidence
from harness.framework.tee import verifiers
from harness.framework.tee.csv_processor import SoftwareProcessor
from harness.framework.verify import Policy, VerificationCache
from harness.model.errors import InputError, RejectedError
from harness.workloads import flips
from harness.workloads.flip_fields import fields_of, kind_of
from harness.workloads.flips import (
    ALL_MASKS,
    UNAUTHENTICATED,
    UNAUTHENTICATED_BY_PARAVISORS,
    FlipCoverage,
    flip_coverage,
)
from harness.workloads.logs import BootLog, ImaLog, template_data

from .guest_list import demonstration
from .platforms import world_of
from .test_containers import guest_evidence, guest_policy
from .world import NOW, World, attest, ids, judge

Masks = tuple[int, ...]
T = TypeVar("T")

DOCUMENT = Path(__file__).parents[3] / "docs" / "flip-coverage.md"
SPEC_ID = struct.pack("<16sIBBBBIHHHHB", b"Spec ID Event03\0", 0, 0, 2, 0, 2, 2, 4, 20, 11, 32, 0)


def short_boot() -> BootLog:
    """One event for each of the firmware's PCRs."""
    log = struct.pack("<II20sI", 0, 3, bytes(20), len(SPEC_ID)) + SPEC_ID
    extends = []
    for pcr in range(10):
        digest = sha256(b"event %d" % pcr).digest()
        log += struct.pack("<IIIH20sH", pcr, 13, 2, 4, bytes(20), 11) + digest
        log += struct.pack("<I", 2) + b"x%d" % pcr
        extends.append((pcr, digest))
    return BootLog(log, tuple(extends))


def short_ima(boot: BootLog) -> ImaLog:
    pcrs = [sha256(bytes(32) + digest).digest() for _, digest in boot.extends]
    measured = [("boot_aggregate", sha256(b"".join(pcrs)).digest())]
    measured += [(f"/bin/{name}", sha256(name.encode()).digest()) for name in ("init", "sh")]
    datas = [template_data(path, digest) for path, digest in measured]
    log = b"".join(
        struct.pack("<I20sI6sI", 10, b"\1" * 20, 6, b"ima-ng", len(data)) + data for data in datas
    )
    allowed: dict[str, tuple[bytes, ...]] = {path: (digest,) for path, digest in measured[1:]}
    return ImaLog(log, tuple(sha256(data).digest() for data in datas), allowed)


@pytest.fixture(scope="module")
def small(processor: SoftwareProcessor) -> World:
    boot = short_boot()
    return World(processor, logs=(boot, short_ima(boot)))


@pytest.fixture(scope="module")
def every_byte(small: World) -> FlipCoverage:
    return covered(small, small.evidence(), small.policy())


def covered(
    world: World, evidence: Evidence, policy: Policy, *, step: int = 1, masks: Masks = (0x01,)
) -> FlipCoverage:
    wire = encode_evidence(evidence)
    places = range(0, len(wire), step)
    return flip_coverage(wire, policy, world.challenge(), NOW, places=places, masks=masks)


def test_every_byte_is_authenticated_or_known_not_to_be(every_byte: FlipCoverage) -> None:
    assert every_byte.flips == every_byte.size_bytes
    assert every_byte.compared == pytest.approx(every_byte.flips / 64, abs=1)
    assert every_byte.unjustified == ()


def test_each_field_is_refused_for_its_own_reason(every_byte: FlipCoverage) -> None:
    failures = {field.field: set(field.failures) for field in every_byte.fields}
    assert failures["nonce"] == {"freshness.nonce"}
    assert failures["quote.attest.magic"] == {"quote.magic", "quote.signature"}
    assert failures["launch.ek_name"] == {"chain.ak.launch", "tee.report.binding"}
    assert failures["launch_report.report.measurement"] == {"tee.report.signature"}
    assert failures["launch_report.report.mac"] == {"tee.report.mac"}
    assert failures["launch_report.certificates.cek.slot2.spare"] == {"tee.csv.format"}
    assert "chain.signature" in failures["ak_certificate.signature"]


def test_the_document_justifies_exactly_what_is_unauthenticated(every_byte: FlipCoverage) -> None:
    rows = [line.split("|") for line in DOCUMENT.read_text().splitlines()]
    listed = {row[1].strip().strip("`") for row in rows if len(row) == 4 and "`" in row[1]}
    assert listed == set(UNAUTHENTICATED) | set(UNAUTHENTICATED_BY_PARAVISORS)
    expected = {field for field in UNAUTHENTICATED if "report" not in field}
    assert set(every_byte.accepted_fields) == expected - {"ima_log.after_quote"}


def test_a_fresh_report_leaves_no_byte_unauthenticated(world: World) -> None:
    evidence = world.with_deep_quote()
    page = world.pod.report(world.fresh_data(evidence.quote), bytes(16))
    evidence = msgspec.structs.replace(evidence, fresh_report=world.tee(page))
    found = covered(world, evidence, world.policy(), step=97, masks=ALL_MASKS)
    assert found.flips > 700
    assert found.rejected == found.flips


@pytest.mark.parametrize("kind", verifiers())
def test_no_tee_leaves_a_gap(kind: str, processor: SoftwareProcessor) -> None:
    world = world_of(kind, processor)
    found = covered(world, world.evidence(), world.policy(), step=61)
    assert found.unjustified == ()


@pytest.mark.parametrize("kind", ["az-snp-vtpm", "az-tdx-vtpm"])
def test_a_paravisor_vouches_for_the_key_and_not_for_its_attributes(
    kind: str, processor: SoftwareProcessor
) -> None:
    world = world_of(kind, processor)
    wire = encode_evidence(world.evidence())
    at = wire.index(world.public) + 4
    found = flip_coverage(
        wire, world.policy(), world.challenge(), NOW, places=range(at, at + 4), masks=(0x40, 0x02)
    )
    assert found.accepted_fields == ("ak_public.attributes",)
    # Without sign (bit 18) or fixedTPM (bit 1) it is no attestation key, whoever vouches for it.
    assert found.fields[0].failures == {"chain.ak.attributes": 2}
    assert found.unjustified == ()
    assert msgspec.structs.replace(found, scheme="chain").unjustified != ()


def test_containers_and_what_was_measured_after_the_quote(world: World) -> None:
    guest = demonstration(world.pcrs)
    evidence = guest_evidence(world, guest, guest.binary + guest.entries[1].raw)
    found = covered(world, evidence, guest_policy(world), step=23)
    assert found.unjustified == ()
    assert {"ima_log[].sha1", "ima_log.after_quote"} <= set(found.accepted_fields)


def test_a_list_that_goes_on_from_a_known_one(world: World) -> None:
    def quoted_after(entries: int) -> dict[str, object]:
        value = bytes(32)
        for extended in world.ima.template_hashes_sha256[:entries]:
            value = sha256(value + extended).digest()
        pcrs = world.pcrs | {10: value}
        quote = world.quote(attest(binding.quote_qualifier(world.nonce), pcrs))
        return {"pcr_values": pcrs, "quote": quote}

    first = judge(world, world.evidence(**quoted_after(30)))
    assert first.state is not None
    assert first.state.known is not None
    end = first.state.known.end
    assert end.entries == 30
    second = world.evidence(
        version=2,
        ima_prefix=ImaPrefix(end.entries, end.pcr),
        ima_log=world.ima.binary[end.size :],
        **quoted_after(45),
    )
    wire = encode_evidence(second)
    found = flip_coverage(
        wire,
        world.policy(),
        world.challenge(previous=first.state),
        NOW,
        places=range(0, len(wire), 23),
    )
    assert found.unjustified == ()
    assert {"ima_log[].sha1", "ima_log.after_quote"} <= set(found.accepted_fields)


def test_a_signature_may_not_claim_unused_bits(small: World) -> None:
    der = small.leaf_spec().der()
    while der[-1] & 1:
        der = small.leaf_spec().der()
    at = len(der) - len(x509.load_der_x509_certificate(der).signature) - 1
    changed = der[:at] + b"\1" + der[at + 1 :]
    # The same certificate to the library, and to OpenSSL, in another encoding.
    assert x509.load_der_x509_certificate(changed).signature == der[at + 1 :]
    assert ids(judge(small, small.evidence(ak_certificate=changed))) == {"chain.ak.format"}


def test_gaps_are_told_from_what_is_known(
    every_byte: FlipCoverage, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {field: why for field, why in UNAUTHENTICATED.items() if field != "boot_log[].data"}
    monkeypatch.setattr(flips, "UNAUTHENTICATED", known)
    (gap,) = every_byte.unjustified
    assert gap.field == "boot_log[].data"
    assert gap.accepted == gap.flips == 20
    assert gap.examples[0].startswith("boot_log[1].data at ")


def test_refused_evidence_and_useless_masks_are_errors(small: World) -> None:
    wire = encode_evidence(small.evidence())
    with pytest.raises(InputError, match=r"refused: freshness\.expired"):
        flip_coverage(wire, small.policy(), small.challenge(), NOW + 60)
    with pytest.raises(InputError, match="from 1 to 255"):
        flip_coverage(wire, small.policy(), small.challenge(), NOW, masks=(0,))


def test_a_cache_that_changes_an_answer_is_noticed(
    small: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Careless(VerificationCache):
        """Takes every attestation key for the first one."""

        def memo(self, key: bytes, check: Callable[[], T], /) -> T:
            public = check.__qualname__.startswith("_check_key")
            return super().memo(b"public" if public else key, check)

    monkeypatch.setattr(flips, "VerificationCache", Careless)
    wire = encode_evidence(small.evidence())
    at = wire.index(small.public) + len(small.public) - 1
    with pytest.raises(RejectedError, match=f"byte {at} .* otherwise with a cache"):
        flip_coverage(wire, small.policy(), small.challenge(), NOW, places=[at])


def test_processes_share_the_work_and_find_the_same(small: World) -> None:
    wire = encode_evidence(small.evidence())
    one, two = (
        flip_coverage(
            wire, small.policy(), small.challenge(), NOW,
            places=range(0, len(wire), 97), processes=processes,
        )
        for processes in (1, 2)
    )  # fmt: skip
    assert msgspec.structs.replace(one, seconds=0.0, compared=0) == msgspec.structs.replace(
        two, seconds=0.0, compared=0
    )


def test_fields_cover_every_byte_once(world: World) -> None:
    wire = encode_evidence(world.with_deep_quote())
    spans = fields_of(wire, 50)
    assert [span.start for span in spans[1:]] == [span.end for span in spans[:-1]]
    assert (spans[0].start, spans[-1].end) == (0, len(wire))
    names = {wire[span.start : span.end]: span.field for span in spans}
    assert names[world.claims.ak_name] == "launch.ak_name"
    assert names[world.boot.extends[3][1]] == "boot_log[4].sha256"
    assert kind_of("boot_log[4].sha256") == "boot_log[].sha256"
