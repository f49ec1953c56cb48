"""All estimates of a campaign, from the store alone."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from harness.model.errors import InputError
from harness.model.estimate import CampaignEstimates, Estimate
from harness.model.scenario import AA_SUFFIX
from harness.stats.attacks import flips_of, judge_attacks
from harness.stats.claims import claim_series, judge_claims
from harness.stats.cost_model import cost_models
from harness.stats.equivalence import p_no_difference
from harness.stats.estimates import Comparison, compare
from harness.stats.multiplicity import benjamini_hochberg
from harness.stats.reducers import usual_reducer
from harness.stats.series import CampaignData, Series, SeriesKey, candidates, collect

FORMAT_VERSION = 1


def estimate_campaign(campaign: CampaignData) -> CampaignEstimates:
    """Estimate everything that a campaign's trials allow, finished or not.

    Only ok trials give numbers, and a block only where both arms are ok; flagged trials are used
    and counted. ``estimates`` holds every series against its baseline, the A/A copy included, by
    the mean (counted instructions by the median); a series is left out where no ratio exists (a
    part that one arm lacks, fewer than three pairs, one order only, a value that is not positive).
    Exploratory estimates carry a Benjamini-Hochberg q value; registered claims and A/A do not.
    Raises InputError when a claim names no cell or the samples are damaged.
    """
    series = collect(campaign)
    comparisons = _compare_all(campaign, series.values())
    registered = {
        (claim_series(campaign, claim), claim.candidate) for claim in campaign.scenario.claims
    }
    return CampaignEstimates(
        format_version=FORMAT_VERSION,
        campaign=campaign.directory.name,
        claims=judge_claims(campaign, series),
        estimates=_with_q_values(comparisons, registered),
        cost_models=cost_models(campaign, series),
        trials_planned=len(campaign.plan),
        trials_by_status=_counts(campaign.trials["status"]),
        flagged_by_reason=_counts(flag.name for one in campaign.records for flag in one.noise),
        interrupted_blocks=_interrupted_blocks(campaign),
        attacks=judge_attacks(campaign),
        flips=flips_of(campaign),
    )


def _compare_all(campaign: CampaignData, series: Iterable[Series]) -> list[Comparison]:
    comparisons: list[Comparison] = []
    for one in series:
        workload = campaign.cells[one.key.cell_id].workload
        for candidate in candidates(campaign.scenario, workload):
            try:
                comparisons.append(compare(campaign, one, candidate, usual_reducer(one.unit)))
            except InputError:  # no ratio exists; claims say why, exploration leaves it out
                continue
    return comparisons


def _with_q_values(
    comparisons: list[Comparison], registered: set[tuple[SeriesKey, str]]
) -> tuple[Estimate, ...]:
    """Estimates with q values over those that are neither registered nor A/A."""
    explores = [
        one.estimate.candidate != one.estimate.baseline + AA_SUFFIX
        and (one.key, one.estimate.candidate) not in registered
        for one in comparisons
    ]
    tested = [one.fit for one, explored in zip(comparisons, explores, strict=True) if explored]
    q_values = iter(benjamini_hochberg([p_no_difference(fit) for fit in tested]))
    return tuple(
        msgspec.structs.replace(one.estimate, q_value=next(q_values)) if explored else one.estimate
        for one, explored in zip(comparisons, explores, strict=True)
    )


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _interrupted_blocks(campaign: CampaignData) -> int:
    trials = campaign.trials
    interrupted = trials[trials["interrupted_block"].astype(bool)]
    return len(interrupted[["cell_id", "block"]].drop_duplicates())
