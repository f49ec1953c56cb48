"""Stacked horizontal bars of phases, shared by attestation and launch."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from harness.report.data import TOTAL
from harness.report.figure import INK, grid
from harness.report.figures.marks import OTHER
from harness.report.numbers import bounded, estimate_and_interval

THICK = 0.66


@dataclass(frozen=True)
class Bar:
    """One arm in one cell: milliseconds per phase and the total as timed, with its interval."""

    label: str
    position: float
    phases: dict[str, float]
    total: float
    low: float
    high: float

    @property
    def other(self) -> float:
        """Time of the total in no phase; negative where phases overlap."""
        return self.total - self.phases_sum

    @property
    def phases_sum(self) -> float:
        """Milliseconds in all phases."""
        return sum(self.phases.values())


def bar(label: str, position: float, rows: pd.DataFrame, parts: Sequence[str]) -> Bar | None:
    """From the rows of ``Dataset.arm_means`` of one arm, cell and phase; None without a total."""
    by_part = rows.set_index("part")[["mean", "low", "high"]].to_dict("index")
    if TOTAL not in by_part:
        return None
    mean, low, high = (by_part[TOTAL][name] / 1e6 for name in ("mean", "low", "high"))
    phases = {part: by_part[part]["mean"] / 1e6 for part in parts if part in by_part}
    return Bar(label, position, phases, mean, low, high)


def draw(axes: Axes, bars: Sequence[Bar], marks: dict[str, tuple[str, str]]) -> None:
    """The bars, the total as a tick with its interval, and the total in words.

    An interval far wider than the bars is cut at the axis rather than squeezing all of them.
    """
    longest = max(max(item.total, item.phases_sum) for item in bars)
    widest = max([longest, *(item.high for item in bars if bounded(item.high))])
    limit = min(widest, 2 * longest)
    for item in bars:
        _draw_bar(axes, item, marks)
        high = item.high if bounded(item.high) else item.total
        text, _ = estimate_and_interval(item.total, item.low, item.high)
        axes.annotate(
            text, (min(max(item.phases_sum, high), limit), item.position), xytext=(4, 0),
            textcoords="offset points", va="center", fontsize=7.5,
        )  # fmt: skip
    axes.set_xlim(0, 1.16 * limit)
    axes.tick_params(axis="y", length=0)
    grid(axes, "x")


def _draw_bar(axes: Axes, item: Bar, marks: dict[str, tuple[str, str]]) -> None:
    left = 0.0
    for part, width in [*item.phases.items(), (OTHER, max(item.other, 0.0))]:
        colour, hatch = marks[part]
        axes.barh(item.position, width, THICK, left=left, fc=colour, ec=INK, hatch=hatch, lw=0.5)
        left += width
    if bounded(item.low, item.high):
        ends = [[item.total - item.low], [item.high - item.total]]
        axes.errorbar(
            item.total, item.position, xerr=ends, fmt="none", ecolor=INK, elinewidth=1.2, capsize=3
        )
    axes.plot(item.total, item.position, ls="", marker="|", color=INK, ms=11)


def handles(parts: Sequence[str], marks: dict[str, tuple[str, str]], other: bool) -> list[Patch]:
    """Legend entries in the order of the stack."""
    shown = [*parts, *([OTHER] if other else [])]
    return [
        Patch(fc=marks[part][0], ec=INK, hatch=marks[part][1], lw=0.5, label=part) for part in shown
    ]


def overlap_note(bars: Sequence[Bar]) -> str:
    """A sentence if phases add up to more than the total that was timed."""
    over = [item for item in bars if item.phases_sum > item.high]
    if not over:
        return ""
    return (
        f" In {len(over)} of {len(bars)} bars the phases add up to more than the total timed, "
        "so they overlap there."
    )
