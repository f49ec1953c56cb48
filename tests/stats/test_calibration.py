"""A/A compatibility and label swaps."""

import numpy as np
import pytest
from scipy import stats

from harness.model.errors import InputError
from harness.stats.calibration import aa_compatibility, sign_flip_p

from .simulation import binomial_limits


@pytest.mark.parametrize(
    ("rejections", "comparisons", "low", "high"),
    [(5, 100, 0.016, 0.113), (10, 200, 0.024, 0.090), (0, 20, 0.0, 0.168)],
)
def test_exact_interval_of_the_facts(
    rejections: int, comparisons: int, low: float, high: float
) -> None:
    found = aa_compatibility(rejections, comparisons)
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-4)
    assert found.compatible


@pytest.mark.oracle
def test_interval_ends_have_the_tail_that_defines_them() -> None:
    found = aa_compatibility(7, 60)
    assert stats.binom.sf(6, 60, found.low) == pytest.approx(0.025, rel=1e-8)
    assert stats.binom.cdf(7, 60, found.high) == pytest.approx(0.025, rel=1e-8)


def test_far_too_many_or_too_few_rejections_are_incompatible() -> None:
    assert not aa_compatibility(9, 40).compatible
    assert not aa_compatibility(0, 100).compatible
    with pytest.raises(InputError):
        aa_compatibility(3, 2)


@pytest.mark.oracle
@pytest.mark.parametrize("n", [2, 5, 10])
def test_exact_swaps_equal_scipy(n: int) -> None:
    ratios = np.random.default_rng(n).normal(0.01, 0.02, n)
    expected = stats.permutation_test(
        (ratios,), np.mean, permutation_type="samples", n_resamples=2**n, vectorized=True
    ).pvalue
    assert sign_flip_p(ratios) == pytest.approx(expected, abs=1e-12)


def test_drawn_swaps_agree_with_exact_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    ratios = np.random.default_rng(3).normal(0.008, 0.02, 12)
    exact = sign_flip_p(ratios)
    monkeypatch.setattr("harness.stats.calibration.EXACT_UP_TO_PAIRS", 0)
    drawn = sign_flip_p(ratios, seed=5, draws=20_000)
    low, high = binomial_limits(20_000, exact)
    assert low - 1 <= drawn * 20_001 <= high + 1
    assert drawn == sign_flip_p(ratios, seed=5, draws=20_000)


def test_no_difference_gives_one_and_a_clear_one_the_least_possible() -> None:
    assert sign_flip_p([0.0] * 6) == 1.0
    assert sign_flip_p([0.1] * 10) == 2 / 1024
    assert sign_flip_p([0.1] * 40, draws=999) == 1 / 1000


def test_false_positives_of_skewed_symmetric_noise() -> None:
    repeats = 1500
    rng = np.random.default_rng(12)
    noise = rng.standard_t(2, (repeats, 10))  # heavy tails, where a t test is only roughly right
    wrong = sum(sign_flip_p(one) <= 0.05 for one in noise)
    low, high = binomial_limits(repeats, 51 / 1024)  # the largest reachable level up to 0.05
    assert low - 0.002 * repeats <= wrong <= high
