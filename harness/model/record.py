"""What a run leaves behind: trials and samples (design §3 and §4)."""

from typing import Literal

import msgspec

from harness.model.scenario import Arm, Cell, SamplePhase, Workload

TrialStatus = Literal["ok", "rejected", "failed", "timeout"]


class Sample(msgspec.Struct, frozen=True):
    """One measured value. ``part`` names the command or phase inside the metric."""

    metric: str
    part: str
    phase: SamplePhase
    iteration: int
    value: float
    unit: str
    clock: str


class NoiseFlag(msgspec.Struct, frozen=True):
    """One machine condition outside its limit right before or during the trial."""

    name: str
    value: float
    limit: float


class TrialRecord(msgspec.Struct, frozen=True):
    """One line of ``trials.jsonl``: the commit point of a trial."""

    trial_id: str
    cell_id: str
    workload: str
    arm: str
    arm_kind: str
    block: int
    position: int
    started_utc: str
    started_s: float
    duration_s: float
    status: TrialStatus
    provenance: str
    samples: int
    reason: str = ""
    noise: tuple[NoiseFlag, ...] = ()
    evidence: tuple[str, ...] = ()
    interrupted_block: bool = False
    notes: dict[str, str] = {}


class TrialRequest(msgspec.Struct, frozen=True):
    """What a backend needs to run one trial. Paths are absolute.

    ``seed`` is that of the block: all its arms work on the same input. ``workdir`` is empty,
    private to the trial and removed after it.
    """

    trial_id: str
    cell: Cell
    workload: Workload
    arm: Arm
    seed: int
    workdir: str
    block: int = 0
    position: int = 0


# Notes and metrics of trials that run attacks.
ATTACKS_NOTE, FLIPS_NOTE = "attacks", "flips"
DETECTION, EVIDENCE_SIZE = "attack_detection_ns", "attack_evidence_bytes"


class AttackOutcome(msgspec.Struct, frozen=True):
    """What came of one attack; a trial's note ``attacks`` is a JSON list of these.

    ``stage``: where it was refused ("" if it wasn't), ``failures``: all reasons that were given.
    ``twin``: why the same without the attack was refused, "" if it was accepted as it must be.
    ``error``: why the attack couldn't be mounted.
    """

    case: str
    stage: str = ""
    failures: tuple[str, ...] = ()
    twin: str = ""
    error: str = ""


class FlipOutcome(msgspec.Struct, frozen=True):
    """Bytes of accepted evidence, changed one at a time; a trial's note ``flips`` is this as JSON.

    ``accepted`` counts by field the changes that nobody noticed; ``gaps`` are places of those for
    which no reason is documented (docs/flip-coverage.md).
    """

    size_bytes: int
    flips: int
    rejected: int
    accepted: dict[str, int]
    gaps: tuple[str, ...]


class TrialOutcome(msgspec.Struct, frozen=True):
    """What a backend hands back; samples of a trial that is not ``ok`` never become estimates."""

    status: TrialStatus
    samples: tuple[Sample, ...] = ()
    reason: str = ""
    evidence: tuple[bytes, ...] = ()
    notes: dict[str, str] = {}
