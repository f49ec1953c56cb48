"""Variance components and the allocation of repetitions."""

import math

import numpy as np
import pytest
import statsmodels.formula.api as smf
from pandas import DataFrame
from statsmodels.stats.anova import anova_lm

from harness.model.errors import InputError
from harness.stats.variance import repetitions, variance_levels


@pytest.mark.oracle
def test_two_levels_equal_the_anova_estimate() -> None:
    values = np.random.default_rng(1).normal(0, 1, (6, 1)) + np.random.default_rng(2).normal(
        0, 2, (6, 9)
    )
    table = DataFrame({"y": values.ravel(), "boot": np.repeat(np.arange(6), 9)})
    squares = anova_lm(smf.ols("y ~ C(boot)", table).fit())["mean_sq"]
    iteration, boot = variance_levels(values)
    assert iteration == pytest.approx(squares["Residual"], rel=1e-10)
    assert boot == pytest.approx((squares["C(boot)"] - squares["Residual"]) / 9, rel=1e-10)


def test_three_levels_recover_what_was_put_in() -> None:
    rng = np.random.default_rng(9)
    truth = (25.0, 4.0, 9.0)  # iteration, boot, host
    values = (
        rng.normal(0, math.sqrt(truth[2]), (400, 1, 1))
        + rng.normal(0, math.sqrt(truth[1]), (400, 12, 1))
        + rng.normal(0, math.sqrt(truth[0]), (400, 12, 8))
    )
    found = variance_levels(values)
    assert found == pytest.approx(truth, rel=0.25)
    assert found[0] == pytest.approx(truth[0], rel=0.02)


def test_repetitions_of_the_published_example() -> None:
    assert repetitions((15.3, 0.69, 0.73), (0.05, 20, 600)) == [95, 6]


def test_repetitions_minimise_the_variance_for_a_fixed_cost() -> None:
    variances, costs = (10.0, 1.0), (1.0, 50.0)
    best = repetitions(variances, costs)[0]

    def variance_times_cost(r: float) -> float:
        return (variances[1] + variances[0] / r) * (costs[1] + costs[0] * r)

    scores = {r: variance_times_cost(r) for r in range(1, 200)}
    assert abs(min(scores, key=scores.__getitem__) - best) <= 1


def test_levels_that_add_nothing() -> None:
    assert repetitions((-0.1, 1.0, 1.0), (1, 1, 1))[0] == 1
    assert repetitions((1.0, 0.0), (1, 1)) == [math.inf]


def test_refuses_bad_shapes() -> None:
    with pytest.raises(InputError, match="at least 2 repetitions"):
        variance_levels([[1.0], [2.0]])
    with pytest.raises(InputError, match="one per level"):
        repetitions((1.0, 2.0), (1.0,))
