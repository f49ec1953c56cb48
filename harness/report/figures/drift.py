"""Every trial as a dot over time: drift, steps and outliers can't hide in a mean."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from harness.report.counted import COUNTED
from harness.report.data import TOTAL, Dataset, cell_text
from harness.report.figure import INK, Plot, grid, new_figure
from harness.report.figures.marks import Mark, arm_marks

NAME, TITLE = "drift", "Every trial over time"

_CAPTION = (
    "One mark per trial, against the median of its own arm in its own cell, so that a drift "
    "of the machine shows as all arms moving together. Trials with a total are scored by it, "
    "TPM commands by the geometric mean over commands. Ringed trials started outside the "
    "noise gate; they are used and counted. Crosses at the bottom gave no number."
)
_COUNTED_CAPTION = (
    "Counted instructions do not drift: their deviation is that of one layout from another, by the "
    "geometric mean over operations."
)


def trial_scores(data: Dataset) -> pd.DataFrame:
    """One row per ok trial: ``deviation`` (fraction) from the median of its own arm and cell.

    A trial with a total is scored by it; otherwise (TPM commands, counted work) by the geometric
    mean over parts of value / median of the part, which weighs fast and slow parts alike. What
    only has one block has nothing to deviate from.
    """
    means = data.trial_means
    means = means[means["phase"] == "measured"]
    shown = {workload.name for workload in data.scenario.workloads if workload.blocks != 1}
    means = means[means["workload"].isin(shown)]
    telling = means["metric"].str.contains("latency|instructions", regex=True)
    with_any = means["cell_id"].isin(means.loc[telling, "cell_id"])
    means = means[telling | ~with_any]
    has_total = means["cell_id"].isin(means.loc[means["part"] == TOTAL, "cell_id"])
    means = means[~has_total | (means["part"] == TOTAL)]
    means = means[means["value"] > 0]
    typical = means.groupby(["cell_id", "arm", "metric", "part"])["value"].transform("median")
    scores = means.assign(deviation=np.log(means["value"] / typical))
    by = ["cell_id", "arm", "trial_id", "minute", "flagged"]
    frame = scores.groupby(by, sort=True)["deviation"].mean().reset_index()
    return frame.assign(deviation=np.expm1(frame["deviation"]))


def plot(data: Dataset) -> Plot:
    """One panel per cell: deviation of each trial from its arm's median against start time."""
    scores = trial_scores(data) if len(data.trial_means) else pd.DataFrame()
    if scores.empty:
        why = "No trial gave a number, so there is nothing to show over time."
        return Plot(NAME, TITLE, "", missing=why)
    cells = [cell for cell in data.cells if cell.id in set(scores["cell_id"])]
    columns = 2 if len(cells) > 1 else 1
    lines = -(-len(cells) // columns)
    figure = new_figure(0.8 + 1.75 * lines)
    every = figure.subplots(lines, columns, squeeze=False, sharex=True).ravel()
    marks = arm_marks(data)
    per_minute, unit = (60, "seconds") if data.trials["minute"].max() < 3 else (1, "minutes")
    scores = scores.assign(at=per_minute * scores["minute"])
    trials = data.trials.assign(at=per_minute * data.trials["minute"])
    for axes, cell in zip(every, cells, strict=False):
        lost = trials[(trials["status"] != "ok") & (trials["cell_id"] == cell.id)]
        _panel(axes, scores[scores["cell_id"] == cell.id], lost, marks)
        names = (cell.workload, cell_text(cell))
        axes.set_title(": ".join(dict.fromkeys(names)), fontsize=8)
    for axes in every[len(cells) :]:
        axes.set_visible(False)
    for axes in every[: len(cells)][-columns:]:  # the lowest panel of each column
        axes.tick_params(labelbottom=True)
        axes.set_xlabel(f"start ({unit} after the first)")
    for axes in every[::columns]:
        axes.set_ylabel("deviation (%)")
    seen = [name for name in marks if name in set(scores["arm"])]
    handles = [marks[name].handle(name) for name in seen] + _extra_handles(data)
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    caption = _CAPTION if data.shown.isdisjoint(COUNTED) else f"{_CAPTION} {_COUNTED_CAPTION}"
    return Plot(NAME, TITLE, caption, _alt(data, scores), figure)


def _panel(axes: Axes, scores: pd.DataFrame, lost: pd.DataFrame, marks: dict[str, Mark]) -> None:
    axes.axhline(0, color=INK, lw=0.7)
    for name, mark in marks.items():
        rows = scores[scores["arm"] == name]
        axes.plot(
            rows["at"], 100 * rows["deviation"], ls="", marker=mark.marker, ms=4.2,
            mfc=mark.face, mec=mark.edge, mew=0.5 if mark.filled else 1.0,
        )  # fmt: skip
    flagged = scores[scores["flagged"]]
    axes.plot(
        flagged["at"], 100 * flagged["deviation"], ls="", marker="o", ms=9.5, mfc="none",
        mec=INK, mew=0.9,
    )  # fmt: skip
    axes.plot(
        lost["at"], [0.04] * len(lost), ls="", marker="x", ms=5, color=INK, mew=1.3,
        transform=axes.get_xaxis_transform(),
    )  # fmt: skip
    axes.margins(y=0.18)
    grid(axes, "y")


def _extra_handles(data: Dataset) -> list[Line2D]:
    handles = []
    if data.trials["flagged"].any():
        ring = Line2D(
            [], [], ls="", marker="o", ms=8.5, mfc="none", mec=INK, mew=0.9,
            label="flagged by the noise gate",
        )  # fmt: skip
        handles.append(ring)
    if (data.trials["status"] != "ok").any():
        cross = Line2D([], [], ls="", marker="x", color=INK, ms=5, label="gave no number")
        handles.append(cross)
    return handles


def _alt(data: Dataset, scores: pd.DataFrame) -> str:
    worst = 100 * scores["deviation"].abs().max()
    return (
        f"Dots of {len(scores)} trials in {scores['cell_id'].nunique()} cells over "
        f"{data.trials['minute'].max():.0f} minutes; the largest deviation from an arm's median "
        f"is {worst:.2g} %. {int(scores['flagged'].sum())} of the trials were flagged."
    )
