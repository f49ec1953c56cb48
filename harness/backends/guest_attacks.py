"""Attacks that only a booted guest can play: a guest for each, and one without any, their twin."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from harness.backends.guest_files import GuestJob
from harness.model.errors import InputError
from harness.model.record import (
    ATTACKS_NOTE,
    DETECTION,
    EVIDENCE_SIZE,
    AttackOutcome,
    Sample,
    TrialOutcome,
)
from harness.model.scenario import AttackCase, Scalar, Workload

# What the agent does (option ``hide`` of guest_attestation), by row and case of docs/attacks.md.
HIDING = {
    ("T20", "hidden-by-the-hosts-measurement"): "measured",
    ("T20", "run-through-setns"): "setns",
    ("T21", "nested-unshare-in-a-guest"): "nested",
    ("T25", "other-manager-in-a-guest"): "manager",
}
_HONEST = "honest"
_TIMEOUT_S = 180.0

RunGuest = Callable[[GuestJob], TrialOutcome]


def run_attacks(job: GuestJob, run_guest: RunGuest) -> TrialOutcome:
    """Boot the honest guest, then one for each case, and say in the notes what came of each.

    Raises InputError for a case that no guest plays.
    """
    cases = [case for case in job.request.workload.cases if not case.why_not]
    for case in cases:
        if (case.row, case.case) not in HIDING:
            known = ", ".join(f"{row} {name}" for row, name in HIDING)
            raise InputError(f"attack {case.row} {case.case}: guests play {known}")
    honest = run_guest(_job(job, 0, None))
    if honest.status not in ("ok", "rejected"):
        return TrialOutcome("failed", reason=f"the honest guest {honest.status}: {honest.reason}")
    twin = honest.reason
    evidence, names = _kept(honest, _HONEST)
    outcomes: list[AttackOutcome] = []
    samples: list[Sample] = []
    for number, case in enumerate(cases, 1):
        ended = run_guest(_job(job, number, HIDING[case.row, case.case]))
        outcomes.append(_outcome(case, ended, twin))
        samples += _samples(case, ended)
        more, more_names = _kept(ended, case.case)
        evidence, names = evidence + more, names + more_names
    notes = {
        ATTACKS_NOTE: msgspec.json.encode(outcomes).decode(),
        "trust_kind": honest.notes.get("trust_kind", "none"),
        "evidence_names": ",".join(names),
    }
    return TrialOutcome("ok", tuple(samples), evidence=evidence, notes=notes)


def _job(job: GuestJob, number: int, hide: str | None) -> GuestJob:
    request = job.request
    # Short: a unix socket of the TPM lies below it.
    workdir = Path(request.workdir) / str(number)
    workdir.mkdir()
    options: dict[str, Scalar] = {} if hide is None else {"hide": hide}
    workload = Workload(
        f"{request.workload.name}-{number}",
        "guest_attestation",
        iterations=request.workload.iterations,
        warmup=request.workload.warmup,
        options=options,
        timeout_s=_TIMEOUT_S,
    )
    own = msgspec.structs.replace(request, workload=workload, workdir=str(workdir))
    return msgspec.structs.replace(job, request=own)


def _outcome(case: AttackCase, ended: TrialOutcome, twin: str) -> AttackOutcome:
    if ended.status == "ok":
        return AttackOutcome(case.case, twin=twin)
    # What the guest sent malformed is no answer of the verifier.
    if ended.status != "rejected" or ended.reason.startswith("guest."):
        return AttackOutcome(case.case, error=f"the guest {ended.status}: {ended.reason}")
    stage, failures = ended.notes.get("refused_at", ""), tuple(ended.reason.split(","))
    return AttackOutcome(case.case, stage, failures, twin)


def _samples(case: AttackCase, ended: TrialOutcome) -> Iterator[Sample]:
    """Time until the verifier's answer, and the size of what it was shown."""
    if (taken := ended.notes.get("verification_ns")) is not None:
        yield Sample(DETECTION, case.case, "measured", 0, float(taken), "ns", "monotonic")
    kept = dict(zip(_names(ended), ended.evidence, strict=True))
    if "evidence" in kept:
        size = float(len(kept["evidence"]))
        yield Sample(EVIDENCE_SIZE, case.case, "measured", 0, size, "B", "")


def _names(ended: TrialOutcome) -> list[str]:
    names = ended.notes.get("evidence_names", "")
    return names.split(",") if names else []


def _kept(ended: TrialOutcome, prefix: str) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
    """The guest's evidence, logs and console, named after what it played."""
    return ended.evidence, tuple(f"{prefix}.{name}" for name in _names(ended))
