"""Colour, marker and hatch of arms and phases: the same on every figure of a report."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from harness.model.scenario import AA_SUFFIX
from harness.report.data import Dataset
from harness.report.figure import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    YELLOW,
)

OTHER = "not in any phase"

_ARM_MARKS = (
    (VERMILLION, "^", "////"),
    (GREEN, "s", "\\\\\\\\"),
    (PURPLE, "D", "xxxx"),
    (ORANGE, "v", "----"),
    (YELLOW, "P", "++++"),
    (GREY, "X", "||||"),
)
_PHASE_COLOURS = (SKY, ORANGE, GREEN, YELLOW, BLUE, VERMILLION, PURPLE)
_PHASE_HATCHES = ("", "////", "\\\\\\\\", "xxxx")


@dataclass(frozen=True)
class Mark:
    """How one arm is drawn."""

    colour: str
    marker: str
    hatch: str
    filled: bool = True

    @property
    def face(self) -> str:
        """Fill of the marker."""
        return self.colour if self.filled else "none"

    def handle(self, label: str) -> Line2D:
        """Legend entry as a marker."""
        return Line2D(
            [], [], ls="", marker=self.marker, mfc=self.face, mec=self.edge, ms=5, label=label
        )

    def patch(self, label: str) -> Patch:
        """Legend entry as a bar."""
        return Patch(fc=self.colour, ec=INK, hatch=self.hatch, lw=0.5, label=label)

    @property
    def edge(self) -> str:
        """Line around the marker: ink makes light colours visible on light paper."""
        return INK if self.filled else self.colour


def arm_marks(data: Dataset) -> dict[str, Mark]:
    """A baseline and its A/A copy share a colour; candidates follow in order of the claims."""
    marks = {
        data.scenario.baseline: Mark(BLUE, "o", ""),
        data.scenario.baseline + AA_SUFFIX: Mark(BLUE, "o", "", filled=False),
        **{name: Mark(SKY, "o", "") for name in data.baselines[1:]},
        **{name + AA_SUFFIX: Mark(SKY, "o", "", filled=False) for name in data.baselines[1:]},
    }
    names = dict.fromkeys([*data.candidates, *(arm.name for arm in data.scenario.arms)])
    others = [name for name in names if name not in marks]
    for position, name in enumerate(others):
        marks[name] = Mark(*_ARM_MARKS[position % len(_ARM_MARKS)])
    return marks


def phase_marks(parts: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and hatch per phase; no two phases share both, and neighbours share neither."""
    colours, hatches = len(_PHASE_COLOURS), len(_PHASE_HATCHES)
    marks = {
        part: (
            _PHASE_COLOURS[position % colours],
            _PHASE_HATCHES[(position + 2 * (position // colours)) % hatches],
        )
        for position, part in enumerate(parts)
    }
    return {**marks, OTHER: ("none", "")}
