"""Paired comparison of two arms: position-adjusted log ratio, Fieller interval, t intervals.

Every array holds one reduced number per trial, paired by block. Iterations never enter here:
the trial is the unit of replication.
"""

import math
import sys
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from harness.model.errors import InputError

FloatArray: TypeAlias = NDArray[np.float64]
Interval: TypeAlias = tuple[float, float]

# JSON has no infinity, and an unbounded interval must survive `estimates.json`.
UNBOUNDED = sys.float_info.max
MINIMUM_PAIRS = 3
_LARGEST_LOG = math.log(UNBOUNDED)
# Equal ratios of exact counts come out of division and logarithm a few units in the last place
# apart; such a spread is none.
_ROUNDING = 16 * sys.float_info.epsilon


@dataclass(frozen=True)
class Overhead:
    """Fit of ``ln(candidate / baseline) = log_mean + log_position * order + error`` over blocks.

    ``order`` is +1 where the candidate ran second and -1 where it ran first. ``sd_log`` is the
    residual standard deviation, ``standard_error`` that of ``log_mean``. Without ``adjusted`` no
    position was fitted and ``log_position`` is 0.
    """

    log_mean: float
    log_position: float
    standard_error: float
    sd_log: float
    n_pairs: int
    adjusted: bool = True

    @property
    def degrees(self) -> int:
        """Degrees of freedom: the pairs less the fitted coefficients."""
        return self.n_pairs - (2 if self.adjusted else 1)

    @property
    def point(self) -> float:
        """Relative cost of the candidate; 0.098 means +9.8 %."""
        return relative(self.log_mean)

    @property
    def position_effect(self) -> float:
        """Relative cost of running second instead of first in a block; large means a bad bench."""
        return relative(2 * self.log_position)

    def interval(self, confidence: float = 0.95) -> Interval:
        """Two-sided t interval of the relative cost."""
        half_width = t_quantile((1 + confidence) / 2, self.degrees) * self.standard_error
        return relative(self.log_mean - half_width), relative(self.log_mean + half_width)


def overhead(
    baseline: ArrayLike, candidate: ArrayLike, second: ArrayLike | None = None
) -> Overhead:
    """Estimate the relative cost of ``candidate`` over ``baseline``.

    ``second``: +1 where the candidate ran after the baseline in its block, -1 where before; None
    for values that can't depend on it, as counted instructions, where the plain mean is the
    estimate. With this two-valued covariate least squares is the mean of the two orders' means,
    which is what the code computes. Equal ratios give an interval of no width. Raises InputError
    when the shapes differ, with fewer than three pairs, with values that have no logarithm, or
    when only one order occurs (the position effect could then not be told from the cost).
    """
    base, cand = np.asarray(baseline, dtype=float), np.asarray(candidate, dtype=float)
    _check_pairs(base, cand)
    log_ratio = np.log(cand / base)
    n = len(log_ratio)
    if second is None:
        log_mean, squares = _center(log_ratio)
        sd_log = math.sqrt(squares / (n - 1))
        return Overhead(log_mean, 0.0, sd_log / math.sqrt(n), sd_log, n, adjusted=False)
    order = np.asarray(second, dtype=float)
    _check_order(order, base)
    late, early = log_ratio[order > 0], log_ratio[order < 0]
    (mean_late, squares_late), (mean_early, squares_early) = _center(late), _center(early)
    sd_log = math.sqrt((squares_late + squares_early) / (n - 2))
    return Overhead(
        log_mean=(mean_late + mean_early) / 2,
        log_position=(mean_late - mean_early) / 2,
        standard_error=sd_log * math.sqrt(1 / len(late) + 1 / len(early)) / 2,
        sd_log=sd_log,
        n_pairs=n,
    )


def _center(values: FloatArray) -> tuple[float, float]:
    """Mean, and sum of squares around it; exact where the values differ by rounding alone."""
    if float(np.ptp(values)) <= _ROUNDING:
        return float(values[0]), 0.0
    mean = float(values.mean())
    return mean, float(((values - mean) ** 2).sum())


def _check_pairs(base: FloatArray, cand: FloatArray) -> None:
    if base.ndim != 1 or base.shape != cand.shape:
        raise InputError(
            f"paired arrays differ in shape: baseline {base.shape}, candidate {cand.shape}; give "
            "one number per block in each"
        )
    if len(base) < MINIMUM_PAIRS:
        raise InputError(
            f"{len(base)} complete blocks; an estimate needs {MINIMUM_PAIRS}: run more blocks"
        )
    for name, values in (("baseline", base), ("candidate", cand)):
        if not np.all(np.isfinite(values) & (values > 0)):
            raise InputError(
                f"the {name} has a value that is not positive; a ratio needs costs > 0"
            )


def _check_order(order: FloatArray, base: FloatArray) -> None:
    if order.shape != base.shape:
        raise InputError(
            f"paired arrays differ in shape: baseline {base.shape}, order {order.shape}; give one "
            "number per block in each"
        )
    if not np.all(np.abs(order) == 1):
        raise InputError("order must be +1 (candidate ran second) or -1 (ran first) in every block")
    if abs(order.sum()) == len(order):
        place = "second" if order[0] > 0 else "first"
        raise InputError(
            f"the candidate ran {place} in all {len(order)} blocks, so its cost can't be told from "
            "the effect of the position: run more blocks"
        )


def fieller(baseline: ArrayLike, candidate: ArrayLike, confidence: float = 0.95) -> Interval:
    """Interval of mean(candidate) / mean(baseline) - 1 for paired values (Fieller's theorem).

    The ratio of arithmetic means summarises costs as Hoefler and Belli (SC'15) ask; it does not
    adjust for the position. Where the baseline's mean can't be told from zero no finite interval
    exists and ``(-1, UNBOUNDED)`` is returned, since a ratio of costs is at least zero.
    """
    base, cand = np.asarray(baseline, dtype=float), np.asarray(candidate, dtype=float)
    n = len(base)
    if base.shape != cand.shape or n < 2:
        raise InputError(f"Fieller's interval needs two equal columns of >= 2 values, got {n}")
    mean_base, mean_cand = float(base.mean()), float(cand.mean())
    covariance = np.cov(base, cand, ddof=1) / n
    t_squared = t_quantile((1 + confidence) / 2, n - 1) ** 2
    denominator = mean_base**2 - t_squared * float(covariance[0, 0])
    if denominator <= 0:
        return -1.0, UNBOUNDED
    middle = mean_base * mean_cand - t_squared * float(covariance[0, 1])
    # The discriminant middle^2 - denominator * rest, rearranged: that difference of nearly equal
    # products would give equal counts an interval of 1e-8.
    spread = float(np.var(mean_base * cand - mean_cand * base, ddof=1)) / n
    shared = float(covariance[0, 0] * covariance[1, 1] - covariance[0, 1] ** 2)
    # Not negative in exact arithmetic: the ratio itself always lies inside.
    root = math.sqrt(max(t_squared * (spread - t_squared * shared), 0.0))
    return (middle - root) / denominator - 1, (middle + root) / denominator - 1


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """Arithmetic mean of at least two values with its t interval: ``(mean, low, high)``."""
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or len(array) < 2:
        raise InputError(f"a t interval needs a list of >= 2 values, got shape {array.shape}")
    mean = float(array.mean())
    standard_error = float(array.std(ddof=1)) / math.sqrt(len(array))
    half_width = t_quantile((1 + confidence) / 2, len(array) - 1) * standard_error
    return mean, mean - half_width, mean + half_width


def t_quantile(probability: float, degrees: int) -> float:
    """Quantile of Student's t."""
    # scipy.stats.t wraps this function at a hundred times its cost.
    return float(special.stdtrit(degrees, probability))


def relative(log_ratio: float) -> float:
    """Relative cost that belongs to a log ratio."""
    return math.expm1(log_ratio) if log_ratio < _LARGEST_LOG else UNBOUNDED
