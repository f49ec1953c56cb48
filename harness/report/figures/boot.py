"""What a guest's boot consists of, by arm: counted instructions, or time on the guest's clock."""

from collections.abc import Sequence

from harness.report.counted import BOOT, BOOT_TIME
from harness.report.data import TOTAL, Dataset, Mean
from harness.report.emulation import caption_note
from harness.report.figure import Plot, new_figure
from harness.report.figures.marks import phase_marks
from harness.report.figures.stack import Bar, draw, handles

NAME, TITLE = "boot", "Boot of a guest"
_PANELS = ((BOOT, "million instructions"), (BOOT_TIME, "time on the guest's clock (ms)"))
_NAMES = {
    "init": "kernel, to the first program",
    "system": "mounts, policy, images",
    "container": "first container and its program",
    TOTAL: "to the end of the guest",
}


def plot(data: Dataset) -> Plot:
    """Stacked bars per arm; parts are points in time since the start, so each adds to the last."""
    panels = [(unit, _bars(data, metric)) for metric, unit in _PANELS]
    panels = [(unit, bars) for unit, bars in panels if bars]
    if not panels:
        why = "No boot was measured, so there is no figure of its stages."
        return Plot(NAME, TITLE, "", missing=why)
    stages = list(
        dict.fromkeys(stage for _, bars in panels for one in bars for stage in one.phases)
    )
    marks = phase_marks(stages)
    figure = new_figure(0.9 + 0.34 * max(len(bars) for _, bars in panels))
    every = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (unit, bars) in zip(every, panels, strict=True):
        draw(axes, bars, marks)
        axes.set_xlabel(unit)
        axes.set_yticks([one.position for one in bars], [one.label for one in bars])
        axes.set_ylim(bars[-1].position + 0.6, bars[0].position - 0.6)
    figure.legend(handles=handles(stages, marks, other=False), loc="outside lower center", ncols=2)
    cells = {cell.id for metric, _ in _PANELS for cell in data.cells_with(metric)}
    note = caption_note(data.emulated(cells))
    return Plot(NAME, TITLE, f"{_CAPTION} {note}".strip(), _alt(panels), figure)


def _bars(data: Dataset, metric: str) -> list[Bar]:
    bars: list[Bar] = []
    for cell in data.cells_with(metric):
        for arm in (data.baseline_of(cell), *data.candidates):
            reached = {
                part: mean
                for part in (*data.parts(metric), TOTAL)
                if (mean := data.means.get((cell.id, arm, metric, part, "measured")))
            }
            if reached:
                bars.append(_bar(arm, float(len(bars)), reached))
    return bars


def _bar(arm: str, position: float, reached: dict[str, Mean]) -> Bar:
    """Stages between the points in time that were reported."""
    stages, before = {}, 0.0
    for part, mean in sorted(reached.items(), key=lambda item: item[1].mean):
        stages[_NAMES.get(part, part)] = (mean.mean - before) / 1e6
        before, last = mean.mean, mean
    return Bar(arm, position, stages, *(value / 1e6 for value in last[:3]))


_CAPTION = (
    "From the start of the kernel, mean over guests; the tick is the total with its 95 % interval, "
    "and its value beside it."
)


def _alt(panels: Sequence[tuple[str, list[Bar]]]) -> str:
    texts = [
        f"{unit}: " + ", ".join(f"{one.label} {one.total:,.4g}" for one in bars)
        for unit, bars in panels
    ]
    return "Stacked bars of the stages of a boot. " + ". ".join(texts) + "."
