"""One-sided tests against scipy and statsmodels, against the interval, and at the margin."""

import math
from typing import Literal

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from harness.stats import equivalence
from harness.stats.paired import Overhead, overhead

from .simulation import binomial_limits, paired_campaigns


def fitted(n: int = 10, mean: float = 0.095, sd: float = 0.02) -> Overhead:
    base, cand, order = columns(n, mean, sd)
    return overhead(base, cand, order)


def columns(n: int, mean: float, sd: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    base = np.exp(rng.normal(3, 0.2, n))
    order = np.where(np.arange(n) % 2 == 0, 1.0, -1.0)
    return base, base * np.exp(rng.normal(mean, sd, n)), order


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("side", "test"), [("smaller", equivalence.p_below), ("larger", equivalence.p_above)]
)
def test_p_values_equal_the_regression_t_test(
    side: Literal["smaller", "larger"], test: "object"
) -> None:
    base, cand, order = columns(10, 0.095, 0.02)
    oracle = sm.OLS(np.log(cand / base), sm.add_constant(order)).fit()
    fit = overhead(base, cand, order)
    for margin in (-0.02, 0.0, 0.09, 0.10, 0.12):
        t = (oracle.params[0] - math.log1p(margin)) / oracle.bse[0]
        expected = stats.t.cdf(t, 8) if side == "smaller" else stats.t.sf(t, 8)
        assert callable(test)
        assert test(fit, margin) == pytest.approx(expected, rel=1e-10)


@pytest.mark.oracle
def test_tost_equals_statsmodels_but_for_the_position_coefficient() -> None:
    """Each ratio occurs once in either order, so the position explains exactly nothing."""
    d = np.repeat(np.random.default_rng(2).normal(0.001, 0.004, 6), 2)
    fit = overhead(np.ones(12), np.exp(d), np.tile([1.0, -1.0], 6))
    assert fit.log_position == pytest.approx(0, abs=1e-15)
    _, low, high = ttost_paired(np.exp(d), np.ones(12), 1 / 1.01, 1.01, transform=np.log)
    # One coefficient more is fitted here, which takes a degree of freedom.
    t_values = np.array([low[0], -high[0]]) * math.sqrt(10 / 11)
    expected = stats.t.sf(t_values.min(), 10)
    assert equivalence.p_inside(fit, 1 / 1.01 - 1, 0.01) == pytest.approx(expected, rel=1e-10)


@settings(derandomize=True, deadline=None)
@given(st.floats(-0.2, 0.4), st.floats(1e-4, 0.2))
def test_decisions_agree_with_the_90_percent_interval(mean: float, sd: float) -> None:
    fit = fitted(8, mean, sd)
    low, high = fit.interval(0.90)
    below = equivalence.p_below(fit, 0.10)
    inside = equivalence.p_inside(fit, 0.08, 0.12)
    assert (below < 0.05) == (high < 0.10)
    assert (inside < 0.05) == (low > 0.08 and high < 0.12)
    side = equivalence.against_margin(fit, 0.10, below)
    assert side == ("below" if high < 0.10 else "above" if low > 0.10 else "undecided")
    where = equivalence.against_range(fit, 0.08, 0.12, inside)
    outside = high < 0.08 or low > 0.12
    assert where == (
        "inside" if low > 0.08 and high < 0.12 else "outside" if outside else "undecided"
    )


@pytest.mark.oracle
def test_no_difference_equals_two_sided_t_test() -> None:
    base, cand, order = columns(9, 0.01, 0.02)
    oracle = sm.OLS(np.log(cand / base), sm.add_constant(order)).fit()
    fit = overhead(base, cand, order)
    assert equivalence.p_no_difference(fit) == pytest.approx(oracle.pvalues[0], rel=1e-10)


@pytest.mark.parametrize(("candidate", "below", "above"), [(105.0, 0.0, 1.0), (115.0, 1.0, 0.0)])
def test_values_without_spread_decide_for_certain(
    candidate: float, below: float, above: float
) -> None:
    fit = Overhead(math.log(candidate / 100), 0.0, 0.0, 0.0, 6)
    assert equivalence.p_below(fit, 0.10) == below
    assert equivalence.p_above(fit, 0.10) == above


def test_equal_values_differ_in_nothing() -> None:
    fit = overhead([512] * 6, [512] * 6, [1, -1] * 3)
    assert fit.point == 0
    assert equivalence.p_no_difference(fit) == 1.0


@pytest.mark.parametrize("claim", ["at_most", "equivalent"])
def test_at_the_margin_five_percent_are_wrong(claim: str) -> None:
    repeats = 4000
    base, cand, order = paired_campaigns(repeats, 12, 0.10, position=0.005, seed=23)
    wrong = 0
    for one in range(repeats):
        fit = overhead(base[one], cand[one], order)
        # A range this wide is limited by its upper end alone.
        p = (
            equivalence.p_below(fit, 0.10)
            if claim == "at_most"
            else equivalence.p_inside(fit, -0.2, 0.10)
        )
        wrong += p < 0.05
    low, high = binomial_limits(repeats, 0.05)
    assert low <= wrong <= high
