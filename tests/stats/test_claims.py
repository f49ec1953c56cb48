"""Verdicts: what holds, what fails, and what must stay inconclusive."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from harness.model.errors import InputError
from harness.model.estimate import ClaimResult
from harness.model.record import TrialRecord
from harness.model.scenario import Claim
from harness.stats import estimate_campaign
from harness.stats.claims import NO_PARTNER

from .simulation import binomial_limits
from .standin import BASELINE, CANDIDATE, COPY, LOAD, Recipe, StandIn, build, change_trials, claim

QUIET = Recipe(iterations=4)
WITHIN = claim()
AT_MOST = claim(kind="at_most", at_most=0.12)
ESTIMATE = claim(kind="estimate")


def judge(campaign: StandIn) -> ClaimResult:
    (result,) = estimate_campaign(campaign).claims
    return result


def campaign_of(one: Claim, slowdown: float = 0.10, **changes: object) -> StandIn:
    recipe = replace(QUIET, claims=(one,), slowdown={CANDIDATE: slowdown})
    return build(replace(recipe, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "slowdown", "verdict"),
    [
        (WITHIN, 0.10, "holds"),
        (WITHIN, 0.15, "fails"),
        (WITHIN, 0.05, "fails"),
        (WITHIN, 0.12, "inconclusive"),
        (AT_MOST, 0.10, "holds"),
        (AT_MOST, -0.10, "holds"),
        (AT_MOST, 0.15, "fails"),
        (AT_MOST, 0.12, "inconclusive"),
        (ESTIMATE, 0.10, "holds"),
    ],
)
def test_verdict_follows_the_truth(one: Claim, slowdown: float, verdict: str) -> None:
    result = judge(campaign_of(one, slowdown))
    assert result.verdict == verdict, result.why
    assert result.estimate is not None
    assert result.noise_floor is not None
    assert (result.estimate.candidate, result.noise_floor.candidate) == (CANDIDATE, COPY)
    assert result.estimate.mde > 0
    assert result.why
    assert "\n" not in result.why


def test_an_estimate_says_that_it_is_one() -> None:
    result = judge(campaign_of(ESTIMATE))
    assert "estimate without margin" in result.why
    assert (result.p_value, result.p_holm) == (None, None)


def test_margins_and_paper_value_are_passed_on() -> None:
    result = judge(campaign_of(claim(paper="10 %")))
    assert (result.margin_low, result.margin_high, result.paper) == (0.08, 0.12, "10 %")
    result = judge(campaign_of(AT_MOST))
    assert (result.margin_low, result.margin_high) == (None, 0.12)


@pytest.mark.parametrize("one", [WITHIN, AT_MOST, ESTIMATE])
@pytest.mark.parametrize("blocks", [0, 1, 2, 3, 4])
def test_nothing_holds_on_fewer_than_five_blocks(one: Claim, blocks: int) -> None:
    campaign = campaign_of(one, trial_sd=1e-6, iteration_sd=1e-6)
    begun = change_trials(campaign, lambda trial: trial if trial.block < blocks else None)
    assert judge(begun).verdict == "inconclusive"


def test_nothing_holds_on_four_pairs_however_many_the_aa_copy_has() -> None:
    campaign = change_trials(
        campaign_of(WITHIN, trial_sd=1e-6, iteration_sd=1e-6),
        lambda trial: None if trial.arm == CANDIDATE and trial.block > 3 else trial,
    )
    result = judge(campaign)
    assert result.verdict == "inconclusive"
    assert "4 complete blocks; a verdict needs 5" in result.why


def test_five_blocks_are_enough() -> None:
    assert judge(campaign_of(WITHIN, blocks=5)).verdict == "holds"


@pytest.mark.parametrize("one", [WITHIN, AT_MOST, ESTIMATE])
def test_nothing_holds_without_the_aa_copy(one: Claim) -> None:
    campaign = change_trials(campaign_of(one), lambda trial: None if trial.arm == COPY else trial)
    result = judge(campaign)
    assert result.verdict == "inconclusive"
    assert "no A/A comparison" in result.why
    assert result.noise_floor is None
    assert result.estimate is not None


def test_nothing_holds_on_an_aa_of_too_few_blocks() -> None:
    campaign = change_trials(
        campaign_of(WITHIN),
        lambda trial: None if trial.arm == COPY and trial.block > 3 else trial,
    )
    assert judge(campaign).verdict == "inconclusive"


@pytest.mark.parametrize(
    ("one", "bias", "verdict"),
    [
        (WITHIN, 0.015, "holds"),
        (WITHIN, 0.035, "inconclusive"),
        (WITHIN, -0.035, "inconclusive"),
        (AT_MOST, 0.05, "holds"),
        (AT_MOST, 0.075, "inconclusive"),
        (ESTIMATE, 0.02, "inconclusive"),
    ],
)
def test_copies_that_differ_by_more_than_the_margin_decide_nothing(
    one: Claim, bias: float, verdict: str
) -> None:
    """Allowed: half of the range 8 to 12 %, half of 0 to 12 %, half of the interval."""
    campaign = campaign_of(one)
    biased = replace(
        campaign,
        samples=campaign.samples.assign(
            value=campaign.samples["value"]
            * np.where(campaign.samples["trial_id"].str.endswith(COPY), 1 + bias, 1.0)
        ),
    )
    result = judge(biased)
    assert result.verdict == verdict, result.why
    if verdict == "inconclusive":
        assert "two copies of the baseline differ" in result.why


@pytest.mark.oracle
def test_holm_runs_over_all_claims_with_a_margin_even_those_without_data() -> None:
    claims = (
        claim(id="a", kind="at_most", at_most=0.104),
        claim(id="b", part="missing"),
        claim(id="c", kind="estimate"),
        claim(id="d", kind="at_most", at_most=0.106),
    )
    results = estimate_campaign(build(replace(QUIET, claims=claims))).claims
    assert [one.claim_id for one in results] == ["a", "b", "c", "d"]
    a, b, c, d = results
    assert (b.p_value, b.p_holm, c.p_value, c.p_holm) == (None, None, None, None)
    assert a.p_value is not None
    assert d.p_value is not None
    expected = multipletests([a.p_value, 1.0, d.p_value], method="holm")[1]
    assert (a.p_holm, d.p_holm) == pytest.approx((expected[0], expected[2]), rel=1e-10)
    assert b.verdict == "inconclusive"
    assert "no ok trial has this metric and part" in b.why


def test_a_claim_that_holds_alone_may_not_hold_among_many() -> None:
    def verdicts(extra: int) -> tuple[str, str]:
        claims = [claim(id="x", kind="at_most", at_most=0.1045)]
        claims += [claim(id=f"n{one}", kind="at_most", at_most=0.05) for one in range(extra)]
        first = estimate_campaign(build(replace(QUIET, claims=tuple(claims)))).claims[0]
        assert first.p_value is not None
        assert first.p_value < 0.05
        return first.verdict, first.why

    assert verdicts(0)[0] == "holds"
    verdict, why = verdicts(40)
    assert verdict == "inconclusive"
    assert "as one of several" in why


def test_an_undecided_claim_says_how_many_blocks_it_needs() -> None:
    found = judge(campaign_of(ESTIMATE)).estimate
    assert found is not None
    margin = found.point + (found.high90 - found.point) / 2
    result = judge(campaign_of(claim(kind="at_most", at_most=margin)))
    assert result.verdict == "inconclusive"
    assert "blocks, there are 12" in result.why
    assert result.estimate is not None
    low, high = result.estimate.low90, result.estimate.high90
    assert f"90 % interval [{low:.2%}, {high:.2%}]" in result.why


def test_a_claim_may_name_its_reducer() -> None:
    campaign = campaign_of(claim(reducer="median"))
    # One stall per trial moves the mean of its four iterations, not their median.
    stalled = campaign.samples["iteration"] == 2
    campaign.samples.loc[stalled, "value"] *= 50
    result = judge(campaign)
    assert result.estimate is not None
    assert result.noise_floor is not None
    assert (result.estimate.reducer, result.noise_floor.reducer) == ("median", "median")
    assert result.estimate.baseline_mean < 1.5e6
    assert result.verdict == "holds"


def test_a_reducer_below_its_floor_decides_nothing_and_says_why() -> None:
    result = judge(campaign_of(claim(reducer="p95")))
    assert result.verdict == "inconclusive"
    assert "p95 needs 130 iterations per trial" in result.why
    assert result.estimate is None


def test_excluded_and_flagged_trials_are_counted_by_reason() -> None:
    def spoil(record: TrialRecord) -> TrialRecord:
        changes: dict[tuple[str, int], dict[str, object]] = {
            (CANDIDATE, 0): {"status": "rejected", "reason": "quote.nonce"},
            (CANDIDATE, 1): {"status": "timeout"},
            (COPY, 2): {"status": "failed", "reason": "swtpm died"},
            (BASELINE, 1): {"status": "timeout"},
            (BASELINE, 3): {"noise": (LOAD,)},
            (COPY, 4): {"noise": (LOAD,)},
        }
        return msgspec.structs.replace(record, **changes.get((record.arm, record.block), {}))

    result = judge(change_trials(campaign_of(WITHIN), spoil))
    assert result.excluded_trials == {
        NO_PARTNER: 1,
        "quote.nonce": 1,
        "swtpm died": 1,
        "timeout": 2,
    }
    assert result.flagged_trials == 2
    assert result.estimate is not None
    assert result.estimate.n_pairs == 10


def test_a_claim_must_name_one_cell() -> None:
    two = ({"ima_entries": 500}, {"ima_entries": 2000})
    with pytest.raises(InputError, match="name 2 cells"):
        judge(campaign_of(claim(factors={}), cells=two))
    with pytest.raises(InputError, match="name 0 cells"):
        judge(campaign_of(claim(factors={"ima_entries": 1}), cells=two))


def test_at_the_margin_five_claims_in_100_pass_by_chance() -> None:
    repeats = 250
    claims = tuple(
        claim(id=f"c{number}", kind="at_most", at_most=0.12, factors={"ima_entries": number})
        for number in range(repeats)
    )
    recipe = Recipe(
        blocks=6,
        iterations=2,
        slowdown={CANDIDATE: 0.12},
        cells=tuple({"ima_entries": number} for number in range(repeats)),
        claims=claims,
    )
    results = estimate_campaign(build(recipe)).claims
    low, high = binomial_limits(repeats, 0.05)
    assert low <= sum(one.p_value is not None and one.p_value < 0.05 for one in results) <= high
    # Over the whole family not even one is expected: Holm's 5 % are for any of them.
    assert sum(one.verdict == "holds" for one in results) <= 1
