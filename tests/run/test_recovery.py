"""What the campaign's statistics recover from a model whose truth is known."""

from pathlib import Path

from scipy import stats

from harness.model.estimate import CampaignEstimates
from harness.stats import estimate_campaign
from harness.store import load_campaign
from run.campaigns import run_text, scenario_text

SLOWDOWNS = {"slow2": 0.02, "slow5": 0.05, "slow10": 0.10}
ARMS = "\n".join(f'{name} = "slowdown = {value}"' for name, value in SLOWDOWNS.items())
# Block and trial spread as measured on real machines, and a position effect to adjust for.
OPTIONS = "drift_sd = 0.03, trial_sd = 0.004, noise_sd = 0.02, position_effect = 0.003"


def estimated(text: str, results: Path) -> CampaignEstimates:
    return estimate_campaign(load_campaign(run_text(text, results).directory))


def compatible(hits: int, n: int, share: float) -> bool:
    return bool(stats.binomtest(hits, n, share).pvalue > 0.01)


def test_injected_slowdowns_lie_inside_their_intervals(tmp_path: Path) -> None:
    inside = 0
    campaigns = 12
    for seed in range(campaigns):
        text = scenario_text(seed=seed, blocks="blocks = 12", arms=ARMS, options=OPTIONS)
        found = estimated(text, tmp_path / str(seed))
        for one in found.estimates:
            if one.candidate in SLOWDOWNS and one.phase == "measured":
                inside += one.low <= SLOWDOWNS[one.candidate] <= one.high
                assert one.high - one.low < 0.04
                assert abs(one.point - SLOWDOWNS[one.candidate]) < 0.01
    assert compatible(inside, 3 * campaigns, 0.95)


def test_a_a_campaigns_find_a_difference_as_often_as_5_percent_allows(tmp_path: Path) -> None:
    false_alarms = 0
    for seed in range(40):
        text = scenario_text(seed=1000 + seed, blocks="blocks = 8", options=OPTIONS)
        found = estimated(text, tmp_path / str(seed))
        (copy,) = (
            one for one in found.estimates if one.candidate == "base+aa" and one.phase == "measured"
        )
        false_alarms += not copy.low <= 0 <= copy.high
    assert compatible(false_alarms, 40, 0.05)
