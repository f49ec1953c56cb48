"""Reducers against numpy, and their sample floors against the rule."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.model.errors import InputError
from harness.model.scenario import Reducer
from harness.stats.reducers import reduce_trials, sample_floor


def samples(iterations: int, trials: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "trial_id": np.repeat([f"t{one}" for one in range(trials)], iterations),
            "metric": "m",
            "part": "total",
            "phase": "measured",
            "value": rng.exponential(1000, trials * iterations),
        }
    )


@pytest.mark.parametrize(
    ("reducer", "quantile"), [("median", 0.5), ("p10", 0.1), ("p95", 0.95), ("p99", 0.99)]
)
def test_quantiles_equal_numpy(reducer: Reducer, quantile: float) -> None:
    table = samples(700)
    for _, row in reduce_trials(table, reducer).iterrows():
        own = table[table["trial_id"] == row["trial_id"]]["value"]
        assert row["value"] == pytest.approx(np.quantile(own, quantile), rel=1e-12)


def test_mean_equals_numpy_and_counts_iterations() -> None:
    table = samples(17)
    reduced = reduce_trials(table, "mean").set_index("trial_id")
    assert reduced.loc["t1", "value"] == pytest.approx(np.mean(table["value"][17:34]), rel=1e-12)
    assert reduced["iterations"].tolist() == [17, 17, 17]


@pytest.mark.parametrize(("reducer", "tail"), [("p10", 0.1), ("p95", 0.05), ("p99", 0.01)])
def test_floor_is_the_smallest_that_meets_the_rule(reducer: Reducer, tail: float) -> None:
    floor = sample_floor(reducer)
    assert stats.binom.cdf(1, floor, tail) <= 0.01 < stats.binom.cdf(1, floor - 1, tail)


@pytest.mark.parametrize("reducer", ["p10", "p95", "p99"])
def test_refuses_below_the_floor(reducer: Reducer) -> None:
    floor = sample_floor(reducer)
    reduce_trials(samples(floor), reducer)
    with pytest.raises(InputError, match=f"{reducer} needs {floor} iterations per trial"):
        reduce_trials(samples(floor - 1), reducer)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_refuses_values_that_are_no_numbers(value: float) -> None:
    table = samples(4)
    table.loc[5, "value"] = value
    with pytest.raises(InputError, match="trial t1"):
        reduce_trials(table, "mean")
