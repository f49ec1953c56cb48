"""Campaigns that hold little, nothing, or what nobody planned for."""

from dataclasses import replace
from pathlib import Path

import msgspec

from harness.model.estimate import Estimate
from harness.report import render
from harness.report.answers import headline, warnings
from harness.report.data import Dataset
from harness.report.figure import style
from harness.report.figures import claims, cost
from harness.report.numbers import NBSP, UNBOUNDED
from harness.store import Campaign

from . import synthetic_estimates
from .conftest import Rendered

LARGEST = 1.7976931348623157e308


def with_estimate(report: Rendered, **changes: object) -> Dataset:
    """The report's data with the first claim's estimate changed, and no other claim."""
    first = report.estimates.claims[0]
    assert first.estimate is not None
    changed: Estimate = msgspec.structs.replace(first.estimate, **changes)
    only = msgspec.structs.replace(first, estimate=changed)
    return Dataset(report.campaign, msgspec.structs.replace(report.estimates, claims=(only,)))


def nothing_ok(campaign: Campaign) -> Campaign:
    trials = campaign.trials.assign(status="failed", reason="swtpm did not start")
    return replace(campaign, trials=trials, samples=campaign.samples.iloc[:0])


def test_a_campaign_in_which_nothing_worked_still_gives_a_page(
    report: Rendered, tmp_path: Path
) -> None:
    campaign = nothing_ok(report.campaign)
    render(campaign, synthetic_estimates.estimates(campaign), tmp_path)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "No trial gave a number, so there is nothing to show over time." in text
    assert "<td>swtpm did not start</td>" in text
    assert "<svg" not in text
    assert list((tmp_path / "figures").iterdir()) == []
    assert (tmp_path / "tables/trials.csv").read_text().count("failed") == len(campaign.trials)


def test_without_claims_the_answer_says_that_the_numbers_are_exploratory(report: Rendered) -> None:
    estimates = msgspec.structs.replace(report.estimates, claims=())
    answer = headline(Dataset(report.campaign, estimates)).replace(NBSP, " ")
    assert answer.startswith("No claim was registered before the run")
    assert "framework over software-tpm is between +9.0 % and +14 % in 2 cells" in answer


def test_an_unbounded_interval_is_named_and_does_not_stretch_the_figure(report: Rendered) -> None:
    data = with_estimate(report, low=-1.0, high=LARGEST, low90=-1.0, high90=LARGEST)
    assert UNBOUNDED in headline(data)
    with style():
        plot = claims.plot(data)
    assert plot.figure is not None
    left, right = plot.figure.axes[0].get_xlim()
    assert -130 < left < right < 130


def test_estimators_that_disagree_and_a_strong_order_effect_are_warned_about(
    report: Rendered,
) -> None:
    data = with_estimate(report, estimators_disagree=True, position_effect=0.08)
    text = " ".join(warnings(data)).replace(NBSP, " ")
    assert "disagrees with the paired estimate" in text
    assert "running second changed a trial by +8.0 %" in text
    assert warnings(with_estimate(report)) == []


def test_an_aa_interval_without_zero_is_warned_about(report: Rendered) -> None:
    first = report.estimates.claims[0]
    assert first.noise_floor is not None
    floor = msgspec.structs.replace(first.noise_floor, point=0.03, low=0.02, high=0.04)
    result = msgspec.structs.replace(first, noise_floor=floor)
    data = Dataset(report.campaign, msgspec.structs.replace(report.estimates, claims=(result,)))
    assert any("an interval that excludes 0" in warning for warning in warnings(data))


def test_commands_without_a_count_of_round_trips_are_not_in_the_cost_figure(
    report: Rendered,
) -> None:
    records = tuple(msgspec.structs.replace(r, notes={}) for r in report.campaign.records)
    data = Dataset(replace(report.campaign, records=records), report.estimates)
    plot = cost.plot(data)
    assert plot.figure is None
    assert "time added per round trip is not shown" in plot.missing


def test_cost_points_are_per_round_trip(report: Rendered) -> None:
    data = Dataset(report.campaign, report.estimates)
    with style():
        plot = cost.plot(data)
    assert plot.figure is not None
    points = plot.figure.axes[0].containers[0].lines[0]  # type: ignore[attr-defined]
    drawn = dict(zip(points.get_xdata(), points.get_ydata(), strict=True))
    seal = data.by_key["c0", "tpm_command_latency_ns", "Seal", "measured", "framework"]
    assert drawn[seal.baseline_mean / 2e3] == seal.difference_mean / 2e3


def test_what_looks_like_mathematics_in_a_name_is_drawn_as_it_is(
    report: Rendered, tmp_path: Path
) -> None:
    first = report.estimates.claims[0]
    named = msgspec.structs.replace(first, claim_id="a$x_1$ & <b>")
    estimates = msgspec.structs.replace(report.estimates, claims=(named,))
    render(nothing_ok(report.campaign), estimates, tmp_path)
    assert "a$x_1$ &amp; &lt;b&gt;" in (tmp_path / "figures/claims.svg").read_text(encoding="utf-8")
