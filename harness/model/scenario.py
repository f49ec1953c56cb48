"""What a scenario says (design §3): arms, factors, workloads and claims, validated and frozen."""

from typing import Literal

import msgspec

Scalar = bool | int | float | str
ClaimKind = Literal["estimate", "at_most", "equivalent"]
Reducer = Literal["mean", "median", "p10", "p95", "p99"]
BackendName = Literal["process", "qemu", "fake"]
Layout = Literal["sequential", "interleaved"]
SamplePhase = Literal["warmup", "first", "measured"]
Mounting = Literal["deployment", "evidence", "guest", "none"]


class Arm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One named configuration that is compared; ``kind`` names what the backend starts."""

    name: str
    kind: str
    options: dict[str, Scalar] = {}


class AttackCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One attack, and what must come of it.

    ``row``: its number in docs/attacks.md; ``case``: its own name. ``mounted``: on a running
    deployment, on evidence of one that was changed afterwards, in a booted guest, or not at all.
    ``stage`` and ``failures``: where it must be refused, and for exactly which reasons; without
    failures it must be accepted. ``why_not``: the reason why this scenario doesn't run it.
    """

    row: str
    case: str
    title: str
    mounted: Mounting
    stage: str = ""
    failures: tuple[str, ...] = ()
    why_not: str = ""


class Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What each trial does, under every combination of its factors.

    ``layout``: whether a block's trials run one after the other, or are all alive and take turns
    every few iterations (for machines whose speed others change). ``baseline``: the arm that the
    others are compared with here, "" for the scenario's. One block only shows that the workload
    works: it has no A/A copy, and no claim may be about it. ``cases``: of an attack matrix.
    """

    name: str
    kind: str
    iterations: int
    warmup: int = 0
    blocks: int | None = None
    pilot: int | None = None
    max_blocks: int = 200
    arms: tuple[str, ...] = ()
    factors: dict[str, tuple[Scalar, ...]] = {}
    options: dict[str, Scalar] = {}
    timeout_s: float = 120.0
    layout: Layout = "sequential"
    baseline: str = ""
    cases: tuple[AttackCase, ...] = ()


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pre-registered statement about candidate/baseline - 1 in one cell; margins are fractions.

    ``expected``: the overhead assumed when the pilot's spread fixes the number of blocks; without
    it, the middle of the margins (on the log scale; for ``at_most`` between 0 and the margin).
    """

    id: str
    title: str
    workload: str
    metric: str
    part: str
    candidate: str
    kind: ClaimKind
    phase: SamplePhase = "measured"
    reducer: Reducer = "mean"
    factors: dict[str, Scalar] = {}
    at_most: float | None = None
    low: float | None = None
    high: float | None = None
    expected: float | None = None
    paper: str = ""


class NoiseGate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Machine conditions before a trial; what exceeds them is flagged, never hidden."""

    max_load: float = 1.5
    max_steal_percent: float = 2.0
    max_swap_in_pages: int = 0
    wait_s: float = 0.0


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole evaluation. The arm ``baseline`` and its A/A copy run in every block.

    A workload may name another baseline; `baseline_of` says which one counts.
    """

    name: str
    title: str
    seed: int
    backend: BackendName
    baseline: str
    arms: tuple[Arm, ...]
    workloads: tuple[Workload, ...]
    claims: tuple[Claim, ...] = ()
    description: str = ""
    noise: NoiseGate = NoiseGate()
    assumed_sd_log: float = 0.02

    def baseline_of(self, workload: str) -> str:
        """Name of the arm that the other arms of ``workload`` are compared with."""
        own = next((one.baseline for one in self.workloads if one.name == workload), "")
        return own or self.baseline


AA_SUFFIX = "+aa"


class Cell(msgspec.Struct, frozen=True):
    """One workload under one assignment of its factors; ``id`` hashes all of them."""

    id: str
    workload: str
    factors: dict[str, Scalar]


class PlannedTrial(msgspec.Struct, frozen=True):
    """One arm in one block of one cell; ``arm`` may be the baseline's A/A copy."""

    trial_id: str
    cell_id: str
    block: int
    position: int
    arm: str
