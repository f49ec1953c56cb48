"""Latency of every TPM command, baseline and candidate, with the ratio beside the bars."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import blended_transform_factory

from harness.model.estimate import Estimate
from harness.model.scenario import Cell
from harness.report.counted import GUEST_COMMANDS
from harness.report.data import COMMANDS, Dataset, cell_text
from harness.report.emulation import label
from harness.report.figure import INK, Plot, grid, log_ticks, new_figure
from harness.report.figures.marks import Mark, arm_marks
from harness.report.numbers import NO_DATA, TIMES, estimate_and_interval

NAME, TITLE = "commands", "Latency per TPM command"
GUEST_NAME, GUEST_TITLE = "guest-commands", "Latency per TPM command as a guest sees it"
_THICK = 0.38
_CAPTION = (
    "Fast commands show a large ratio because a round trip costs a fixed time: see the next "
    "figure. Making an RSA key searches for primes, so its time is chance in every arm and its "
    "ratio says little."
)
_GUEST_CAPTION = (
    "Time on the guest's clock around a command at /dev/tpm0. The guest's driver asks its TPM "
    "every millisecond whether it is done, so about 1.2 ms per command is the driver's own floor "
    "in every arm and hides whatever is faster."
)


def command_estimates(
    data: Dataset, cell: Cell, candidate: str, metric: str = COMMANDS
) -> list[Estimate]:
    """The candidate's estimates per command in this cell, slowest baseline first."""
    wanted = (cell.id, metric, "measured", candidate)
    found = [
        e for e in data.by_key.values() if (e.cell_id, e.metric, e.phase, e.candidate) == wanted
    ]
    return sorted(found, key=lambda e: (-e.baseline_mean, e.part))


def plot(data: Dataset) -> Plot:
    """Horizontal bars on a logarithmic axis, one panel per cell; the leading candidate only."""
    return _plot(data, COMMANDS, NAME, TITLE, _CAPTION)


def guest_plot(data: Dataset) -> Plot:
    """The same for the commands that a guest gives to its TPM device."""
    return _plot(data, GUEST_COMMANDS, GUEST_NAME, GUEST_TITLE, _GUEST_CAPTION)


def _plot(data: Dataset, metric: str, name_of_plot: str, title: str, more: str) -> Plot:
    panels = []
    candidate = ""
    for name in data.candidates:
        panels = [(cell, command_estimates(data, cell, name, metric)) for cell in data.cells]
        panels = [(cell, rows) for cell, rows in panels if rows]
        candidate = name
        if panels:
            break
    if not panels:
        why = "No TPM command was measured in both arms, so there is no figure of commands."
        return Plot(name_of_plot, title, "", missing=why)
    baseline = panels[0][1][0].baseline
    heights = [len(rows) + 2 for _, rows in panels]
    figure = new_figure(0.8 + 0.27 * sum(heights))
    grid_of = figure.subplots(len(panels), squeeze=False, height_ratios=heights)
    marks = arm_marks(data)
    pair = (marks[baseline], marks[candidate])
    for axes, (cell, rows) in zip(grid_of[:, 0], panels, strict=True):
        _panel(axes, data, rows, pair)
        if len(panels) > 1:
            axes.set_title(cell_text(cell))
    grid_of[-1, 0].set_xlabel("latency (µs, logarithmic)")
    names = (baseline, candidate)
    handles = [mark.patch(name) for mark, name in zip(pair, names, strict=True)]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    caption = (
        f"Mean over trials with its 95 % interval; beside each pair the ratio {candidate} / "
        f"{baseline} with its 95 % interval (paired by block). {more}"
    )
    return Plot(name_of_plot, title, caption, _alt(panels, candidate), figure)


def _panel(axes: Axes, data: Dataset, rows: list[Estimate], pair: tuple[Mark, Mark]) -> None:
    y = np.arange(len(rows))
    sides = (
        ([(e.baseline_mean, e.baseline_low, e.baseline_high) for e in rows], -_THICK / 2),
        ([(e.candidate_mean, e.candidate_low, e.candidate_high) for e in rows], _THICK / 2),
    )
    means = [mean / 1e3 for e in rows for mean in (e.baseline_mean, e.candidate_mean)]
    left, right = 10 ** math.floor(math.log10(min(means) * 0.7)), max(means) * 1.5
    axes.set_xscale("log")
    for (values, shift), mark in zip(sides, pair, strict=True):
        mean, low, high = (np.array(column) / 1e3 for column in zip(*values, strict=True))
        axes.barh(y + shift, mean, _THICK, fc=mark.colour, ec=INK, hatch=mark.hatch, lw=0.5)
        reach = np.nan_to_num(np.array([mean - low, high - mean])).clip(min=0)
        axes.errorbar(
            mean,
            y + shift,
            xerr=reach,
            fmt="none",
            color=INK,
            ecolor=INK,
            elinewidth=0.9,
            capsize=1.6,
        )
    emulated = data.emulated({e.cell_id for e in rows})
    axes.set_yticks(y, [label(e.part, emulated) for e in rows])
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(left, right), ylim=(len(rows) - 0.4, -0.6))
    log_ticks(axes.xaxis, left, right)
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    for position, estimate in enumerate(rows):
        axes.text(1.01, position, ratio_text(estimate), transform=beside, va="center", fontsize=7.5)
    grid(axes, "x")


def ratio_text(estimate: Estimate) -> str:
    """Candidate over baseline with its interval: "x1.42 [1.40, 1.44]"."""
    point, interval = estimate_and_interval(1 + estimate.point, 1 + estimate.low, 1 + estimate.high)
    return point if point == NO_DATA else f"{TIMES}{point} {interval}"


def _alt(panels: list[tuple[Cell, list[Estimate]]], candidate: str) -> str:
    parts = []
    for cell, rows in panels:
        ranked = sorted(rows, key=lambda e: e.point)
        parts.append(
            f"{cell_text(cell)}: {len(rows)} commands, {candidate} from {ratio_text(ranked[0])} "
            f"({ranked[0].part}) to {ratio_text(ranked[-1])} ({ranked[-1].part})"
        )
    return "Bars of latency per TPM command. " + ". ".join(parts) + "."
