"""Instructions per file operation over the size of the file: first touch and repeated, by arm."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from harness.model.scenario import Cell
from harness.report.counted import FILES, OPERATIONS, SCOPES, file_part, size_text
from harness.report.data import Dataset
from harness.report.emulation import caption_note
from harness.report.figure import INK, Plot, grid, log_ticks, new_figure
from harness.report.figures.marks import Mark, arm_marks
from harness.report.numbers import short

NAME, TITLE = "file-sizes", "Instructions per file operation over file size"

# Size and instructions per arm and turn, of one scope and operation.
_Lines = dict[tuple[str, bool], list[tuple[int, float]]]


def plot(data: Dataset) -> Plot:
    """Small multiples: operations side by side, scopes one under the other; both axes log."""
    cells = data.cells_with(FILES)
    if not cells:
        why = "No file operation was counted, so there is no figure of file sizes."
        return Plot(NAME, TITLE, "", missing=why)
    panels = {
        (scope, operation): lines
        for scope in SCOPES
        for operation in OPERATIONS
        if (lines := _lines(data, cells, scope, operation))
    }
    scopes = [scope for scope in SCOPES if any(key[0] == scope for key in panels)]
    operations = [name for name in OPERATIONS if any(key[1] == name for key in panels)]
    figure = new_figure(0.9 + 1.9 * len(scopes))
    every = figure.subplots(
        len(scopes), len(operations), squeeze=False, sharex=True, sharey=True
    )  # fmt: skip
    marks = arm_marks(data)
    arms = [arm for arm in (*data.baselines, *data.candidates) if _has(panels, arm)]
    limits = _limits(panels)
    for row, scope in enumerate(scopes):
        for column, operation in enumerate(operations):
            axes = every[row, column]
            _panel(axes, panels.get((scope, operation), {}), arms, marks, limits)
            axes.set_title(f"{operation}, {SCOPES[scope]}", fontsize=8)
    for axes in every[-1]:
        axes.set_xlabel("file size (logarithmic)")
    figure.supylabel("instructions per operation (logarithmic)", fontsize=8.5)
    figure.legend(handles=_legend(arms, marks), loc="outside lower center", ncols=4)
    note = caption_note(data.emulated(cell.id for cell in cells))
    return Plot(NAME, TITLE, f"{_CAPTION} {note}".strip(), _alt(data, panels, arms), figure)


def _lines(data: Dataset, cells: Sequence[Cell], scope: str, operation: str) -> _Lines:
    """Points of all cells together; a size that several of them have is the first one's."""
    found: dict[tuple[str, bool], dict[int, float]] = {}
    ranked = {cell.id: place for place, cell in enumerate(cells)}
    means = [item for item in data.means.items() if item[0][0] in ranked]
    for (_, arm, metric, part, phase), mean in sorted(means, key=lambda m: ranked[m[0][0]]):
        parsed = file_part(part) if (metric, phase) == (FILES, "measured") else None
        if parsed is None or arm in data.copies:
            continue
        if (parsed.scope, parsed.operation) == (scope, operation):
            found.setdefault((arm, parsed.again), {}).setdefault(parsed.size, mean.mean)
    return {key: sorted(points.items()) for key, points in found.items()}


def _has(panels: dict[tuple[str, str], _Lines], arm: str) -> bool:
    return any(arm == name for lines in panels.values() for name, _ in lines)


def _limits(panels: dict[tuple[str, str], _Lines]) -> tuple[float, float, float, float]:
    points = np.array([p for lines in panels.values() for line in lines.values() for p in line])
    (left, bottom), (right, top) = points.min(axis=0), points.max(axis=0)
    return left / 1.8, right * 1.8, max(bottom, 1) / 2, top * 2


def _panel(
    axes: Axes,
    lines: _Lines,
    arms: Sequence[str],
    marks: dict[str, Mark],
    limits: tuple[float, float, float, float],
) -> None:
    """Arms whose counts agree to a percent lie on one another: the markers shrink in order."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    for place, arm in enumerate(arms):
        mark = marks[arm]
        for again in (False, True):
            points = lines.get((arm, again), [])
            if points:
                size, count = zip(*points, strict=True)
                axes.plot(
                    size, count, color=mark.colour, ls="--" if again else "-", lw=1.1,
                    marker=mark.marker, ms=max(7.5 - 1.6 * place, 3), mfc="none" if again else
                    mark.colour, mec=mark.colour if again else INK, mew=0.9 if again else 0.4,
                )  # fmt: skip
    left, right, bottom, top = limits
    axes.set(xlim=(left, right), ylim=(bottom, top))
    sizes = sorted({size for line in lines.values() for size, _ in line})
    axes.set_xticks(sizes, _size_labels(sizes))
    axes.minorticks_off()
    log_ticks(axes.yaxis, 1, 1e9)
    axes.yaxis.set_major_formatter(lambda value, _: short(value))
    grid(axes, "both")


def _size_labels(sizes: Sequence[int]) -> list[str]:
    """Sizes as far as they have room on the axis."""
    labels, last = [], 0
    for size in sizes:
        fits = size >= 12 * last
        labels.append(size_text(size) if fits else "")
        last = size if fits else last
    return labels


def _legend(arms: Sequence[str], marks: dict[str, Mark]) -> list[Line2D]:
    turns = [
        Line2D([], [], color=INK, ls="-", label="first touch (measured)"),
        Line2D([], [], color=INK, ls="--", label="repeated"),
    ]
    return [marks[arm].handle(arm) for arm in arms] + turns


_CAPTION = (
    "Median of a guest's operations, mean over guests; both axes logarithmic. A first touch hashes "
    "the file, which costs instructions by its size; repeated operations find it measured. Lines "
    "that lie on one another differ by less than a marker: the figure above tells them apart. The "
    "second container uses the files of the first: only the extension measures them once more."
)


def _alt(data: Dataset, panels: dict[tuple[str, str], _Lines], arms: Sequence[str]) -> str:
    texts = []
    for (scope, operation), lines in panels.items():
        for arm in arms:
            points = lines.get((arm, False), [])
            if points:
                (small, first), (large, last) = points[0], points[-1]
                texts.append(
                    f"{operation} in the {SCOPES[scope]}, {arm}: {first:,.0f} at "
                    f"{size_text(small)}, {last:,.0f} at {size_text(large)}"
                )
    baseline = data.scenario.baseline
    return (
        f"Lines of instructions over file size, {baseline} among {len(arms)} arms. First touch: "
        + "; ".join(texts)
        + "."
    )
