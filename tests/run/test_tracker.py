"""Reduction and pairing of the trials that claims are about."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cli.statistics import CampaignStatistics
from harness.model.record import Sample, TrialRecord, TrialStatus
from harness.model.scenario import Reducer
from harness.run import ClaimTracker
from harness.run.tracker import reduce_values
from harness.scenario import cells_of, parse_scenario
from run.campaigns import claim_text, scenario_text

QUANTILES: dict[Reducer, float] = {"median": 0.5, "p10": 0.1, "p95": 0.95, "p99": 0.99}


@given(st.lists(st.floats(1, 1e9), min_size=1, max_size=60), st.sampled_from(list(QUANTILES)))
def test_quantiles_are_numpys(values: list[float], reducer: Reducer) -> None:
    expected = float(np.quantile(values, QUANTILES[reducer]))
    assert reduce_values(values, reducer) == pytest.approx(expected, rel=1e-12)


def record(cell: str, arm: str, block: int, position: int, status: TrialStatus) -> TrialRecord:
    return TrialRecord(
        f"{arm}{block}", cell, "w", arm, "fake", block, position, "", 0.0, 1.0, status, "", 1
    )


def sample(value: float) -> Sample:
    return Sample("fake_latency_ns", "total", "measured", 0, value, "ns", "model")


def test_only_complete_blocks_of_ok_trials_count() -> None:
    scenario = parse_scenario(scenario_text(tail=claim_text()))
    cells = cells_of(scenario)
    (cell,) = cells
    tracker = ClaimTracker(scenario, cells, CampaignStatistics())
    for block in range(6):
        order = block % 2
        base = record(cell, "base", block, order, "ok")
        slow = record(cell, "slow", block, 1 - order, "failed" if block == 5 else "ok")
        tracker.add(base, [sample(100.0 + block)])
        assert len(tracker.estimates(cell)) == (block >= 4)
        tracker.add(slow, [sample(110.0 + 1.1 * block)])
    (estimate,) = tracker.estimates(cell)
    assert estimate.pairs == 5
    assert estimate.point == pytest.approx(0.10)
    assert tracker.estimates("another cell") == ()


def test_samples_of_other_phases_and_parts_are_left_out() -> None:
    scenario = parse_scenario(scenario_text(tail=claim_text()))
    cells = cells_of(scenario)
    (cell,) = cells
    tracker = ClaimTracker(scenario, cells, CampaignStatistics())
    warm = Sample("fake_latency_ns", "total", "warmup", 0, 1e9, "ns", "model")
    first = Sample("fake_latency_ns", "total", "first", 0, 1e9, "ns", "model")
    for block in range(4):
        for position, arm in enumerate(("base", "slow")[:: 1 - 2 * (block % 2)]):
            value = 100.0 if arm == "base" else 120.0
            one = record(cell, arm, block, position, "ok")
            tracker.add(one, [warm, first, sample(value)])
    assert tracker.estimates(cell)[0].point == pytest.approx(0.20)


def test_trials_no_claim_looks_at_need_no_samples() -> None:
    scenario = parse_scenario(scenario_text(factors="size = [1, 2]", tail=claim_text(size=2)))
    cells = cells_of(scenario)
    claimed = next(c.id for c in cells.values() if c.factors == {"size": 2})
    other = next(c.id for c in cells.values() if c.factors == {"size": 1})
    tracker = ClaimTracker(scenario, cells, CampaignStatistics())
    assert tracker.needs(record(claimed, "slow", 0, 0, "ok"))
    assert not tracker.needs(record(other, "slow", 0, 0, "ok"))
    assert not tracker.needs(record(claimed, "base+aa", 0, 0, "ok"))
    assert not tracker.needs(record(claimed, "slow", 0, 0, "timeout"))
