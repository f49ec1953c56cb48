"""Simulated campaigns with known truth, and how far a count may be from what it should be."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FloatArray = NDArray[np.float64]


def paired_campaigns(
    repeats: int, pairs: int, truth: float, position: float, seed: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Baseline and candidate trial means, shape (repeats, pairs), and the order of each block.

    Block and trial effects are normal, iterations skewed, as measured in facts/statistics.md.
    """
    rng = np.random.default_rng(seed)
    order = np.where(np.arange(pairs) % 2 == 0, 1.0, -1.0)
    block = rng.normal(0, 0.02, (repeats, pairs))
    arms = []
    for effect in (-order * position / 2, math.log1p(truth) + order * position / 2):
        trial = rng.normal(0, 0.01, (repeats, pairs))
        skewed = 1 + 0.05 * (rng.exponential(size=(repeats, pairs, 30)) - 1)
        arms.append(1e6 * np.exp(block + trial + effect) * skewed.mean(axis=2))
    return arms[0], arms[1], order


def binomial_limits(trials: int, probability: float) -> tuple[int, int]:
    """Counts that a correct method leaves with probability 1e-4."""
    tail = 5e-5
    return (
        int(stats.binom.ppf(tail, trials, probability)),
        int(stats.binom.ppf(1 - tail, trials, probability)),
    )
