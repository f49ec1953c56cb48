"""Where the time of an attestation goes, per arm and cell, steady state and first apart."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from harness.model.scenario import Cell
from harness.report.counted import GUEST_ATTESTATION
from harness.report.data import ATTESTATION, Dataset, cell_text
from harness.report.emulation import caption_note, label
from harness.report.figure import Plot, new_figure
from harness.report.figures.marks import phase_marks
from harness.report.figures.stack import Bar, bar, draw, handles, overlap_note

NAME, TITLE = "phases", "Phases of an attestation"
GUEST_NAME, GUEST_TITLE = "guest-phases", "Phases of an attestation inside a guest"
_GUEST_CAPTION = (
    "Time on the guest's clock, under emulation: read the shares and the difference between the "
    "arms, not the milliseconds. Every TPM command pays the driver's floor of about 1.2 ms."
)
_PANELS = (("measured", "steady state"), ("first", "first attestation"))
_GAP = 0.9


def plot(data: Dataset) -> Plot:
    """Two panels of stacked bars in ms, each with its own axis; cells one under the other."""
    return _plot(data, ATTESTATION, (NAME, TITLE))


def guest_plot(data: Dataset) -> Plot:
    """The same for attestations that run inside a guest, on the guest's clock."""
    return _plot(data, GUEST_ATTESTATION, (GUEST_NAME, GUEST_TITLE), _GUEST_CAPTION)


def _plot(data: Dataset, metric: str, names: tuple[str, str], more: str = "") -> Plot:
    cells = data.cells_with(metric)
    panels = [(title, _bars(data, metric, cells, phase)) for phase, title in _PANELS]
    panels = [(title, bars) for title, bars in panels if bars]
    if not panels:
        why = "No attestation was measured, so there is no figure of its phases."
        return Plot(*names, "", missing=why)
    emulated = data.emulated(cell.id for cell in cells)
    parts = data.parts(metric)
    marks = phase_marks(parts)
    rows = 1.4 * len(cells) + len(panels[0][1])
    figure = new_figure(1.5 + 0.27 * rows)
    every = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, bars) in zip(every, panels, strict=True):
        draw(axes, bars, marks)
        axes.set_title(title)
        axes.set_xlabel("time (ms)")
        _ticks(axes, bars, cells, names=axes is every[0])
    bars = [item for _, found in panels for item in found]
    legend = handles(parts, marks, any(item.other > 0 for item in bars))
    for handle in legend:
        handle.set_label(label(str(handle.get_label()), emulated))
    figure.legend(handles=legend, loc="outside lower center", ncols=4)
    caption = (
        "Mean over trials of each phase; the tick at the end is the total as timed, with its "
        "95 % interval, and its value in ms beside it. "
        + ("The two panels have different axes. " if len(panels) > 1 else "")
        + "The A/A copy of the baseline is left out here and stands in the table."
    )
    caption += overlap_note(bars)
    caption = " ".join(filter(None, (caption, more, caption_note(emulated))))
    return Plot(*names, caption, _alt(panels), figure)


def _bars(data: Dataset, metric: str, cells: Sequence[Cell], phase: str) -> list[Bar]:
    means = data.arm_means
    means = means[(means["metric"] == metric) & (means["phase"] == phase)]
    parts = data.parts(metric)
    bars: list[Bar] = []
    y = 0.0
    for cell in cells:
        y += _GAP
        here = means[means["cell_id"] == cell.id]
        # By the scenario: a single block has arms, but no comparison that would name them.
        order = (data.baseline_of(cell), *(arm.name for arm in data.scenario.arms))
        for arm in dict.fromkeys(order):
            rows = here[here["arm"] == arm]
            item = bar(arm, y, rows, parts)
            if item is not None:
                bars.append(item)
                y += 1
    return bars


def _ticks(axes: Axes, bars: Sequence[Bar], cells: Sequence[Cell], names: bool) -> None:
    """Arms as tick labels; the cell's factors as a line of text above its group."""
    axes.set_yticks(
        [item.position for item in bars], [item.label if names else "" for item in bars]
    )
    axes.set_ylim(bars[-1].position + 0.55, -0.05)
    starts = [item.position for i, item in enumerate(bars) if i == 0 or _new_group(bars, i)]
    for start, cell in zip(starts, cells, strict=False):
        axes.text(0, start - 0.68, cell_text(cell), fontsize=8, va="center", ha="left")


def _new_group(bars: Sequence[Bar], index: int) -> bool:
    return bars[index].position - bars[index - 1].position > 1.5


def _alt(panels: Sequence[tuple[str, list[Bar]]]) -> str:
    parts = [
        f"{title}: " + ", ".join(f"{b.label} {b.total:.3g} ms" for b in bars)
        for title, bars in panels
    ]
    return "Stacked bars of the phases of an attestation. " + ". ".join(parts) + "."
