"""Does the bench itself tell the truth? A/A campaigns and a check without assumptions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from harness.model.errors import InputError

# 2**16 sign patterns take some ten milliseconds; beyond that they are drawn.
EXACT_UP_TO_PAIRS = 16
_ROUNDING = 1e-12


@dataclass(frozen=True)
class AaCompatibility:
    """Share of A/A comparisons whose interval excludes zero, with its exact binomial interval."""

    rejections: int
    comparisons: int
    share: float
    low: float
    high: float
    compatible: bool


def aa_compatibility(
    rejections: int, comparisons: int, nominal: float = 0.05, confidence: float = 0.95
) -> AaCompatibility:
    """Check that the share of A/A intervals excluding 0 agrees with ``nominal``.

    The comparisons must be independent campaigns, not parts of one. The interval is
    Clopper-Pearson's; with few comparisons it is wide, and "compatible" then says little.
    """
    if not 0 <= rejections <= comparisons or comparisons == 0:
        raise InputError(f"{rejections} rejections of {comparisons} A/A comparisons is not a share")
    interval = stats.binomtest(rejections, comparisons).proportion_ci(confidence, method="exact")
    return AaCompatibility(
        rejections=rejections,
        comparisons=comparisons,
        share=rejections / comparisons,
        low=float(interval.low),
        high=float(interval.high),
        compatible=bool(interval.low <= nominal <= interval.high),
    )


def sign_flip_p(log_ratios: ArrayLike, seed: int = 0, draws: int = 50_000) -> float:
    """Two-sided p value of "the arms do not differ" by swapping the arm labels within blocks.

    Assumes no distribution. Exact up to 16 blocks, else from ``draws`` random swaps of ``seed``
    (then never below 1 / (draws + 1)).
    """
    ratios = np.asarray(log_ratios, dtype=float)
    n = len(ratios)
    if ratios.ndim != 1 or n == 0:
        raise InputError(f"label swaps need a list of log ratios, got shape {ratios.shape}")
    extreme = abs(float(ratios.sum())) - _ROUNDING * float(np.abs(ratios).sum())
    if n <= EXACT_UP_TO_PAIRS:
        patterns = np.arange(2**n)[:, np.newaxis] >> np.arange(n) & 1
        return float(np.mean(np.abs((2.0 * patterns - 1.0) @ ratios) >= extreme))
    signs = np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), size=(draws, n))
    return (1 + int(np.sum(np.abs(signs @ ratios) >= extreme))) / (draws + 1)
