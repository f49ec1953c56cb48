"""How costs grow: with the number of measurement domains, and with the length of the list."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from harness.report.counted import DOMAIN_MEMORY, GROWTH, SCALE, numbered
from harness.report.data import Dataset
from harness.report.emulation import caption_note
from harness.report.figure import INK, Plot, grid, log_ticks, new_figure
from harness.report.figures.marks import Mark, arm_marks
from harness.report.numbers import short

DOMAINS_NAME, DOMAINS_TITLE = "domains", "Scaling with the number of measurement domains"
GROWTH_NAME, GROWTH_TITLE = "list-growth", "Scaling with the length of the measurement list"
_NAMES = {
    "create": "create a domain",
    "seal": "seal all domains",
    "first_file": "measure a file in a new domain",
    "next_file": "measure one more file there",
    "memory": "kernel memory of all domains",
    "append": "measure one more file",
    "read": "read the whole list",
}

# (number, mean, low, high) per arm.
_Lines = dict[str, list[tuple[int, float, float, float]]]


def domains_plot(data: Dataset) -> Plot:
    """Create, seal, first file and memory against 1 to 1024 domains."""
    panels = _panels(data, (SCALE, DOMAIN_MEMORY))
    if not panels:
        why = "No numbers of domains were tried, so there is no figure of their scaling."
        return Plot(DOMAINS_NAME, DOMAINS_TITLE, "", missing=why)
    caption = (
        "Instructions per operation with that many domains alive, and the kernel memory they take "
        "together; mean over guests with 95 % interval. On the stock kernel "
        "the same mount namespaces are made, without a domain."
    )
    return _plot(data, (DOMAINS_NAME, DOMAINS_TITLE), panels, "domains", caption)


def growth_plot(data: Dataset) -> Plot:
    """Appending to the list and reading it against its length."""
    panels = _panels(data, (GROWTH,))
    if not panels:
        why = "No growing list was measured, so there is no figure of it."
        return Plot(GROWTH_NAME, GROWTH_TITLE, "", missing=why)
    caption = (
        "Instructions per operation at that length of the list; mean over guests with 95 % "
        "interval."
    )
    return _plot(data, (GROWTH_NAME, GROWTH_TITLE), panels, "entries in the list", caption)


def _panels(data: Dataset, metrics: Sequence[str]) -> dict[str, _Lines]:
    found: dict[str, _Lines] = {}
    for (_, arm, metric, part, phase), mean in data.means.items():
        number = numbered(part) if metric in metrics and phase == "measured" else None
        if number is None or arm in data.copies:
            continue
        scale = 2**10 if metric == DOMAIN_MEMORY else 1
        point = (number[1], mean.mean / scale, mean.low / scale, mean.high / scale)
        found.setdefault(number[0], {}).setdefault(arm, []).append(point)
    order = [*_NAMES, *found]
    return {name: found[name] for name in sorted(found, key=order.index)}


def _plot(
    data: Dataset, names: tuple[str, str], panels: dict[str, _Lines], noun: str, caption: str
) -> Plot:
    columns = 2 if len(panels) > 1 else 1
    rows = -(-len(panels) // columns)
    figure = new_figure(0.8 + 2.1 * rows)
    every = figure.subplots(rows, columns, squeeze=False).ravel()
    marks = arm_marks(data)
    for axes, (name, lines) in zip(every, panels.items(), strict=False):
        _panel(axes, lines, marks)
        axes.set_title(_NAMES.get(name, name.replace("_", " ")))
        axes.set(xlabel=noun, ylabel="KiB" if name == "memory" else "instructions")
    for axes in every[len(panels) :]:
        axes.set_visible(False)
    arms = [arm for arm in marks if any(arm in lines for lines in panels.values())]
    handles = [marks[arm].handle(arm) for arm in arms]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    metrics = (SCALE, DOMAIN_MEMORY) if "create" in panels or "memory" in panels else (GROWTH,)
    cells = {cell.id for metric in metrics for cell in data.cells_with(metric)}
    caption = f"{caption} {caption_note(data.emulated(cells))}".strip()
    return Plot(*names, caption, _alt(panels, noun), figure)


def _panel(axes: Axes, lines: _Lines, marks: dict[str, Mark]) -> None:
    axes.set_xscale("log", base=2)
    for arm, mark in marks.items():
        points = sorted(point for point in lines.get(arm, []) if point[1] > 0)
        if points:
            number, mean, low, high = zip(*points, strict=True)
            axes.plot(number, mean, color=mark.colour, marker=mark.marker, ms=4.5, mec=INK, mew=0.4)
            axes.vlines(number, low, high, color=INK, lw=0.9)
    numbers = sorted({point[0] for points in lines.values() for point in points})
    axes.set_xticks(numbers, [f"{number:,}" for number in numbers], fontsize=7.5)
    axes.minorticks_off()
    _vertical_scale(axes, [point[1] for points in lines.values() for point in points])
    axes.yaxis.set_major_formatter(lambda value, _: short(value))
    grid(axes, "both")


def _vertical_scale(axes: Axes, values: Sequence[float]) -> None:
    """Logarithmic for what grows, linear from zero for what hardly does."""
    positive = [value for value in values if value > 0]
    if not positive or max(positive) < 4 * min(positive):
        axes.set_ylim(0, 1.25 * max(positive, default=1.0))
        return
    bottom, top = min(positive) / 1.6, max(positive) * 1.6
    axes.set_yscale("log")
    axes.set_ylim(bottom, top)
    log_ticks(axes.yaxis, bottom, top)


def _alt(panels: dict[str, _Lines], noun: str) -> str:
    texts = []
    for name, lines in panels.items():
        unit = "KiB" if name == "memory" else "instructions"
        for arm, points in lines.items():
            first, last = min(points), max(points)
            texts.append(
                f"{_NAMES.get(name, name)}, {arm}: {first[1]:,.0f} {unit} at {first[0]:,}, "
                f"{last[1]:,.0f} at {last[0]:,} {noun}"
            )
    return "Lines. " + "; ".join(texts) + "."
