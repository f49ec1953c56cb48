"""Claims while the campaign runs: one number per trial in memory, an estimate per block."""

import math
import statistics
from collections.abc import Sequence
from typing import Protocol

from harness.metrics.registry import COUNTED_UNIT, METRICS
from harness.model.record import Sample, TrialRecord
from harness.model.scenario import Cell, Claim, Reducer, Scenario
from harness.run.events import RunningEstimate
from harness.schedule import PilotSpread, SizeRule

# With two degrees of freedom an interval begins to say something.
_FEWEST_PAIRS = 4
_QUANTILES: dict[Reducer, float] = {"p10": 0.10, "p95": 0.95, "p99": 0.99}


class Overhead(Protocol):
    """A fitted position-adjusted log ratio; `harness.stats.paired.Overhead` is one."""

    @property
    def point(self) -> float:
        """Relative cost."""

    @property
    def sd_log(self) -> float:
        """Residual spread of the log ratios."""

    @property
    def degrees(self) -> int:
        """Degrees of freedom of ``sd_log``."""

    @property
    def n_pairs(self) -> int:
        """Complete blocks."""

    def interval(self) -> tuple[float, float]:
        """95 % interval of the relative cost."""


class Statistics(SizeRule, Protocol):
    """The statistics that a run needs; the caller provides them, since run stands beside stats."""

    def overhead(
        self, baseline: Sequence[float], candidate: Sequence[float], second: Sequence[float] | None
    ) -> Overhead | None:
        """Fit the overhead over paired trials; None where no estimate exists.

        ``second``: +1 where the candidate ran later, -1 where earlier; None for counted values.
        """


class ClaimTracker:
    """Collects the reduced values of the trials that claims are about."""

    def __init__(self, scenario: Scenario, cells: dict[str, Cell], stats: Statistics) -> None:
        self._baseline_of = scenario.baseline_of
        self._stats = stats
        self._cell_of = {claim.id: _cell_id(claim, cells) for claim in scenario.claims}
        self._claims = scenario.claims
        # (claim, block, arm) -> (reduced value, position)
        self._values: dict[tuple[str, int, str], tuple[float, int]] = {}

    def needs(self, record: TrialRecord) -> bool:
        """Whether some claim looks at this trial."""
        return record.status == "ok" and any(
            self._cell_of[claim.id] == record.cell_id
            and record.arm in (self._baseline_of(claim.workload), claim.candidate)
            for claim in self._claims
        )

    def add(self, record: TrialRecord, samples: Sequence[Sample]) -> None:
        """Take in a finished trial."""
        if not self.needs(record):
            return
        for claim in self._claims:
            if self._cell_of[claim.id] != record.cell_id:
                continue
            wanted = (claim.metric, claim.part, claim.phase)
            values = [s.value for s in samples if (s.metric, s.part, s.phase) == wanted]
            if values:
                reduced = reduce_values(values, claim.reducer)
                self._values[claim.id, record.block, record.arm] = reduced, record.position

    def estimates(self, cell_id: str) -> tuple[RunningEstimate, ...]:
        """Running estimates of the claims about a cell, as soon as four blocks are complete."""
        found = []
        for claim in self._claims:
            fit = self._fit(claim) if self._cell_of[claim.id] == cell_id else None
            if fit is not None:
                low, high = fit.interval()
                found.append(RunningEstimate(claim.id, fit.point, low, high, fit.n_pairs))
        return tuple(found)

    def spread(self, claim: Claim) -> PilotSpread | None:
        """Spread of a claim's log ratios so far; None when too few blocks are complete."""
        fit = self._fit(claim)
        return PilotSpread(fit.sd_log, fit.degrees) if fit is not None else None

    def _fit(self, claim: Claim) -> Overhead | None:
        baseline, candidate, second = [], [], []
        blocks = sorted({block for name, block, _ in self._values if name == claim.id})
        for block in blocks:
            one = self._values.get((claim.id, block, self._baseline_of(claim.workload)))
            other = self._values.get((claim.id, block, claim.candidate))
            if one is not None and other is not None:
                baseline.append(one[0])
                candidate.append(other[0])
                second.append(1.0 if other[1] > one[1] else -1.0)
        if len(baseline) < _FEWEST_PAIRS:
            return None
        counted = METRICS[claim.metric].unit == COUNTED_UNIT
        return self._stats.overhead(baseline, candidate, None if counted else second)


def reduce_values(values: Sequence[float], reducer: Reducer) -> float:
    """One number per trial; quantiles interpolate linearly between order statistics."""
    if reducer == "mean":
        return statistics.fmean(values)
    if reducer == "median":
        return statistics.median(values)
    ordered = sorted(values)
    place = _QUANTILES[reducer] * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _cell_id(claim: Claim, cells: dict[str, Cell]) -> str:
    for cell in cells.values():
        if cell.workload == claim.workload and cell.factors == claim.factors:
            return cell.id
    raise AssertionError("the scenario's checks guarantee that a claim names a cell")
