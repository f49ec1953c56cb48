"""From the pilot's spread to n, with the statistics of facts B.3 and B.4."""

import math

import pytest
from run.campaigns import claim_text, scenario_text
from scipy import stats

from harness.cli.statistics import CampaignStatistics
from harness.model.plan import PilotDecision
from harness.model.scenario import Claim
from harness.scenario import parse_scenario
from harness.schedule import PilotSpread, expected_overhead, sized_workload


def decide(
    spread: PilotSpread | None,
    kind: str = "at_most = 0.01\nexpected = 0.003",
    maximum: int = 400,
) -> PilotDecision:
    blocks = f"pilot = 8\nmax_blocks = {maximum}"
    scenario = parse_scenario(scenario_text(blocks=blocks, tail=claim_text(kind=kind)))
    workload, claim = scenario.workloads[0], scenario.claims[0]
    rule = CampaignStatistics()
    return sized_workload(workload, (claim,), {claim.id: spread}, scenario.assumed_sd_log, rule)


def power_at(pairs: int, sd: float, gap: float) -> float:
    """Noncentral t of facts B.3, with the n - 2 degrees of the position-adjusted estimate."""
    degrees = pairs - 2
    return float(stats.nct.sf(stats.t.ppf(0.95, degrees), degrees, gap * math.sqrt(pairs) / sd))


@pytest.mark.parametrize("sd", [0.007, 0.009, 0.012])
def test_n_is_the_smallest_even_one_with_power_at_the_upper_bound(sd: float) -> None:
    decision = decide(PilotSpread(sd, 6))
    upper = sd * math.sqrt(6 / stats.chi2.ppf(0.2, 6))
    gap = math.log1p(0.01) - math.log1p(0.003)
    assert decision.claims[0].sd_upper == pytest.approx(upper)
    assert decision.blocks % 2 == 0
    assert power_at(decision.blocks, upper, gap) >= 0.8
    assert power_at(decision.blocks - 2, upper, gap) < 0.8


def test_pilot_blocks_are_the_least() -> None:
    decision = decide(PilotSpread(1e-5, 6))
    assert (decision.blocks, decision.wanted) == (8, 8)


def test_the_maximum_cuts_and_says_so() -> None:
    decision = decide(PilotSpread(0.02, 6), maximum=40)
    assert decision.blocks == 40
    assert decision.wanted > 40


def test_a_hopeless_claim_is_cut_too() -> None:
    decision = decide(PilotSpread(5.0, 6), kind="at_most = 0.01\nexpected = 0.0099999")
    assert decision.blocks == 400


def test_without_an_estimate_the_assumed_spread_counts() -> None:
    size = decide(None).claims[0]
    assert size.sd_log is None
    assert size.sd_upper == 0.02


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("at_most = 0.1", math.sqrt(1.1) - 1),
        ("at_most = 0.1\nexpected = 0.08", 0.08),
        ("low = 0.08\nhigh = 0.12", math.sqrt(1.08 * 1.12) - 1),
        ("", 0.0),
    ],
)
def test_expected_overhead_is_fixed_before_any_data(kind: str, expected: float) -> None:
    claim: Claim = parse_scenario(scenario_text(tail=claim_text(kind=kind))).claims[0]
    assert expected_overhead(claim) == pytest.approx(expected)


def test_a_negative_margin_expects_less_than_itself() -> None:
    claim = parse_scenario(scenario_text(tail=claim_text(kind="at_most = -0.05"))).claims[0]
    assert expected_overhead(claim) < -0.05
