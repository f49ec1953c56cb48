"""All estimates of a campaign, from the store alone."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from harness.model.errors import InputError
from harness.model.estimate import CampaignEstimates, Estimate
from harness.model.scenario import AA_SUFFIX, Scenario
from harness.stats.claims import claim_series, judge_claims
from harness.stats.cost_model import cost_models
from harness.stats.equivalence import p_no_difference
from harness.stats.estimates import Comparison, compare
from harness.stats.multiplicity import benjamini_hochberg
from harness.stats.series import CampaignData, Series, SeriesKey, candidates, collect

FORMAT_VERSION = 1


def estimate_campaign(campaign: CampaignData) -> CampaignEstimates:
    """Estimate everything that a campaign's trials allow, finished or not.

    Only ok trials give numbers, and a block only where both arms are ok; flagged trials are used
    and counted. ``estimates`` holds the mean of every series against the baseline, the A/A copy
    included; a series is left out where no ratio exists (a part that one arm lacks, fewer than
    three pairs, one order only, a value that is not positive). Exploratory estimates carry a
    Benjamini-Hochberg q value; registered claims and A/A do not. Raises InputError when a claim
    names no cell or the samples are damaged.
    """
    means = collect(campaign, "mean")
    compared = candidates(campaign.scenario)
    comparisons = _compare_all(campaign, means.values(), compared)
    registered = {
        (claim_series(campaign, claim), claim.candidate) for claim in campaign.scenario.claims
    }
    return CampaignEstimates(
        format_version=FORMAT_VERSION,
        campaign=campaign.directory.name,
        claims=judge_claims(campaign, means),
        estimates=_with_q_values(campaign.scenario, comparisons, registered),
        cost_models=cost_models(campaign, means, compared),
        trials_planned=len(campaign.plan),
        trials_by_status=_counts(campaign.trials["status"]),
        flagged_by_reason=_counts(flag.name for one in campaign.records for flag in one.noise),
        interrupted_blocks=_interrupted_blocks(campaign),
    )


def _compare_all(
    campaign: CampaignData, series: Iterable[Series], compared: list[str]
) -> list[Comparison]:
    comparisons: list[Comparison] = []
    for one in series:
        for candidate in compared:
            try:
                comparisons.append(compare(campaign, one, candidate, "mean"))
            except InputError:  # no ratio exists; claims say why, exploration leaves it out
                continue
    return comparisons


def _with_q_values(
    scenario: Scenario, comparisons: list[Comparison], registered: set[tuple[SeriesKey, str]]
) -> tuple[Estimate, ...]:
    """Estimates with q values over those that are neither registered nor A/A."""
    copy = scenario.baseline + AA_SUFFIX
    explores = [
        one.estimate.candidate != copy and (one.key, one.estimate.candidate) not in registered
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
