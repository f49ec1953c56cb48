"""Stacked horizontal bars of phases, shared by attestation and launch."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from harness.report.data import TOTAL
from harness.report.figure import INK, grid
from harness.report.figures.marks import OTHER
from harness.report.numbers import estimate_and_interval

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
        return self.total - sum(self.phases.values())


def bar(label: str, position: float, rows: pd.DataFrame, parts: Sequence[str]) -> Bar | None:
    """From the rows of ``Dataset.arm_means`` of one arm, cell and phase; None without a total."""
    by_part = rows.set_index("part")[["mean", "low", "high"]].to_dict("index")
    if TOTAL not in by_part:
        return None
    mean, low, high = (by_part[TOTAL][name] / 1e6 for name in ("mean", "low", "high"))
    phases = {part: by_part[part]["mean"] / 1e6 for part in parts if part in by_part}
    return Bar(label, position, phases, mean, low, high)


def draw(axes: Axes, bars: Sequence[Bar], marks: dict[str, tuple[str, str]]) -> None:
    """The bars, the total as a whisker with its interval, and the total in words."""
    for item in bars:
        left = 0.0
        segments = [*item.phases.items(), (OTHER, max(item.other, 0.0))]
        for part, width in segments:
            colour, hatch = marks[part]
            axes.barh(
                item.position, width, THICK, left=left, fc=colour, ec=INK, hatch=hatch, lw=0.5
            )
            left += width
        reach = [[max(item.total - item.low, 0)], [max(item.high - item.total, 0)]]
        axes.errorbar(
            item.total,
            item.position,
            xerr=reach,
            fmt="|",
            color=INK,
            ms=11,
            elinewidth=1.2,
            capsize=3,
        )
        text, _ = estimate_and_interval(item.total, item.low, item.high)
        end = max(left, item.high if item.high == item.high else item.total)
        axes.annotate(
            text,
            (end, item.position),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
        )
    axes.set_xlim(0, 1.16 * max(max(b.total, sum(b.phases.values())) for b in bars))
    axes.tick_params(axis="y", length=0)
    grid(axes, "x")


def handles(parts: Sequence[str], marks: dict[str, tuple[str, str]], other: bool) -> list[Patch]:
    """Legend entries in the order of the stack."""
    shown = [*parts, *([OTHER] if other else [])]
    return [
        Patch(fc=marks[part][0], ec=INK, hatch=marks[part][1], lw=0.5, label=part) for part in shown
    ]


def overlap_note(bars: Sequence[Bar]) -> str:
    """A sentence if phases add up to more than the total that was timed."""
    over = [item for item in bars if sum(item.phases.values()) > item.high]
    if not over:
        return ""
    return (
        f" In {len(over)} of {len(bars)} bars the phases add up to more than the total timed, "
        "so they overlap there."
    )
