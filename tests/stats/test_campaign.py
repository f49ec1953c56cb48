"""A whole campaign: against an independent computation, what counts, and how fast."""

import time
from dataclasses import replace

import msgspec
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from harness.model.errors import InputError
from harness.model.estimate import CampaignEstimates, Estimate
from harness.model.record import TrialRecord, TrialStatus
from harness.stats import estimate_campaign

from .simulation import binomial_limits
from .standin import BASELINE, CANDIDATE, COPY, LOAD, Recipe, StandIn, build, change_trials, claim

MATRIX = Recipe(
    cells=({"ima_entries": 500}, {"ima_entries": 2000}),
    parts={"total": 1e6, "quote": 6e5},
    slowdown={CANDIDATE: 0.10, "no-channel": 0.0},
    claims=(claim(),),
    position_effect=0.01,
)


def pick(found: CampaignEstimates, **wanted: object) -> Estimate:
    matching = [
        one for one in found.estimates if all(getattr(one, k) == v for k, v in wanted.items())
    ]
    assert len(matching) == 1, wanted
    return matching[0]


def log_ratios(campaign: StandIn, cell: str, part: str, candidate: str) -> pd.DataFrame:
    """Second way to the same numbers: plain loops and no code of ours."""
    rows = []
    for block in sorted(set(campaign.trials["block"])):
        value, position = {}, {}
        for arm in (BASELINE, candidate):
            trial = f"{cell}-{block}-{arm}"
            own = (campaign.samples["trial_id"] == trial) & (campaign.samples["part"] == part)
            value[arm] = float(np.mean(campaign.samples[own]["value"]))
            record = next(one for one in campaign.records if one.trial_id == trial)
            position[arm] = record.position
        rows.append(
            {
                "d": np.log(value[candidate] / value[BASELINE]),
                "order": 1 if position[candidate] > position[BASELINE] else -1,
                "base": value[BASELINE],
                "cand": value[candidate],
            }
        )
    return pd.DataFrame(rows)


@pytest.mark.oracle
def test_every_estimate_equals_an_independent_computation() -> None:
    campaign = build(MATRIX)
    found = estimate_campaign(campaign)
    assert len(found.estimates) == 2 * 2 * 3
    p_values = {}
    for one in found.estimates:
        table = log_ratios(campaign, one.cell_id, one.part, one.candidate)
        oracle = sm.OLS(table["d"].to_numpy(), sm.add_constant(table["order"].to_numpy())).fit()
        assert one.point == pytest.approx(np.expm1(oracle.params[0]), rel=1e-9)
        assert (one.low, one.high) == pytest.approx(np.expm1(oracle.conf_int()[0]), rel=1e-9)
        assert (one.low90, one.high90) == pytest.approx(np.expm1(oracle.conf_int(0.1)[0]), rel=1e-9)
        assert one.position_effect == pytest.approx(np.expm1(2 * oracle.params[1]), rel=1e-9)
        assert one.baseline_mean == pytest.approx(table["base"].mean(), rel=1e-12)
        assert one.candidate_mean == pytest.approx(table["cand"].mean(), rel=1e-12)
        difference = DescrStatsW(table["cand"] - table["base"])
        assert one.difference_mean == pytest.approx(difference.mean, rel=1e-9)
        for ours, values in (
            ((one.baseline_low, one.baseline_high), DescrStatsW(table["base"])),
            ((one.candidate_low, one.candidate_high), DescrStatsW(table["cand"])),
            ((one.difference_low, one.difference_high), difference),
        ):
            assert ours == pytest.approx(values.tconfint_mean(), rel=1e-9)
        assert one.fieller_low < one.candidate_mean / one.baseline_mean - 1 < one.fieller_high
        assert (one.unit, one.n_pairs, one.confidence) == ("ns", 12, 0.95)
        if one.q_value is not None:
            p_values[one.cell_id, one.part, one.candidate] = (oracle.pvalues[0], one.q_value)
    raw, ours = zip(*p_values.values(), strict=True)
    assert ours == pytest.approx(multipletests(raw, method="fdr_bh")[1], rel=1e-8)
    # 2 cells x 2 parts x 2 real candidates, less the registered claim; A/A is never tested.
    assert len(p_values) == 7
    assert ("cell1", "total", CANDIDATE) not in p_values


@pytest.mark.parametrize(("stall", "disagree"), [(1.0, False), (1.5, False), (30.0, True)])
def test_an_outlier_makes_the_two_estimators_disagree(stall: float, disagree: bool) -> None:
    campaign = build(Recipe(blocks=40))
    samples = campaign.samples
    samples.loc[samples["trial_id"] == f"cell0-7-{CANDIDATE}", "value"] *= stall
    one = pick(estimate_campaign(campaign), candidate=CANDIDATE)
    assert one.estimators_disagree is disagree


def test_sizes_without_spread_have_an_interval_without_width() -> None:
    quiet = Recipe(block_sd=0, trial_sd=0, iteration_sd=0, parts={"total": 4096.0})
    campaign = build(quiet)
    one = pick(estimate_campaign(campaign), candidate=CANDIDATE)
    assert (one.low, one.point, one.high) == pytest.approx((0.1, 0.1, 0.1), rel=1e-12)
    assert (one.fieller_low, one.fieller_high) == pytest.approx((0.1, 0.1), rel=1e-6)
    assert one.mde == pytest.approx(0, abs=1e-12)
    assert not one.estimators_disagree


def test_estimates_survive_their_file_and_come_in_a_fixed_order() -> None:
    campaign = build(MATRIX)
    found = estimate_campaign(campaign)
    assert msgspec.json.decode(msgspec.json.encode(found), type=CampaignEstimates) == found
    shuffled = replace(
        campaign,
        samples=campaign.samples.sample(frac=1, random_state=1),
        trials=campaign.trials.sample(frac=1, random_state=2),
    )
    again = estimate_campaign(shuffled)
    order = [(one.cell_id, one.part, one.candidate) for one in found.estimates]
    assert [(one.cell_id, one.part, one.candidate) for one in again.estimates] == order
    assert [one[0] for one in order] == ["cell0"] * 6 + ["cell1"] * 6
    points = [one.point for one in found.estimates]
    assert [one.point for one in again.estimates] == pytest.approx(points, rel=1e-12)


@pytest.mark.parametrize("status", ["rejected", "failed", "timeout"])
def test_only_blocks_with_both_arms_ok_count(status: TrialStatus) -> None:
    def spoil(record: TrialRecord) -> TrialRecord:
        spoiled = record.arm == CANDIDATE and record.block in (2, 5, 7)
        return msgspec.structs.replace(record, status=status) if spoiled else record

    campaign = change_trials(build(MATRIX), spoil)
    # Were it used, a value this large could not stay unnoticed.
    bad = campaign.trials[campaign.trials["status"] != "ok"]["trial_id"]
    campaign.samples.loc[campaign.samples["trial_id"].isin(bad), "value"] = 1e12
    found = estimate_campaign(campaign)
    one = pick(found, cell_id="cell1", part="total", candidate=CANDIDATE)
    assert one.n_pairs == 9
    assert one.low < 0.10 < one.high < 0.2
    assert pick(found, cell_id="cell1", part="total", candidate=COPY).n_pairs == 12
    assert found.trials_by_status == {"ok": 90, status: 6}
    assert found.trials_planned == 96


def test_flagged_and_interrupted_trials_are_used_and_counted() -> None:
    def flag(record: TrialRecord) -> TrialRecord:
        if record.block != 3:
            return record
        return msgspec.structs.replace(record, noise=(LOAD,), interrupted_block=True)

    campaign = build(MATRIX)
    found = estimate_campaign(change_trials(campaign, flag))
    assert found.estimates == estimate_campaign(campaign).estimates
    assert found.flagged_by_reason == {"load": 8}
    assert found.interrupted_blocks == 2
    assert found.claims[0].flagged_trials == 3


def test_warm_up_never_counts_and_first_stands_apart() -> None:
    campaign = build(MATRIX)
    samples = campaign.samples
    first = samples["iteration"] == 0
    samples.loc[first, "phase"] = "first"
    samples.loc[first, "value"] *= 3
    warmup = samples["iteration"] == 1
    samples.loc[warmup, "phase"] = "warmup"
    samples.loc[warmup, "value"] = 1e12
    found = estimate_campaign(campaign)
    wanted = {"cell_id": "cell0", "part": "total", "candidate": CANDIDATE}
    steady, start = pick(found, phase="measured", **wanted), pick(found, phase="first", **wanted)
    assert start.baseline_mean == pytest.approx(3 * steady.baseline_mean, rel=0.05)
    assert steady.baseline_mean < 2e6
    assert {one.phase for one in found.estimates} == {"first", "measured"}


def test_parts_of_one_arm_only_and_zero_costs_are_left_out() -> None:
    campaign = build(MATRIX)
    arm = campaign.samples["trial_id"].str.split("-", n=2).str[2]
    only_candidate = campaign.samples[arm == CANDIDATE].assign(part="report")
    zero = campaign.samples.assign(part="nothing", value=0.0)
    campaign = replace(
        campaign, samples=pd.concat([campaign.samples, only_candidate, zero], ignore_index=True)
    )
    assert {one.part for one in estimate_campaign(campaign).estimates} == {"total", "quote"}


@pytest.mark.parametrize("blocks", [0, 1, 2, 3])
def test_a_campaign_that_has_just_begun(blocks: int) -> None:
    campaign = change_trials(build(MATRIX), lambda one: one if one.block < blocks else None)
    kept = campaign.samples["trial_id"].isin(campaign.trials["trial_id"])
    campaign = replace(campaign, samples=campaign.samples[kept])
    found = estimate_campaign(campaign)
    assert len(found.estimates) == (12 if blocks == 3 else 0)
    assert found.claims[0].verdict == "inconclusive"


def test_damaged_samples_are_named() -> None:
    campaign = build(MATRIX)
    campaign.samples.loc[7, "value"] = np.nan
    with pytest.raises(InputError, match=f"trial cell0-0-{BASELINE}"):
        estimate_campaign(campaign)


@pytest.mark.parametrize("injected", [0.02, 0.05, 0.10])
def test_injected_slow_down_is_recovered_inside_its_interval(injected: float) -> None:
    repeats = 400
    cells = tuple({"ima_entries": number} for number in range(repeats))
    recipe = Recipe(cells=cells, iterations=2, slowdown={CANDIDATE: injected})
    found = estimate_campaign(build(recipe)).estimates
    for arm, truth in ((CANDIDATE, injected), (COPY, 0.0)):
        covered = [one.low <= truth <= one.high for one in found if one.candidate == arm]
        assert len(covered) == repeats
        low, high = binomial_limits(repeats, 0.95)
        assert low <= sum(covered) <= high


def test_a_million_samples_take_less_than_five_seconds() -> None:
    campaign = build(replace(MATRIX, blocks=25, iterations=4))
    times = 1_000_000 // len(campaign.samples) + 1
    samples = campaign.samples.loc[campaign.samples.index.repeat(times)].reset_index(drop=True)
    assert len(samples) >= 1_000_000
    started = time.perf_counter()
    found = estimate_campaign(replace(campaign, samples=samples))
    assert time.perf_counter() - started < 5
    assert len(found.estimates) == 12
