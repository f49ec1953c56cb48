"""One estimate: a candidate against the baseline in one series."""

from dataclasses import dataclass

from harness.model.estimate import Estimate
from harness.model.scenario import Reducer
from harness.stats.paired import Overhead, fieller, mean_interval, overhead
from harness.stats.reducers import counted
from harness.stats.series import CampaignData, Pairs, Series, SeriesKey
from harness.stats.size import minimum_detectable_effect

CONFIDENCE = 0.95
# Ratios of equal sizes differ by rounding alone.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Comparison:
    """An estimate as it is stored, with the fit from which its tests are computed."""

    key: SeriesKey
    estimate: Estimate
    fit: Overhead


def compare(campaign: CampaignData, series: Series, candidate: str, reducer: Reducer) -> Comparison:
    """Compare ``candidate`` with the baseline; raises InputError when no ratio exists."""
    cell = campaign.cells[series.key.cell_id]
    baseline = campaign.scenario.baseline_of(cell.workload)
    pairs = series.pairs(baseline, candidate)
    # A counted value can't depend on its place in the block, so none is fitted.
    second = None if counted(series.unit) else pairs.second
    fit = overhead(pairs.baseline, pairs.candidate, second)
    low, high = fit.interval(CONFIDENCE)
    low90, high90 = fit.interval(0.90)
    fieller_low, fieller_high = fieller(pairs.baseline, pairs.candidate, CONFIDENCE)
    base_mean, base_low, base_high = mean_interval(pairs.baseline, CONFIDENCE)
    cand_mean, cand_low, cand_high = mean_interval(pairs.candidate, CONFIDENCE)
    difference = mean_interval(pairs.candidate - pairs.baseline, CONFIDENCE)
    estimate = Estimate(
        cell_id=cell.id,
        workload=cell.workload,
        factors=cell.factors,
        metric=series.key.metric,
        part=series.key.part,
        phase=series.key.phase,
        reducer=reducer,
        unit=series.unit,
        baseline=baseline,
        candidate=candidate,
        point=fit.point,
        low=low,
        high=high,
        low90=low90,
        high90=high90,
        confidence=CONFIDENCE,
        n_pairs=fit.n_pairs,
        sd_log=fit.sd_log,
        position_effect=fit.position_effect,
        mde=minimum_detectable_effect(fit.standard_error, fit.degrees, CONFIDENCE),
        fieller_low=fieller_low,
        fieller_high=fieller_high,
        estimators_disagree=_disagree(fit, pairs),
        baseline_mean=base_mean,
        baseline_low=base_low,
        baseline_high=base_high,
        candidate_mean=cand_mean,
        candidate_low=cand_low,
        candidate_high=cand_high,
        difference_mean=difference[0],
        difference_low=difference[1],
        difference_high=difference[2],
    )
    return Comparison(series.key, estimate, fit)


def _disagree(fit: Overhead, pairs: Pairs) -> bool:
    """Log ratio and ratio of means a quarter of the interval apart: skew or outliers."""
    low, high = fit.interval(CONFIDENCE)
    ratio_of_means = float(pairs.candidate.mean() / pairs.baseline.mean()) - 1
    return abs(ratio_of_means - fit.point) > (high - low) / 4 + _ROUNDING
