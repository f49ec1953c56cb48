"""Overhead of equal work in counted instructions: every operation against the 1 % line."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from harness.model.estimate import Estimate
from harness.report.counted import (
    FILES,
    MARGIN,
    SCOPES,
    equal_estimates,
    estimate_name,
    file_part,
    numbered,
    workloads_of,
)
from harness.report.data import Dataset
from harness.report.emulation import caption_note
from harness.report.figure import GREEN, INK, Plot, grid, new_figure
from harness.report.figures.marks import Mark, arm_marks
from harness.report.numbers import bounded, percent_interval

FILES_NAME, FILES_TITLE = "overhead-files", "Overhead of file operations, equal work"
WORK_NAME, WORK_TITLE = "overhead-work", "Overhead of boot, applications and lists, equal work"
_WIDEST = 0.05  # what lies further out is drawn at the edge with its number


@dataclass(frozen=True)
class Row:
    """One operation: estimates by arm, and the A/A copy's; a line parts the groups."""

    label: str
    group: str
    estimates: tuple[Estimate, ...]
    noise: Estimate | None


def files_plot(data: Dataset) -> Plot:
    """Forest plot of file operations: first touch on the left, repeated on the right."""
    found = [e for e in equal_estimates(data) if e.metric == FILES and file_part(e.part)]
    if not found:
        why = "No file operation was counted in both arms, so there is no figure of its overhead."
        return Plot(FILES_NAME, FILES_TITLE, "", missing=why)
    turns: dict[bool, dict[tuple[str, str], Row]] = {False: {}, True: {}}
    for estimates in _grouped(found):
        parsed = file_part(estimates[0].part)
        assert parsed is not None
        label = f"{parsed.operation} {parsed.size_text}, {SCOPES[parsed.scope]}"
        group = f"{parsed.scope} {parsed.operation}"
        if (group, label) in turns[parsed.again]:
            label = f"{label} ({estimates[0].workload})"
        row = Row(label, group, estimates, data.noise_floor(estimates[0]))
        turns[parsed.again][group, label] = row
    keys = dict.fromkeys(key for rows in turns.values() for key in rows)
    panels = {
        name: [rows.get(key) or Row(key[1], key[0], (), None) for key in keys]
        for name, rows in (("first touch", turns[False]), ("repeated", turns[True]))
        if rows
    }
    return _plot(data, FILES_NAME, FILES_TITLE, panels)


def work_plot(data: Dataset) -> Plot:
    """Forest plot of everything else that both kernels do."""
    found = [e for e in equal_estimates(data) if e.metric != FILES or not file_part(e.part)]
    if not found:
        why = "Neither boot nor applications were counted in both arms."
        return Plot(WORK_NAME, WORK_TITLE, "", missing=why)
    names = workloads_of(found)
    rows = [
        Row(
            _label(first, len(names[first.metric]) > 1),
            first.metric,
            estimates,
            data.noise_floor(first),
        )
        for estimates in _grouped(found)
        for first in estimates[:1]
    ]
    return _plot(data, WORK_NAME, WORK_TITLE, {"": rows})


def _label(e: Estimate, several: bool) -> str:
    where = f" ({e.workload})" if several else ""
    where += "".join(f", {name} = {value}" for name, value in e.factors.items())
    if e.metric == FILES:
        return f"{e.part.removeprefix('control.')} (control){where}"
    name = estimate_name(e)
    return (f"list: {name}" if numbered(e.part) else name) + where


def _grouped(estimates: Sequence[Estimate]) -> list[tuple[Estimate, ...]]:
    """Estimates of one operation side by side, in the order given."""
    groups: dict[tuple[str, str, str, str], list[Estimate]] = {}
    for e in estimates:
        groups.setdefault((e.cell_id, e.metric, e.part, e.phase), []).append(e)
    return [tuple(group) for group in groups.values()]


def _plot(data: Dataset, name: str, title: str, panels: dict[str, list[Row]]) -> Plot:
    rows = [row for found in panels.values() for row in found]
    arms = list(dict.fromkeys(e.candidate for row in rows for e in row.estimates))
    longest = max(len(found) for found in panels.values())
    figure = new_figure(1.2 + (0.14 + 0.09 * len(arms)) * longest)
    every = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    marks = arm_marks(data)
    left, right = _limits(rows)
    for place, (axes, (panel, found)) in enumerate(zip(every, panels.items(), strict=True)):
        _panel(axes, found, arms, marks, (left, right))
        axes.set_title(panel)
        if place:
            axes.tick_params(axis="y", labelleft=False)
    handles = [marks[arm].handle(arm) for arm in arms] + _legend(data, rows)
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    emulated = caption_note(data.emulated({e.cell_id for row in rows for e in row.estimates}))
    return Plot(name, title, f"{_CAPTION} {emulated}".strip(), _alt(rows), figure)


def _limits(rows: Sequence[Row]) -> tuple[float, float]:
    """Room for zero, the margin and everything up to ``_WIDEST``, in percent."""
    values = [-0.001, MARGIN * 1.15]
    for row in rows:
        for e in (*row.estimates, *([row.noise] if row.noise else [])):
            values += [v for v in (e.low, e.high) if bounded(v) and abs(v) <= _WIDEST]
            values.append(max(-_WIDEST, min(e.point, _WIDEST)))
    room = 0.04 * (max(values) - min(values))
    return 100 * (min(values) - room), 100 * (max(values) + room)


def _panel(
    axes: Axes,
    rows: Sequence[Row],
    arms: Sequence[str],
    marks: dict[str, Mark],
    limits: tuple[float, float],
) -> None:
    axes.axvspan(limits[0], 100 * MARGIN, color=GREEN, alpha=0.1, lw=0)
    axes.axvline(100 * MARGIN, color=GREEN, lw=1.4)
    axes.axvline(0, color=INK, lw=0.8)
    step = 0.76 / (len(arms) + 1)
    for y, row in enumerate(rows):
        if not row.estimates and (y == 0 or rows[y - 1].group != row.group):
            axes.text(0.04, y, "new work, shown apart", va="center", fontsize=6.5, style="italic")
        if row.noise is not None:
            _interval(axes, y - 0.38 + step / 2, row.noise, marks[row.noise.candidate], limits)
        for e in row.estimates:
            offset = step * (1.5 + arms.index(e.candidate))
            _interval(axes, y - 0.38 + offset, e, marks[e.candidate], limits)
    axes.set(xlim=limits, ylim=(len(rows) - 0.4, -0.6), xlabel="instructions over the baseline (%)")
    axes.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=7.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    grid(axes, "x")
    for y in range(1, len(rows)):
        if rows[y].group != rows[y - 1].group:
            axes.axhline(y - 0.5, color=INK, lw=0.5, alpha=0.35)


def _interval(
    axes: Axes, y: float, e: Estimate, mark: Mark, limits: tuple[float, float]
) -> None:  # fmt: skip
    """Point and 95 % interval, cut at the axes; a point outside is named at the edge."""
    left, right = limits
    low, point, high = (100 * value for value in (e.low, e.point, e.high))
    if bounded(low, high):
        axes.plot(
            [max(low, left), min(high, right)], [y, y], color=INK, lw=1.1, solid_capstyle="butt"
        )
    if left <= point <= right:
        axes.plot(
            point, y, ls="", marker=mark.marker, ms=4.2, mfc=mark.face, mec=mark.edge, mew=0.7
        )
        return
    edge, side = (right, "right") if point > right else (left, "left")
    text = percent_interval(e.point, e.low, e.high, most=1).split(" [")[0]
    axes.text(
        edge, y, f"{text} >" if side == "right" else f"< {text}", ha=side, va="center", fontsize=6.5
    )


def _legend(data: Dataset, rows: Sequence[Row]) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = []
    noise = next((row.noise for row in rows if row.noise is not None), None)
    if noise is not None:
        mark = arm_marks(data)[noise.candidate]
        handles.append(mark.handle(f"A/A: {noise.baseline} with other salts"))
    handles.append(Line2D([], [], color=INK, lw=1.1, label="95 % interval"))
    handles.append(Patch(fc=GREEN, alpha=0.25, ec=GREEN, label="below 1 %"))
    return handles


_CAPTION = (
    "Equal work: operations that every kernel here does and measures. Counted instructions of the "
    "arm over those of the baseline, with the 95 % interval over salts (boots that differ in "
    "their layout); open circles are two copies of the baseline, which differ by layout alone. "
    "Instructions are not time."
)


def _alt(rows: Sequence[Row]) -> str:
    rows = [row for row in rows if row.estimates]
    every = [e for row in rows for e in row.estimates]
    worst = max(every, key=lambda e: e.high)
    below = sum(e.high < MARGIN for e in every)
    return (
        f"Forest plot of {len(rows)} operations. {below} of {len(every)} intervals lie below 1 %. "
        f"The highest is {estimate_name(worst)} of {worst.candidate}: "
        f"{percent_interval(worst.point, worst.low, worst.high, most=3)}."
    )
