"""Fixed and proportional cost: exact on exact data, against statsmodels, coverage, refusals."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
import statsmodels.api as sm

from harness.model.errors import InputError
from harness.model.estimate import CostModel
from harness.model.record import TrialRecord
from harness.stats.cost_model import METRIC, cost_models, fit_block
from harness.stats.series import collect

from .simulation import binomial_limits
from .standin import BASELINE, CANDIDATE, COPY, Recipe, StandIn, build, change_trials

PARTS = {"GetRandom": 5e4, "PCR_Read": 8e4, "Hash": 7e4, "Quote": 9e5, "CreatePrimary": 8e7}
TRIPS = {"GetRandom": 1, "PCR_Read": 1, "Hash": 3, "Quote": 2, "CreatePrimary": 1}
TPM = Recipe(
    metric=METRIC,
    parts=PARTS,
    round_trips=TRIPS,
    fixed_ns=30_000,
    slowdown={CANDIDATE: 0.04},
    iterations=5,
)


def models(campaign: StandIn) -> dict[str, CostModel]:
    found = cost_models(campaign, collect(campaign))
    return {model.candidate: model for model in found}


def test_exact_costs_are_found_exactly() -> None:
    base = np.array([5e4, 8e4, 9e5, 8e7])
    trips = np.array([1, 3, 2, 1])
    fit = fit_block(base, 31_000 * trips + 1.07 * base, trips)
    assert fit.fixed == pytest.approx(31_000, rel=1e-9)
    assert fit.proportional == pytest.approx(0.07, rel=1e-9)


@pytest.mark.oracle
def test_equals_weighted_least_squares() -> None:
    rng = np.random.default_rng(1)
    base = np.exp(rng.uniform(10, 18, 20))
    trips = rng.integers(1, 5, 20).astype(float)
    cand = (31_000 * trips + 1.07 * base) * np.exp(rng.normal(0, 0.05, 20))
    oracle = sm.WLS(cand, np.column_stack([trips, base]), weights=base**-2.0).fit()
    fit = fit_block(base, cand, trips)
    assert (fit.fixed, 1 + fit.proportional) == pytest.approx(tuple(oracle.params), rel=1e-10)


def test_slow_commands_do_not_dominate() -> None:
    """A 1 % error of an 80 ms command is 800 us, far more than the fixed cost sought."""
    base = np.array([5e4, 7e4, 9e4, 9e5, 8e7])
    trips = np.ones(5)
    cand = 31_000 * trips + 1.05 * base
    cand[4] *= 1.01
    assert fit_block(base, cand, trips).fixed == pytest.approx(31_000, rel=0.05)


def test_campaign_recovers_both_costs() -> None:
    found = models(build(TPM))
    model = found[CANDIDATE]
    assert model.fixed_low_ns < 30_000 < model.fixed_high_ns
    assert model.proportional_low < 0.04 < model.proportional_high
    assert model.fixed_high_ns - model.fixed_low_ns < 3_000
    assert (model.n_blocks, model.n_parts) == (12, 5)
    assert found[COPY].fixed_low_ns < 0 < found[COPY].fixed_high_ns


def test_intervals_over_blocks_cover_the_truth() -> None:
    repeats = 300
    cells = tuple({"ima_entries": number} for number in range(repeats))
    campaign = build(replace(TPM, cells=cells, blocks=6, iterations=2))
    every = cost_models(campaign, collect(campaign))
    found = [one for one in every if one.candidate == CANDIDATE]
    assert len(found) == repeats
    low, high = binomial_limits(repeats, 0.95)
    fixed = sum(one.fixed_low_ns < 30_000 < one.fixed_high_ns for one in found)
    share = sum(one.proportional_low < 0.04 < one.proportional_high for one in found)
    assert low <= fixed <= high
    assert low <= share <= high


def test_blocks_and_commands_without_data_are_left_out() -> None:
    def lame(record: TrialRecord) -> TrialRecord:
        failed = record.arm == CANDIDATE and record.block < 2
        return msgspec.structs.replace(record, status="failed") if failed else record

    assert models(change_trials(build(TPM), lame))[CANDIDATE].n_blocks == 10
    fewer = {part: count for part, count in TRIPS.items() if part != "Hash"}
    assert models(build(replace(TPM, round_trips=fewer)))[CANDIDATE].n_parts == 4
    assert models(build(replace(TPM, round_trips={}))) == {}
    assert models(build(replace(TPM, blocks=2))) == {}
    assert models(build(replace(TPM, metric="attestation_latency_ns"))) == {}


def test_refuses_what_cannot_tell_the_costs_apart() -> None:
    with pytest.raises(InputError, match="3 commands"):
        fit_block([1.0, 2.0], [1.0, 2.0], [1, 1])
    with pytest.raises(InputError, match="same round trips per time"):
        fit_block([1.0, 2.0, 3.0], [1.0, 2.0, 3.1], [1, 2, 3])


def test_notes_of_a_failed_trial_are_not_read() -> None:
    def lame(record: TrialRecord) -> TrialRecord:
        if record.block > 0:
            return record
        return msgspec.structs.replace(record, status="failed", notes={"round_trips": "{"})

    assert models(change_trials(build(TPM), lame))[CANDIDATE].n_blocks == 11


@pytest.mark.parametrize("note", ["{", "[1]", '{"Quote": "many"}', '{"Quote": null}'])
def test_damaged_notes_are_named(note: str) -> None:
    campaign = build(TPM)
    broken = msgspec.structs.replace(campaign.records[0], notes={"round_trips": note})
    campaign = replace(campaign, records=(broken, *campaign.records[1:]))
    with pytest.raises(InputError, match=f"trial cell0-0-{BASELINE}: note round_trips"):
        models(campaign)
