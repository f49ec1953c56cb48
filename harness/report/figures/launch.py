"""What it takes to launch N vTPMs: time per phase and memory per instance."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from harness.model.scenario import Cell
from harness.report.data import LAUNCH, MEMORY, Dataset
from harness.report.emulation import caption_note, label
from harness.report.figure import Plot, grid, new_figure
from harness.report.figures.marks import arm_marks, phase_marks
from harness.report.figures.stack import Bar, bar, draw, handles, overlap_note
from harness.report.numbers import quantity

NAME, TITLE = "launch", "Launch of vTPMs: time and memory per instance"
_LINES = {"pss": "-", "rss": ":"}


def plot(data: Dataset) -> Plot:
    """Left: phases stacked per N and arm (ms). Right: memory per instance against N (MiB)."""
    cells = sorted(data.cells_with(LAUNCH), key=_instances)
    bars = _bars(data, cells)
    if not bars:
        why = "No launch of a vTPM was measured, so there is no figure of launches."
        return Plot(NAME, TITLE, "", missing=why)
    parts = data.parts(LAUNCH)
    marks = phase_marks(parts)
    emulated = data.emulated(cell.id for cell in cells)
    with_memory = sorted(data.cells_with(MEMORY), key=_instances)
    figure = new_figure(1.5 + 0.27 * (len(bars) + 0.5 * len(cells)))
    if with_memory:
        left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
        _memory(right, data, with_memory)
    else:
        left = figure.subplots()
    draw(left, bars, marks)
    left.set(title="time per phase", xlabel="time (ms)")
    left.set_yticks([item.position for item in bars], [item.label for item in bars])
    left.set_ylim(bars[-1].position + 0.6, bars[0].position - 0.6)
    legend = handles(parts, marks, any(item.other > 0 for item in bars))
    for handle in legend:
        handle.set_label(label(str(handle.get_label()), emulated))
    figure.legend(handles=legend, loc="outside lower center", ncols=4)
    caption = _caption(bool(with_memory)) + overlap_note(bars)
    caption = " ".join(filter(None, (caption, caption_note(emulated))))
    return Plot(NAME, TITLE, caption, _alt(data, bars, with_memory), figure)


def _instances(cell: Cell) -> int:
    return int(cell.factors.get("instances", 1))


def _bars(data: Dataset, cells: Sequence[Cell]) -> list[Bar]:
    means = data.arm_means
    means = means[(means["metric"] == LAUNCH) & (means["phase"] == "measured")]
    parts = data.parts(LAUNCH)
    bars: list[Bar] = []
    y = 0.0
    for cell in cells:
        for arm in (data.baseline_of(cell), *data.candidates):
            rows = means[(means["cell_id"] == cell.id) & (means["arm"] == arm)]
            item = bar(f"{arm}, N = {_instances(cell)}", y, rows, parts)
            if item is not None:
                bars.append(item)
                y += 1
        y += 0.5
    return bars


def _memory(axes: Axes, data: Dataset, cells: Sequence[Cell]) -> None:
    means = data.arm_means[data.arm_means["metric"] == MEMORY]
    numbers = {cell.id: _instances(cell) for cell in cells}
    marks = arm_marks(data)
    for arm in (*data.baselines, *data.candidates):
        for part in data.parts(MEMORY):
            rows = means[(means["arm"] == arm) & (means["part"] == part)]
            rows = rows[rows["cell_id"].isin(numbers)]
            if rows.empty:
                continue
            rows = rows.assign(n_instances=rows["cell_id"].map(numbers)).sort_values("n_instances")
            mean, low, high = (rows[name].to_numpy() / 2**20 for name in ("mean", "low", "high"))
            reach = np.nan_to_num(np.array([mean - low, high - mean])).clip(min=0)
            axes.errorbar(
                rows["n_instances"], mean, yerr=reach, label=f"{arm}, {part}", capsize=2, lw=1.3,
                color=marks[arm].colour, marker=marks[arm].marker, ms=5, ls=_LINES.get(part, "-."),
            )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(numbers.values()), [str(n) for n in numbers.values()])
    axes.minorticks_off()
    axes.set(title="memory per instance", xlabel="instances N", ylabel="MiB")
    axes.set_ylim(bottom=0)
    axes.legend(loc="best", fontsize=7, handlelength=2.6)
    grid(axes, "y")


def _caption(memory: bool) -> str:
    text = (
        "Time per instance and phase, mean over trials, for N instances launched in one service; "
        "the tick is the total as timed, with its 95 % interval, and its value in ms beside it."
    )
    if memory:
        return text + " Right: memory per instance with its 95 % interval."
    return text + " Memory per instance was not measured, so it is not shown."


def _alt(data: Dataset, bars: Sequence[Bar], with_memory: Sequence[Cell]) -> str:
    times = ", ".join(f"{item.label}: {item.total:.3g} ms" for item in bars)
    means = data.arm_means[data.arm_means["metric"] == MEMORY]
    ids = {cell.id: _instances(cell) for cell in with_memory}
    columns = [means[name] for name in ("cell_id", "arm", "part", "mean")]
    memory = ", ".join(
        f"{arm} {part} N = {ids[cell_id]}: {quantity(mean, 'B')}"
        for cell_id, arm, part, mean in zip(*columns, strict=True)
        if cell_id in ids and arm not in data.copies
    )
    return f"Stacked bars of launch phases: {times}." + (f" Memory: {memory}." if memory else "")
