"""From the iterations of a trial to its one number."""

import numpy as np
import pandas as pd

from harness.model.errors import InputError
from harness.model.scenario import Reducer

SERIES = ["metric", "part", "phase"]
_QUANTILES: dict[Reducer, float] = {"median": 0.5, "p10": 0.1, "p95": 0.95, "p99": 0.99}
# Smallest n with P(at most one value beyond the quantile) <= 1 % (MLPerf LoadGen's rule). The mean
# and the median need no floor: a trial with few iterations only spreads more.
_FLOORS: dict[Reducer, int] = {"mean": 1, "median": 1, "p10": 64, "p95": 130, "p99": 662}

# The unit of values that a deterministic machine counts: the same boot gives the same number.
COUNTED_UNIT = "instructions"


def counted(unit: str) -> bool:
    """Whether values in ``unit`` are counted, so that load and order can't change them."""
    return unit == COUNTED_UNIT


def usual_reducer(unit: str) -> Reducer:
    """Reducer of the exploratory estimates: the mean of what costs, the median of counts.

    A few operations of a trial also count a timer tick or a page that happened to be new; the
    median counts the operation.
    """
    return "median" if counted(unit) else "mean"


def sample_floor(reducer: Reducer) -> int:
    """Iterations per trial that ``reducer`` needs."""
    return _FLOORS[reducer]


def reduce_trials(samples: pd.DataFrame, reducer: Reducer) -> pd.DataFrame:
    """Reduce samples to one row per trial, metric, part and phase.

    ``samples`` as in `Campaign.samples`. Returns columns trial_id, metric, part, phase, value,
    iterations. Raises InputError when a trial has fewer iterations than the reducer's floor, or a
    value that is not finite.
    """
    broken = ~np.isfinite(samples["value"].to_numpy())
    if broken.any():
        row = samples[broken].iloc[0]
        raise InputError(
            f"trial {row['trial_id']}: a value of {row['metric']}/{row['part']} is {row['value']}, "
            "expected a finite number: the samples are damaged, run the trial again"
        )
    values = samples.groupby(["trial_id", *SERIES], sort=False, observed=True)["value"]
    reduced = values.mean() if reducer == "mean" else values.quantile(_QUANTILES[reducer])
    table = pd.DataFrame({"value": reduced, "iterations": values.size()}).reset_index()
    short = table[table["iterations"] < _FLOORS[reducer]]
    if not short.empty:
        row = short.iloc[0]
        raise InputError(
            f"{reducer} needs {_FLOORS[reducer]} iterations per trial, trial {row['trial_id']} has "
            f"{row['iterations']} of {row['metric']}/{row['part']}: raise iterations or use mean"
        )
    return table
