"""Verdicts on the registered claims.

`holds` needs data from five complete blocks, a quiet A/A comparison and a p value below 0.05 after
Holm over all registered claims that have a margin. `fails` needs the opposite shown at 0.05; all
else is `inconclusive`.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from harness.model.errors import InputError
from harness.model.estimate import ClaimResult, Verdict
from harness.model.scenario import AA_SUFFIX, Claim
from harness.stats import equivalence
from harness.stats.estimates import Comparison, compare
from harness.stats.multiplicity import holm
from harness.stats.reducers import usual_reducer
from harness.stats.series import CampaignData, Series, SeriesKey, collect
from harness.stats.size import FEWEST_CLAIM_PAIRS, pairs_for_claim

NO_PARTNER = "other arm of the block not ok"


@dataclass(frozen=True)
class Evidence:
    """What there is on a claim; ``missing`` says why there is no estimate."""

    estimate: Comparison | None
    noise: Comparison | None
    missing: str = ""


def judge_claims(
    campaign: CampaignData, series: Mapping[SeriesKey, Series]
) -> tuple[ClaimResult, ...]:
    """Judge every claim of the scenario, in its order. ``series``: `collect(campaign)`."""
    claims = campaign.scenario.claims
    gathered = [_gather(campaign, claim, series) for claim in claims]
    p_values = [_p_value(claim, found) for claim, found in zip(claims, gathered, strict=True)]
    adjusted = iter(holm([p for p in p_values if p is not None]))
    results: list[ClaimResult] = []
    for claim, found, p in zip(claims, gathered, p_values, strict=True):
        p_holm = None if p is None else next(adjusted)
        verdict, why = _verdict(claim, found, p_holm)
        tested = found.estimate is not None
        results.append(
            ClaimResult(
                claim_id=claim.id,
                title=claim.title,
                kind=claim.kind,
                margin_low=claim.low,
                margin_high=claim.at_most if claim.kind == "at_most" else claim.high,
                paper=claim.paper,
                verdict=verdict,
                p_value=p if tested else None,
                p_holm=p_holm if tested else None,
                why=why,
                estimate=found.estimate.estimate if found.estimate else None,
                noise_floor=found.noise.estimate if found.noise else None,
                excluded_trials=_excluded(campaign, claim),
                flagged_trials=_flagged(campaign, claim),
            )
        )
    return tuple(results)


def claim_series(campaign: CampaignData, claim: Claim) -> SeriesKey:
    """Series that the claim is about; raises InputError unless its factors name one cell."""
    matching = [
        cell.id
        for cell in campaign.cells.values()
        if cell.workload == claim.workload
        and all(cell.factors.get(name) == value for name, value in claim.factors.items())
    ]
    if len(matching) != 1:
        raise InputError(
            f"claim {claim.id}: its factors name {len(matching)} cells of workload "
            f"{claim.workload}, expected exactly 1: give every factor of the workload"
        )
    return SeriesKey(matching[0], claim.metric, claim.part, claim.phase)


def _gather(campaign: CampaignData, claim: Claim, series: Mapping[SeriesKey, Series]) -> Evidence:
    key = claim_series(campaign, claim)
    try:
        if key not in series:
            raise InputError("no ok trial has this metric and part")
        found = series[key]
        if claim.reducer != usual_reducer(found.unit):
            found = collect(campaign, claim.reducer, only=key)[key]
        estimate = compare(campaign, found, claim.candidate, claim.reducer)
    except InputError as error:
        return Evidence(None, None, str(error))
    try:
        copy = campaign.scenario.baseline_of(claim.workload) + AA_SUFFIX
        noise = compare(campaign, found, copy, claim.reducer)
    except InputError as error:
        return Evidence(estimate, None, str(error))
    return Evidence(estimate, noise)


def _p_value(claim: Claim, found: Evidence) -> float | None:
    """p value of the claim's test; an untested claim stays in Holm's family with 1."""
    if claim.kind == "estimate":
        return None
    if found.estimate is None:
        return 1.0
    low, high = _margins(claim)
    if claim.kind == "at_most":
        return equivalence.p_below(found.estimate.fit, high)
    return equivalence.p_inside(found.estimate.fit, low, high)


def _verdict(claim: Claim, found: Evidence, p_holm: float | None) -> tuple[Verdict, str]:
    if found.estimate is None:
        return "inconclusive", f"no estimate: {found.missing}"
    pairs = found.estimate.fit.n_pairs
    if pairs < FEWEST_CLAIM_PAIRS:
        return "inconclusive", f"{pairs} complete blocks; a verdict needs {FEWEST_CLAIM_PAIRS}"
    if found.noise is None:
        return "inconclusive", f"no A/A comparison, so the noise floor is unknown: {found.missing}"
    if found.noise.fit.n_pairs < FEWEST_CLAIM_PAIRS:
        return "inconclusive", (
            f"{found.noise.fit.n_pairs} complete A/A blocks; a verdict needs {FEWEST_CLAIM_PAIRS}"
        )
    bias, allowed = _bias(found.noise), _allowed_bias(claim, found.estimate)
    if bias > allowed:
        interval = _percent_range(*found.noise.fit.interval())
        return "inconclusive", (
            f"two copies of the baseline differ: the A/A interval {interval} is {bias:.2%} away "
            f"from 0, more than the {allowed:.2%} that this claim allows"
        )
    if p_holm is None:
        interval = _percent_range(*found.estimate.fit.interval())
        return "holds", f"an estimate without margin: 95 % interval {interval}"
    return _against_margins(claim, found.estimate, p_holm)


def _against_margins(claim: Claim, found: Comparison, p_holm: float) -> tuple[Verdict, str]:
    low, high = _margins(claim)
    interval = f"90 % interval {_percent_range(*found.fit.interval(0.90))}"
    if claim.kind == "at_most":
        side = equivalence.against_margin(found.fit, high, p_holm)
        target = f"{high:.2%}"
    else:
        side = equivalence.against_range(found.fit, low, high, p_holm)
        target = _percent_range(low, high)
    if side in ("below", "inside"):
        return "holds", f"{interval} is {side} {target}, p = {p_holm:.2g} after Holm"
    if side in ("above", "outside"):
        return "fails", f"{interval} is {side} {target}"
    return "inconclusive", (
        f"{interval} does not decide about {target} (p = {p_holm:.2g} after Holm); "
        f"{_what_would_decide(claim, found)}"
    )


def _what_would_decide(claim: Claim, found: Comparison) -> str:
    try:
        needed = pairs_for_claim(claim, found.fit.sd_log, found.fit.point)
    except InputError:
        return "the estimate itself does not meet the claim, or too narrowly to be shown"
    if needed <= found.fit.n_pairs:
        return "the claim alone would hold, but not as one of several: more blocks may settle it"
    return (
        f"this spread and estimate need about {needed} blocks, there are {found.fit.n_pairs}; "
        "the number must be fixed before it is run"
    )


def _margins(claim: Claim) -> tuple[float, float]:
    """Lower and upper margin; an ``at_most`` claim reaches from no overhead to its margin."""
    low = 0.0 if claim.kind == "at_most" else claim.low
    high = claim.at_most if claim.kind == "at_most" else claim.high
    if low is None or high is None:
        raise InputError(f"claim {claim.id}: a claim of kind {claim.kind} must give its margins")
    return low, high


def _bias(noise: Comparison) -> float:
    """Distance of the A/A interval from zero, 0 when it covers zero."""
    low, high = noise.fit.interval()
    return max(low, -high, 0.0)


def _allowed_bias(claim: Claim, found: Comparison) -> float:
    """Half the width of the margins, or of the interval where the claim has no margin."""
    low, high = found.fit.interval() if claim.kind == "estimate" else _margins(claim)
    return abs(high - low) / 2


def _excluded(campaign: CampaignData, claim: Claim) -> dict[str, int]:
    """Trials of the claim's arms that gave no number, by reason."""
    trials = _claim_trials(campaign, claim)
    ok = trials["status"] == "ok"
    reasons = trials["reason"].where(trials["reason"] != "", trials["status"])[~ok]
    counts = Counter(str(reason) for reason in reasons)
    baseline = campaign.scenario.baseline_of(claim.workload)
    compared = trials[ok & trials["arm"].isin([claim.candidate, baseline])]
    alone = compared.groupby("block")["arm"].nunique()
    if (unpaired := int((alone == 1).sum())) > 0:
        counts[NO_PARTNER] = unpaired
    return dict(sorted(counts.items()))


def _flagged(campaign: CampaignData, claim: Claim) -> int:
    """Trials of the claim's arms that are used although the noise gate flagged them."""
    trials = _claim_trials(campaign, claim)
    return int((trials["flagged"].astype(bool) & (trials["status"] == "ok")).sum())


def _claim_trials(campaign: CampaignData, claim: Claim) -> pd.DataFrame:
    baseline = campaign.scenario.baseline_of(claim.workload)
    arms = [baseline, baseline + AA_SUFFIX, claim.candidate]
    trials = campaign.trials
    cell_id = claim_series(campaign, claim).cell_id
    return trials[(trials["cell_id"] == cell_id) & trials["arm"].isin(arms)]


def _percent_range(low: float, high: float) -> str:
    if math.isclose(low, high, abs_tol=5e-7):
        return f"[{low:.2%}]"
    return f"[{low:.2%}, {high:.2%}]"
