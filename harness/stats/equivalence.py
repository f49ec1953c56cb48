"""Is the overhead below a margin, above it, or inside a range? One-sided t tests on the log ratio.

Each test at level 0.05 agrees with the two-sided 90 % interval: ``p_below < 0.05`` exactly when
the interval's upper end is below the margin, ``p_inside < 0.05`` exactly when it lies inside.
"""

import math
from typing import Literal

from scipy import special

from harness.stats.paired import Overhead

Side = Literal["below", "above", "inside", "outside", "undecided"]

ALPHA = 0.05


def p_below(fit: Overhead, margin: float) -> float:
    """p value of "the overhead is at least ``margin``"; small supports that it is below."""
    return _t_cdf(fit.log_mean - math.log1p(margin), fit)


def p_above(fit: Overhead, margin: float) -> float:
    """p value of "the overhead is at most ``margin``"; small supports that it is above."""
    return _t_cdf(math.log1p(margin) - fit.log_mean, fit)


def p_inside(fit: Overhead, low: float, high: float) -> float:
    """p value of two one-sided tests (TOST); small supports ``low < overhead < high``."""
    return max(p_above(fit, low), p_below(fit, high))


def p_outside(fit: Overhead, low: float, high: float) -> float:
    """Smaller p value of "below ``low``" and "above ``high``", which exclude one another."""
    return min(p_below(fit, low), p_above(fit, high))


def p_no_difference(fit: Overhead) -> float:
    """Two-sided p value of "the overhead is zero"."""
    return min(1.0, 2 * min(p_below(fit, 0.0), p_above(fit, 0.0)))


def against_margin(fit: Overhead, margin: float, p: float, alpha: float = ALPHA) -> Side:
    """Where the overhead lies by ``p``, which is ``p_below`` or its Holm-adjusted value."""
    if p < alpha:
        return "below"
    return "above" if p_above(fit, margin) < alpha else "undecided"


def against_range(fit: Overhead, low: float, high: float, p: float, alpha: float = ALPHA) -> Side:
    """Where the overhead lies by ``p``, which is ``p_inside`` or its Holm-adjusted value."""
    if p < alpha:
        return "inside"
    return "outside" if p_outside(fit, low, high) < alpha else "undecided"


def _t_cdf(gap: float, fit: Overhead) -> float:
    """P(T <= gap / standard error). Values without spread (sizes in bytes) decide for certain."""
    if fit.standard_error == 0:
        return 0.5 if gap == 0 else float(gap > 0)
    return float(special.stdtr(fit.degrees, gap / fit.standard_error))
