"""Every claim as an interval against its margin and the noise floor."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.transforms import blended_transform_factory

from harness.model.estimate import ClaimResult, Estimate
from harness.report.answers import is_counted, verdict_word
from harness.report.claim_table import claim_cell
from harness.report.data import Dataset, half_width
from harness.report.figure import BLUE, GREEN, INK, Plot, grid, new_figure
from harness.report.numbers import bounded, percent_interval, percent_places

NAME, TITLE = "claims", "Claims against their margins"
_BAND = 0.36
_NOISE: dict[str, Any] = {"fc": (INK, 0.12), "ec": (INK, 0.55), "lw": 0.6}
_MARKERS = {"holds": "o", "fails": "X", "inconclusive": "D", "estimate": "s"}


def plot(data: Dataset) -> Plot:
    """Forest plot in percent: 95 % and 90 % interval, margin, noise floor; one row per claim."""
    rows = [(result, result.estimate) for result in data.estimates.claims if result.estimate]
    if not rows:
        why = "No claim of this scenario has an estimate, so there is no figure of claims."
        return Plot(NAME, TITLE, "", missing=why)
    figure = new_figure(1.15 + 0.72 * len(rows))
    axes = figure.subplots()
    left, right = _limits(rows)
    for y, (result, estimate) in enumerate(rows):
        _row(axes, y, result, estimate, left)
    axes.axvline(0, color=INK, lw=0.8)
    axes.set(ylim=(len(rows) - 0.45, -0.55), xlim=(left, right))
    axes.set_yticks(range(len(rows)), [_label(data, result) for result, _ in rows])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    only_counted = all(is_counted(e) for _, e in rows)
    axes.set_xlabel(f"{'instructions' if only_counted else 'cost'} over the baseline (%)")
    grid(axes, "x")
    figure.legend(handles=_legend(rows), loc="outside lower center", ncols=3)
    return Plot(NAME, TITLE, _caption(rows), _alt(rows), figure)


def _limits(rows: Sequence[tuple[ClaimResult, Estimate]]) -> tuple[float, float]:
    """Everything drawn, with room to the right; an open margin adds nothing."""
    values = [0.0]
    for result, estimate in rows:
        floor = half_width(result.noise_floor)
        values += [estimate.low, estimate.high, floor, -floor]
        values += [m for m in (result.margin_low, result.margin_high) if m is not None]
    values = [value for value in values if bounded(value)]
    low, high = 100 * min(values), 100 * max(values)
    room = 0.06 * (high - low or 1.0)
    return low - room, high + room


def _row(axes: Axes, y: int, result: ClaimResult, estimate: Estimate, left: float) -> None:
    if bounded(half_width(result.noise_floor)):
        floor = 100 * half_width(result.noise_floor)
        axes.add_patch(Rectangle((-floor, y - _BAND), 2 * floor, 2 * _BAND, **_NOISE))
    _margin(axes, y, result, left)
    if bounded(estimate.low, estimate.high):
        axes.plot([100 * estimate.low, 100 * estimate.high], [y, y], color=INK, lw=1.2)
    if bounded(estimate.low90, estimate.high90):
        inner = [100 * estimate.low90, 100 * estimate.high90]
        axes.plot(inner, [y, y], color=INK, lw=3.4, alpha=0.55)
    axes.plot(
        100 * estimate.point, y, marker=_MARKERS[verdict_word(result)], color=BLUE, mec=INK, ms=7.5
    )
    most = percent_places(estimate.unit)
    words = percent_interval(estimate.point, estimate.low, estimate.high, most)
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    axes.text(
        1.02, y, f"{words}\n{verdict_word(result)}", transform=beside, va="center", fontsize=8,
        linespacing=1.4,
    )  # fmt: skip


def _margin(axes: Axes, y: int, result: ClaimResult, left: float) -> None:
    """The region in which the claim would hold."""
    if result.margin_high is None and result.margin_low is None:
        return
    low = left if result.margin_low is None else 100 * result.margin_low
    high = axes.get_xlim()[1] if result.margin_high is None else 100 * result.margin_high
    axes.add_patch(
        Rectangle((low, y - _BAND), high - low, 2 * _BAND, fc=GREEN, ec="none", alpha=0.22)
    )
    for margin in (result.margin_low, result.margin_high):
        if margin is not None:
            ends = [y - _BAND, y + _BAND]
            axes.plot([100 * margin, 100 * margin], ends, color=GREEN, lw=1.6)


def _label(data: Dataset, result: ClaimResult) -> str:
    return f"{result.claim_id}\n{claim_cell(data, result)}"


def _legend(rows: Sequence[tuple[ClaimResult, Estimate]]) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=INK, lw=1.2, label="95 % interval"),
        Line2D([], [], color=INK, lw=3.4, alpha=0.55, label="90 % interval (decides the claim)"),
        Patch(label="noise floor (A/A)", **_NOISE),
    ]
    if any(result.kind != "estimate" for result, _ in rows):
        handles.append(Patch(fc=GREEN, alpha=0.22, ec=GREEN, lw=1.2, label="claim holds in here"))
    states = dict.fromkeys(verdict_word(result) for result, _ in rows)
    for state in states:
        label = "estimate without margin" if state == "estimate" else state
        handles.append(
            Line2D([], [], ls="", marker=_MARKERS[state], mfc=BLUE, mec=INK, ms=6, label=label)
        )
    return handles


def _caption(rows: Sequence[tuple[ClaimResult, Estimate]]) -> str:
    baselines = " and ".join(dict.fromkeys(estimate.baseline for _, estimate in rows))
    return (
        f"Cost of the candidate over {baselines} in the cell each claim declares. "
        "A claim holds when the whole 90 % interval lies in the green region. The grey band is "
        "the half-width of the 95 % interval between two copies of the baseline: what lies "
        "inside it can't be told from noise."
    )


def _alt(rows: Sequence[tuple[ClaimResult, Estimate]]) -> str:
    lines = [
        f"{result.claim_id}: {percent_interval(e.point, e.low, e.high)}, {verdict_word(result)}"
        for result, e in rows
    ]
    return f"Forest plot of {len(rows)} claims. " + ". ".join(lines) + "."
