"""What a guest attested, put together with its TPM's side and judged by our verifier."""

from collections.abc import Sequence
from typing import NamedTuple

from harness.backends.guest_tpm import GuestTpm, Round
from harness.framework.errors import ParseError
from harness.framework.vtpm.pod import DevicePod
from harness.guest.machine.results import GuestOutputError, GuestResults
from harness.model.record import Sample
from harness.workloads.guest_attestation import Answered, judge, judge_containers
from harness.workloads.guest_demo import demo_notes
from harness.workloads.guest_evidence import GuestAttestation, attestations_of
from harness.workloads.guest_references import References, measured_policy

# A guest under emulation takes seconds for what hardware does in milliseconds.
CHALLENGE_LIFETIME_S = 120.0
_MAX_DETAIL = 400


class Judged(NamedTuple):
    """The verdict: ``failures`` are ids, none when accepted; ``evidence`` is by name."""

    failures: tuple[str, ...]
    evidence: dict[str, bytes]
    notes: dict[str, str]
    samples: tuple[Sample, ...]


def judge_guest(
    arm_kind: str,
    references: References,
    tpm: GuestTpm,
    rounds: Sequence[Round],
    results: GuestResults,
) -> Judged:
    """Judge every round; what the guest sent malformed is a rejection too."""
    try:
        made = attestations_of(results, len(rounds))
        answered = [
            Answered(one.nonce, one.issued_s, one.answered_s, _evidence(tpm, one, attestation))
            for one, attestation in zip(rounds, made, strict=True)
        ]
    except (GuestOutputError, ParseError) as error:
        return Judged((f"guest.output {error}",), {}, {}, ())
    if not answered:
        return Judged(("guest.output no attestation",), {}, {}, ())
    policy = measured_policy(tpm.policy, references, arm_kind)
    result, taken_ns = judge(answered, policy, CHALLENGE_LIFETIME_S)
    failures = {failure.id for failure in result.failures}
    notes = {
        "trust_kind": result.trust_kind,
        "refused_at": result.stage,
        "verification_ns": str(taken_ns),
        "attestations": str(len(answered)),
        **demo_notes(made[-1].ima_log, results.notes, failures),
    }
    if result.failures:
        first = result.failures[0]
        notes["first_failure"] = f"{first.id}: {first.detail}"[:_MAX_DETAIL]
    if not failures:
        tenants = judge_containers(results.files, made[0], policy)
        failures = {failure for found in tenants.values() for failure in found}
        notes["refused_at"] = "tenant" if failures else ""
        notes["containers_verified_alone"] = str(len(tenants) - sum(map(bool, tenants.values())))
    evidence = answered[-1].evidence
    size = Sample("evidence_size_bytes", "total", "measured", 0, float(len(evidence)), "B", "")
    kept = {"evidence": evidence, "boot_log": made[-1].boot_log, "ima_log": made[-1].ima_log}
    return Judged(tuple(sorted(failures)), kept, notes, (size,))


def _evidence(tpm: GuestTpm, one: Round, made: GuestAttestation) -> bytes:
    parts = (one.nonce, made.quote, made.pcr_values, made.boot_log, made.ima_log)
    if isinstance(tpm.pod, DevicePod):
        return tpm.pod.evidence(*parts, fresh_report=one.report)
    return tpm.pod.evidence(*parts)
