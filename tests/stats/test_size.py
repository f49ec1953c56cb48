"""Sizes against statsmodels' power, the published table, and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestPower

from harness.model.errors import InputError
from harness.stats.equivalence import p_below, p_inside
from harness.stats.paired import overhead
from harness.stats.size import (
    minimum_detectable_effect,
    pairs_for_claim,
    pairs_needed,
    planned_mde,
    power_below,
    sd_upper_bound,
)

from .simulation import binomial_limits
from .standin import claim


@pytest.mark.oracle
@pytest.mark.parametrize("pairs", [4, 7, 20, 150])
@pytest.mark.parametrize("sd", [0.005, 0.01, 0.03])
@pytest.mark.parametrize("true", [0.0, 0.005])
def test_power_equals_statsmodels(pairs: int, sd: float, true: float) -> None:
    effect = (math.log1p(0.01) - math.log1p(true)) / sd
    expected = TTestPower().power(effect, pairs, 0.05, df=pairs - 2, alternative="larger")
    assert power_below(sd, 0.01, true, pairs) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(
    ("true", "sd", "power", "published"),
    [
        (0.000, 0.02, 0.8, 27),
        (0.000, 0.03, 0.9, 80),
        (0.003, 0.02, 0.8, 53),
        (0.005, 0.05, 0.9, 871),
        (0.007, 0.03, 0.8, 631),
        (0.009, 0.01, 0.8, 632),
    ],
)
def test_large_sizes_agree_with_the_facts(
    true: float, sd: float, power: float, published: int
) -> None:
    # The table has n - 1 degrees of freedom; the position costs one more.
    assert pairs_needed(sd, 0.01, true, power=power) - published in (0, 1)


@settings(derandomize=True, deadline=None)
@given(st.floats(0.001, 0.05), st.floats(0.0, 0.015))
def test_is_the_smallest_size_with_the_power(sd: float, true: float) -> None:
    pairs = pairs_needed(sd, 0.02, true)
    assert power_below(sd, 0.02, true, pairs) >= 0.8
    if pairs > 4:
        assert power_below(sd, 0.02, true, pairs - 1) < 0.8


@pytest.mark.parametrize("sd", [0.0, 1e-9, 1e-5, 1e-3])
def test_tiny_spread_needs_the_fewest_pairs(sd: float) -> None:
    assert pairs_needed(sd, 0.10) == 4


def test_refuses_the_impossible() -> None:
    with pytest.raises(InputError, match="margin must exceed"):
        pairs_needed(0.01, 0.01, true=0.01)
    with pytest.raises(InputError, match="reduce the noise"):
        pairs_needed(0.5, 0.01, true=0.009999)
    with pytest.raises(InputError, match=r"between 8\.00% and 12\.00%"):
        pairs_for_claim(claim(), 0.01, expected=0.13)
    with pytest.raises(InputError, match="from 3 blocks"):
        planned_mde(0.01, 2)


def test_size_of_a_claim_delivers_its_power() -> None:
    sd, repeats = 0.02, 2000
    pairs = pairs_for_claim(claim(), sd, expected=0.10)
    rng = np.random.default_rng(4)
    ratios = np.exp(rng.normal(math.log1p(0.10), sd, (repeats, pairs)))
    order = np.where(np.arange(pairs) % 2 == 0, 1.0, -1.0)
    shown = sum(p_inside(overhead(np.ones(pairs), one, order), 0.08, 0.12) < 0.05 for one in ratios)
    assert shown >= binomial_limits(repeats, 0.8)[0]
    # Splitting the misses evenly is careful, not wasteful.
    assert shown <= binomial_limits(repeats, 0.87)[1]


def test_size_of_at_most_delivers_its_power() -> None:
    sd, repeats = 0.02, 2000
    pairs = pairs_for_claim(claim(kind="at_most", at_most=0.02), sd, expected=0.01)
    rng = np.random.default_rng(5)
    ratios = np.exp(rng.normal(math.log1p(0.01), sd, (repeats, pairs)))
    order = np.where(np.arange(pairs) % 2 == 0, 1.0, -1.0)
    shown = sum(p_below(overhead(np.ones(pairs), one, order), 0.02) < 0.05 for one in ratios)
    low, high = binomial_limits(repeats, power_below(sd, 0.02, 0.01, pairs))
    assert low <= shown <= high


def test_no_claim_is_planned_below_five_blocks() -> None:
    assert pairs_for_claim(claim(kind="estimate"), 0.01, 0.1) == 5
    assert pairs_for_claim(claim(kind="at_most", at_most=0.5), 0.001, 0.1) == 5


def test_detectable_effect_is_found_with_power_80_percent() -> None:
    sd, pairs, repeats = 0.02, 12, 3000
    effect = planned_mde(sd, pairs)
    rng = np.random.default_rng(6)
    order = np.where(np.arange(pairs) % 2 == 0, 1.0, -1.0)
    ratios = np.exp(rng.normal(math.log1p(effect), sd, (repeats, pairs)))
    found = sum(overhead(np.ones(pairs), one, order).interval()[0] > 0 for one in ratios)
    # The sum of two quantiles is the usual approximation of the noncentral t, good to 1 %.
    low, high = binomial_limits(repeats, 0.8)
    assert low - 0.02 * repeats <= found <= high + 0.02 * repeats


def test_detectable_effect_agrees_with_the_facts() -> None:
    # facts/statistics.md: n = 30, s = 1 % -> 0.53 %
    assert planned_mde(0.01, 30) == pytest.approx(0.0053, abs=1e-4)
    expected = math.expm1((stats.t.ppf(0.975, 8) + stats.t.ppf(0.8, 8)) * 0.003)
    assert minimum_detectable_effect(0.003, 8) == pytest.approx(expected, rel=1e-10)


def test_upper_bound_of_the_spread_holds_80_times_in_100() -> None:
    repeats, degrees = 4000, 7
    spreads = np.random.default_rng(8).normal(0, 0.02, (repeats, degrees + 1)).std(axis=1, ddof=1)
    above = sum(sd_upper_bound(float(sd), degrees) >= 0.02 for sd in spreads)
    low, high = binomial_limits(repeats, 0.8)
    assert low <= above <= high
    assert sd_upper_bound(1.0, 7) == pytest.approx(math.sqrt(7 / stats.chi2.ppf(0.2, 7)), rel=1e-10)
