"""Counted values: almost or exactly no variance, and still finite, honest numbers."""

import math
import warnings
from collections.abc import Iterator
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from harness.model.estimate import Estimate
from harness.model.scenario import Workload
from harness.stats import equivalence, estimate_campaign
from harness.stats.paired import Overhead, fieller, overhead
from harness.stats.size import pairs_for_claim, planned_mde, power_below, sd_upper_bound

from .standin import BASELINE, CANDIDATE, COPY, Recipe, StandIn, build, claim

METRIC = "file_measurement_instructions"
COUNTED = Recipe(
    blocks=6,
    iterations=5,
    metric=METRIC,
    unit="instructions",
    parts={"container.exec.first.16KiB": 1_112_950.0},
    slowdown={CANDIDATE: 0.0023},
    block_sd=0.0003,
    trial_sd=0.0,
    iteration_sd=0.0,
)


@pytest.fixture(autouse=True)
def no_warning_is_hidden() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def of(campaign: StandIn, candidate: str) -> Estimate:
    found = estimate_campaign(campaign).estimates
    return next(one for one in found if one.candidate == candidate)


@pytest.mark.oracle
@pytest.mark.parametrize("n", [3, 5, 6, 30])
@pytest.mark.parametrize("sd", [1e-3, 1e-6, 1e-9])
def test_equals_scipy_s_one_sample_t_test(n: int, sd: float) -> None:
    rng = np.random.default_rng(n)
    base = 1e6 * np.exp(rng.normal(0, 0.001, n))
    cand = base * np.exp(rng.normal(0.002, sd, n))
    fit = overhead(base, cand)
    oracle = stats.ttest_1samp(np.log(cand / base), math.log(1.0021), alternative="less")
    low, high = stats.ttest_1samp(np.log(cand / base), 0).confidence_interval(0.95)
    assert fit.degrees == oracle.df == n - 1
    assert equivalence.p_below(fit, 0.0021) == pytest.approx(oracle.pvalue, rel=1e-6, abs=1e-300)
    assert fit.interval() == pytest.approx((math.expm1(low), math.expm1(high)), rel=1e-9)


@pytest.mark.oracle
@pytest.mark.parametrize("sd", [1e-3, 1e-6])
def test_tost_equals_statsmodels(sd: float) -> None:
    d = np.random.default_rng(2).normal(0.001, sd, 6)
    base = np.full(6, 1e5)
    fit = overhead(base, base * np.exp(d))
    expected, *_ = ttost_paired(base * np.exp(d), base, 1 / 1.01, 1.01, transform=np.log)
    assert equivalence.p_inside(fit, 1 / 1.01 - 1, 0.01) == pytest.approx(expected, rel=1e-8)


def test_equal_ratios_give_an_interval_of_no_width_and_certain_tests() -> None:
    base = np.array([3.0, 7.0, 11.0, 13.0, 17.0, 19.0])
    order = np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    for fit in (overhead(base, base * 1.0023), overhead(base, base * 1.0023, order)):
        assert fit.interval() == (fit.point, fit.point) == fit.interval(0.90)
        assert fit.point == pytest.approx(0.0023, rel=1e-12)
        assert (fit.sd_log, fit.standard_error) == (0, 0)
        assert fit.log_position == pytest.approx(0)
        assert equivalence.p_below(fit, 0.01) == 0
        assert equivalence.p_above(fit, 0.01) == 1
        assert equivalence.p_inside(fit, 0.0, 0.01) == 0
        assert equivalence.p_outside(fit, 0.0, 0.01) == 1
        assert equivalence.p_no_difference(fit) == 0


@settings(derandomize=True, deadline=None)
@given(st.lists(st.integers(100, 10**11), min_size=3, max_size=12), st.integers(1, 50))
def test_equal_ratios_of_any_counts_are_seen_as_equal(counts: list[int], factor: int) -> None:
    base = np.array(counts, dtype=float)
    fit = overhead(base, base * factor)
    assert fit.interval() == (fit.point, fit.point)
    low, high = fieller(base, base * factor)
    assert low <= factor - 1 + 1e-9
    assert high >= factor - 1 - 1e-9
    if math.isfinite(high) and high < 1e300:
        assert high - low < 1e-6 * factor


def test_equal_counts_are_certainly_equal() -> None:
    fit = overhead([299.0] * 6, [299.0] * 6)
    assert (fit.point, *fit.interval()) == (0, 0, 0)
    assert equivalence.p_no_difference(fit) == 1
    assert equivalence.p_below(fit, 0.0) == equivalence.p_above(fit, 0.0) == 0.5
    assert fieller([299.0] * 6, [299.0] * 6) == (0, 0)


def test_order_alone_can_not_feign_certainty() -> None:
    """With a position term these six counts would leave no residual at all."""
    base = np.full(6, 1e5)
    order = np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    cand = base * np.where(order > 0, 1.004, 1.0)
    assert overhead(base, cand, order).standard_error == 0
    low, high = overhead(base, cand).interval()
    assert low < 0
    assert high > 0.004


@settings(derandomize=True, deadline=None)
@given(st.floats(0, 1e-3), st.floats(-0.02, 0.02))
def test_decisions_agree_with_the_90_percent_interval_at_any_spread(sd: float, mean: float) -> None:
    d = mean + sd * np.random.default_rng(5).normal(0, 1, 6)
    fit: Overhead = overhead(np.full(6, 1e6), 1e6 * np.exp(d))
    low, high = fit.interval(0.90)
    assert math.isfinite(low)
    assert math.isfinite(high)
    side = equivalence.against_margin(fit, 0.01, equivalence.p_below(fit, 0.01))
    assert side == ("below" if high < 0.01 else "above" if low > 0.01 else "undecided")


def test_sizes_without_spread() -> None:
    needed = claim(kind="at_most", at_most=0.01, metric=METRIC)
    assert pairs_for_claim(needed, 0.0, 0.002) == 5
    assert pairs_for_claim(needed, 1e-12, 0.002) == 5
    assert planned_mde(0.0, 6) == 0
    assert power_below(0.0, 0.01, 0.002, 6) == power_below(1e-12, 0.01, 0.002, 6) == 1
    assert sd_upper_bound(0.0, 7) == 0


def test_a_campaign_of_counts_is_judged_without_a_position_and_by_the_median() -> None:
    about = claim(
        kind="at_most", at_most=0.01, metric=METRIC, part="container.exec.first.16KiB",
        reducer="median",
    )  # fmt: skip
    campaign = build(replace(COUNTED, claims=(about,)))
    estimate = of(campaign, CANDIDATE)
    assert estimate.reducer == "median"
    assert estimate.low == estimate.point == estimate.high == pytest.approx(0.0023)
    assert (estimate.mde, estimate.sd_log, estimate.position_effect) == (0, 0, 0)
    assert not estimate.estimators_disagree
    assert of(campaign, COPY).point == 0
    result = estimate_campaign(campaign).claims[0]
    assert (result.verdict, result.p_value) == ("holds", 0)
    assert result.estimate == msgspec.structs.replace(estimate, q_value=None)
    assert msgspec.json.decode(msgspec.json.encode(result), type=type(result)) == result


def test_one_long_iteration_moves_the_mean_but_not_the_median() -> None:
    campaign = build(COUNTED)
    values = campaign.samples["value"].to_numpy(copy=True)
    values[campaign.samples["iteration"] == 3] += 200_000.0
    disturbed = replace(campaign, samples=campaign.samples.assign(value=values))
    assert of(disturbed, CANDIDATE).point == of(campaign, CANDIDATE).point


def test_layouts_that_differ_widen_the_interval_and_the_noise_floor() -> None:
    campaign = build(replace(COUNTED, trial_sd=0.0005))
    estimate, copy = of(campaign, CANDIDATE), of(campaign, COPY)
    assert estimate.low < 0.0023 < estimate.high
    assert 0 < estimate.high - estimate.low < 0.004
    assert copy.low < 0 < copy.high


def test_every_workload_is_compared_with_its_own_baseline() -> None:
    campaign = build(COUNTED)
    workload = Workload("w", "fake", 5, baseline=CANDIDATE)
    scenario = msgspec.structs.replace(campaign.scenario, workloads=(workload,))
    found = estimate_campaign(replace(campaign, scenario=scenario)).estimates
    assert {(one.baseline, one.candidate) for one in found} == {(CANDIDATE, BASELINE)}
    assert found[0].point == pytest.approx(1 / 1.0023 - 1)
