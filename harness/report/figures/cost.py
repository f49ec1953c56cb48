"""Time added per command against the command's own time: fixed per round trip or proportional."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from harness.model.estimate import CostModel, Estimate
from harness.model.scenario import Cell
from harness.report.answers import cost_sentence
from harness.report.data import Dataset, cell_text, round_trips
from harness.report.figure import BLUE, INK, VERMILLION, Plot, grid, log_ticks, new_figure
from harness.report.figures.commands import command_estimates

NAME, TITLE = "added-time", "Time added per round trip: fixed or proportional"
_MOST_LABELS = 8


def plot(data: Dataset) -> Plot:
    """Scatter per cell and candidate that has a cost model; both axes per round trip, in µs."""
    panels = [
        (cell, model, rows)
        for cell in data.cells
        for name in data.candidates
        if (model := data.cost_model(cell.id, name)) and (rows := _counted(data, cell, name))
    ]
    if not panels:
        why = (
            "No cost model could be fitted (it needs TPM commands measured in both arms), so "
            "the time added per round trip is not shown."
        )
        return Plot(NAME, TITLE, "", missing=why)
    figure = new_figure(0.7 + 3.3 * len(panels))
    for axes, (cell, model, rows) in zip(
        figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True
    ):
        _panel(axes, model, rows)
        axes.set_ylabel("added per round trip (µs)")
        if len(panels) > 1:
            axes.set_title(f"{cell_text(cell)}: {model.candidate}")
    axes.set_xlabel("baseline latency per round trip (µs, logarithmic)")
    figure.legend(handles=_legend(), loc="outside lower center", ncols=2)
    sentences = [cost_sentence(model) for _, model, _ in panels]
    return Plot(NAME, TITLE, _caption(sentences), "Scatter plot. " + " ".join(sentences), figure)


def _counted(data: Dataset, cell: Cell, candidate: str) -> list[tuple[Estimate, float]]:
    """Commands with their round trips; those without a count are not in the model either."""
    trips = round_trips(data.campaign, candidate)
    rows = command_estimates(data, cell, candidate)
    return [(e, trips[cell.id, e.part]) for e in rows if trips.get((cell.id, e.part), 0) > 0]


def _panel(axes: Axes, model: CostModel, counted: list[tuple[Estimate, float]]) -> None:
    rows = [estimate for estimate, _ in counted]
    count = np.array([trips for _, trips in counted])
    x = np.array([e.baseline_mean for e in rows]) / count / 1e3
    added, low, high = (
        np.array([getattr(e, f"difference_{name}") for e in rows]) / count / 1e3
        for name in ("mean", "low", "high")
    )
    axes.set_xscale("log")
    _vertical_scale(axes, low, high, model.fixed_ns / 1e3)
    line = np.geomspace(x.min() / 1.5, x.max() * 1.5, 200)
    _model(axes, model, line)
    reach = np.nan_to_num(np.array([added - low, high - added])).clip(min=0)
    axes.errorbar(
        x, added, yerr=reach, fmt="o", ms=4.5, mfc=BLUE, mec=INK, mew=0.5, ecolor=INK,
        elinewidth=0.8, capsize=1.5,
    )  # fmt: skip
    axes.set_xlim(line[0], line[-1])
    log_ticks(axes.xaxis, line[0], line[-1])
    predicted = model.fixed_ns / 1e3 + model.proportional * x
    _label_strays(axes, rows, x, added, np.where((low > predicted) | (high < predicted)))
    grid(axes, "both")


def _vertical_scale(axes: Axes, low: np.ndarray, high: np.ndarray, fixed_us: float) -> None:
    """Logarithmic where every interval is positive, else linear around zero."""
    bottom, top = np.nanmin(low), np.nanmax(high)
    if bottom > 0:
        axes.set_yscale("log")
        axes.set_ylim(bottom / 3, top * 2)
        log_ticks(axes.yaxis, bottom / 3, top * 2)
        return
    threshold = 10 ** math.floor(math.log10(max(abs(fixed_us), 1e-3)))
    axes.set_yscale("symlog", linthresh=threshold, linscale=0.7)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.axhline(0, color=INK, lw=0.8)


def _model(axes: Axes, model: CostModel, x: np.ndarray) -> None:
    def at(fixed_ns: float, proportional: float) -> np.ndarray:
        return fixed_ns / 1e3 + proportional * x

    axes.fill_between(
        x,
        at(model.fixed_low_ns, model.proportional_low),
        at(model.fixed_high_ns, model.proportional_high),
        color=VERMILLION,
        alpha=0.2,
        lw=0,
    )
    axes.plot(x, at(model.fixed_ns, model.proportional), color=VERMILLION, lw=1.6)
    axes.plot(x, at(model.fixed_ns, 0), color=INK, lw=0.9, ls="--")
    axes.plot(x, at(0, model.proportional), color=INK, lw=0.9, ls=":")


def _label_strays(
    axes: Axes, rows: list[Estimate], x: np.ndarray, y: np.ndarray, strays: tuple[np.ndarray, ...]
) -> None:
    """Names the commands whose interval excludes the model, alternating above and below."""
    for turn, index in enumerate(strays[0][:_MOST_LABELS]):
        above = turn % 2 == 0
        axes.annotate(
            rows[index].part,
            (x[index], y[index]),
            xytext=(0, 11 if above else -11),
            textcoords="offset points",
            ha="center",
            va="bottom" if above else "top",
            fontsize=7,
        )


def _legend() -> list[Line2D | Patch]:
    return [
        Line2D(
            [], [], ls="", marker="o", mfc=BLUE, mec=INK, ms=5, label="one command, 95 % interval"
        ),
        Line2D([], [], color=VERMILLION, lw=1.6, label="model: fixed + proportional"),
        Line2D([], [], color=INK, lw=0.9, ls="--", label="fixed part"),
        Line2D([], [], color=INK, lw=0.9, ls=":", label="proportional part"),
    ]


def _caption(sentences: list[str]) -> str:
    return (
        " ".join(sentences) + " Points on the flat part pay the fixed cost; where the line bends "
        "upwards the proportional part takes over. Commands whose interval excludes the model "
        "are named. The shaded band joins the ends of both 95 % intervals."
    )
