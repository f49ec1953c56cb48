"""Where the variance comes from, and how to spend repetitions on it.

Kalibera and Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013, in the form that
libkalibera corrects: T_i^2 = S_i^2 - S_(i-1)^2 / r_(i-1). Levels are listed from low (iteration)
to high (block, host).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from harness.model.errors import InputError


def variance_levels(values: ArrayLike) -> list[float]:
    """Variance that each level adds of its own, low to high, unbiased and thus possibly negative.

    ``values``: a balanced array, axis 0 the highest level, the last axis the iterations; every axis
    has at least two entries.
    """
    means = np.asarray(values, dtype=float)
    if means.ndim == 0 or min(means.shape) < 2:
        raise InputError(f"every level needs at least 2 repetitions, got shape {means.shape}")
    added: list[float] = []
    from_below = 0.0
    while means.ndim > 0:
        spread = float(means.var(axis=-1, ddof=1).mean())
        added.append(spread - from_below)
        from_below = spread / means.shape[-1]
        means = means.mean(axis=-1)
    return added


def repetitions(variances: Sequence[float], costs: Sequence[float]) -> list[float]:
    """Best repetition counts of all levels but the highest, low to high.

    ``variances`` as from `variance_levels`; ``costs``: what one repetition of a level costs without
    what is below it, in any one unit. A level that adds no variance needs one repetition; below a
    level that adds none, repeating the lower level is all that helps: ``math.inf``.
    """
    if len(variances) != len(costs):
        raise InputError(f"{len(variances)} variances but {len(costs)} costs: give one per level")
    counts: list[float] = []
    for level in range(len(variances) - 1):
        below, above = variances[level], variances[level + 1]
        if below <= 0:
            counts.append(1)
        elif above <= 0:
            counts.append(math.inf)
        else:
            counts.append(math.ceil(math.sqrt(costs[level + 1] / costs[level] * below / above)))
    return counts
