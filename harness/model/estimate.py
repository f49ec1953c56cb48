"""What statistics say about a campaign (facts: position-adjusted paired log ratio)."""

from typing import Literal

import msgspec

from harness.model.record import FlipOutcome
from harness.model.scenario import AttackCase, ClaimKind, Reducer, SamplePhase, Scalar

Verdict = Literal["holds", "fails", "inconclusive"]
AttackVerdict = Literal[
    "as expected", "not detected", "wrong reason", "twin refused", "failed", "not run"
]


class Estimate(msgspec.Struct, frozen=True):
    """Relative cost of ``candidate`` over ``baseline``: 0.098 means +9.8 %.

    ``low``/``high``: ``confidence`` interval; ``low90``/``high90``: two-sided 90 %;
    ``fieller_*``: interval of the ratio of arithmetic means (cross-check);
    ``baseline_mean``/``candidate_mean``: mean over trials of the reduced values, in ``unit``;
    ``baseline_low`` .. ``candidate_high``: t-interval of these means over trials.
    """

    cell_id: str
    workload: str
    factors: dict[str, Scalar]
    metric: str
    part: str
    phase: SamplePhase
    reducer: Reducer
    unit: str
    baseline: str
    candidate: str
    point: float
    low: float
    high: float
    low90: float
    high90: float
    confidence: float
    n_pairs: int
    sd_log: float
    position_effect: float
    mde: float
    fieller_low: float
    fieller_high: float
    estimators_disagree: bool
    baseline_mean: float
    baseline_low: float
    baseline_high: float
    candidate_mean: float
    candidate_low: float
    candidate_high: float
    difference_mean: float
    difference_low: float
    difference_high: float
    q_value: float | None = None


class ClaimResult(msgspec.Struct, frozen=True):
    """A pre-registered claim with its verdict. ``noise_floor``: half-width of A/A 95 % interval."""

    claim_id: str
    title: str
    kind: ClaimKind
    margin_low: float | None
    margin_high: float | None
    paper: str
    verdict: Verdict
    p_value: float | None
    p_holm: float | None
    why: str
    estimate: Estimate | None
    noise_floor: Estimate | None
    excluded_trials: dict[str, int]
    flagged_trials: int


class CostModel(msgspec.Struct, frozen=True):
    """candidate = fixed per round trip x round trips + (1 + proportional) x baseline, per cell."""

    cell_id: str
    candidate: str
    fixed_ns: float
    fixed_low_ns: float
    fixed_high_ns: float
    proportional: float
    proportional_low: float
    proportional_high: float
    n_blocks: int
    n_parts: int


class AttackResult(msgspec.Struct, frozen=True):
    """An attack of the scenario, held against what came of it.

    ``stage`` and ``failures``: as found. ``detection_ns``: median time from the evidence or request
    to the answer, over ``n`` repetitions; None, as ``evidence_bytes``, where there was none.
    ``why``: what is wrong, or why it was not run.
    """

    attack: AttackCase
    verdict: AttackVerdict
    stage: str = ""
    failures: tuple[str, ...] = ()
    detection_ns: float | None = None
    n: int = 0
    evidence_bytes: int | None = None
    why: str = ""


class CampaignEstimates(msgspec.Struct, frozen=True):
    """Content of ``estimates.json``."""

    format_version: int
    campaign: str
    claims: tuple[ClaimResult, ...]
    estimates: tuple[Estimate, ...]
    cost_models: tuple[CostModel, ...]
    trials_planned: int
    trials_by_status: dict[str, int]
    flagged_by_reason: dict[str, int]
    interrupted_blocks: int
    attacks: tuple[AttackResult, ...] = ()
    flips: FlipOutcome | None = None
