"""New work: what only the extension does, in instructions, entries and extends."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.transforms import blended_transform_factory

from harness.model.estimate import Estimate
from harness.report.composed import extends_added, number_text
from harness.report.counted import (
    FILES,
    SCALE,
    STARTS,
    estimate_name,
    file_part,
    leading,
    new_work,
    workloads_of,
)
from harness.report.data import Dataset
from harness.report.emulation import caption_note
from harness.report.figure import INK, Plot, grid, log_ticks, new_figure
from harness.report.figures.marks import Mark, arm_marks
from harness.report.numbers import estimate_and_interval, short

NAME, TITLE = "new-work", "New work of the extension, which stock IMA leaves out"
_THICK = 0.38


def plot(data: Dataset) -> Plot:
    """Pairs of bars per operation on a logarithmic axis, with what is added beside them."""
    estimates = _chosen(data)
    if not estimates:
        why = "Nothing that only the extension does was counted, so there is no figure of it."
        return Plot(NAME, TITLE, "", missing=why)
    figure = new_figure(1.0 + 0.3 * len(estimates))
    axes = figure.subplots()
    marks = arm_marks(data)
    _bars(axes, estimates, marks)
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    for y, e in enumerate(estimates):
        axes.text(1.01, y, _beside(data, e), transform=beside, va="center", fontsize=7.5)
    names = dict.fromkeys([estimates[0].baseline, *(e.candidate for e in estimates)])
    figure.legend(
        handles=[marks[name].patch(name) for name in names], loc="outside upper center", ncols=3
    )
    note = caption_note(data.emulated({e.cell_id for e in estimates}))
    return Plot(NAME, TITLE, f"{_CAPTION} {note}".strip(), _alt(data, estimates), figure)


def _chosen(data: Dataset) -> list[Estimate]:
    """Of the leading arm: first touches in the second container, starts, and new domains.

    Of a series over sizes or numbers only its ends; the table has all of it.
    """
    series: dict[tuple[str, str], list[Estimate]] = {}
    for e in leading(data, new_work(data)):
        name = _series(e)
        if name:
            series.setdefault((e.cell_id, name), []).append(e)
    return [e for of in series.values() for e in of[:1] + of[1:][-1:]]


def _series(e: Estimate) -> str:
    """Name of the series whose ends are shown; "" for what has no bar."""
    if e.metric == FILES:
        parsed = file_part(e.part)
        return parsed.operation if parsed is not None else ""
    if e.metric == SCALE:
        return "create" if e.part.startswith("create.") else ""
    return e.part


def _bars(axes: Axes, estimates: Sequence[Estimate], marks: dict[str, Mark]) -> None:
    axes.set_xscale("log")
    for y, e in enumerate(estimates):
        for value, shift, mark in (
            (e.baseline_mean, -_THICK / 2, marks[e.baseline]),
            (e.candidate_mean, _THICK / 2, marks[e.candidate]),
        ):
            axes.barh(y + shift, value, _THICK, fc=mark.colour, ec=INK, hatch=mark.hatch, lw=0.5)
    values = [v for e in estimates for v in (e.baseline_mean, e.candidate_mean)]
    left, right = 10 ** math.floor(math.log10(min(values) * 0.7)), max(values) * 1.4
    axes.set(xlim=(left, right), ylim=(len(estimates) - 0.4, -0.6))
    axes.set_yticks(range(len(estimates)), _labels(estimates))
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("instructions per operation (logarithmic)")
    log_ticks(axes.xaxis, left, right)
    axes.xaxis.set_major_formatter(lambda value, _: short(value))
    grid(axes, "x")


def _labels(estimates: Sequence[Estimate]) -> list[str]:
    names = workloads_of(estimates)
    return [_label(e, several=len(names[e.metric]) > 1) for e in estimates]


def _label(e: Estimate, several: bool) -> str:
    name = estimate_name(e).replace(" container, first", " container")
    name = name.replace("create at", "new mount namespace at")
    factors = "".join(f", {key} = {value}" for key, value in e.factors.items())
    return name + (f" ({e.workload})" if several else "") + factors


def _beside(data: Dataset, e: Estimate) -> str:
    added, _ = estimate_and_interval(
        e.difference_mean, e.difference_low, e.difference_high, signed=True, most=0
    )
    extends = extends_added(data, e) if e.metric in (FILES, STARTS) else None
    return added if not extends else f"{added}, {number_text(extends)} extends"


_CAPTION = (
    "Not an overhead: stock IMA logs a file once per guest and knows no containers, so these "
    "operations leave no entry there. Beside the bars: instructions added per operation, and "
    "entries added, each of which is one extend of the TPM."
)


def _alt(data: Dataset, estimates: Sequence[Estimate]) -> str:
    named = zip(_labels(estimates), estimates, strict=True)
    texts = (f"{name}: {_beside(data, e)}" for name, e in named)
    return "Bars of new work in instructions added per operation. " + "; ".join(texts) + "."
