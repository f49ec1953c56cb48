"""How long trials will take: measured where possible, else a first guess."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.model.errors import InputError
from harness.model.record import TrialRecord
from harness.model.scenario import Cell, Scenario
from harness.scenario.kinds import WORKLOAD_KINDS
from harness.store import read_trials


class Forecast:
    """Mean duration per cell and arm, then per workload, then the kind's typical cost."""

    def __init__(self, scenario: Scenario, cells: dict[str, Cell]) -> None:
        self._workloads = {workload.name: workload for workload in scenario.workloads}
        self._cells = cells
        # [trials, seconds], by (cell, arm) and by cell
        self._by_arm: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._by_workload: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def learn(self, records: Iterable[TrialRecord]) -> None:
        """Take in durations of finished trials; those of cells not in this scenario are ignored."""
        for record in records:
            cell = self._cells.get(record.cell_id)
            if cell is None:
                continue
            for sums in (
                self._by_arm[record.cell_id, record.arm],
                self._by_workload[cell.workload],
            ):
                sums[0] += 1
                sums[1] += record.duration_s

    def learn_from_results(self, results: Path) -> list[str]:
        """Take in every readable campaign below ``results``; returns those that had matches."""
        used = []
        for folder in sorted(results.glob("*/")):
            try:
                records = read_trials(folder)
            except InputError:  # damaged results are no reason not to plan
                continue
            matching = [record for record in records if record.cell_id in self._cells]
            self.learn(matching)
            if matching:
                used.append(folder.name)
        return used

    def seconds(self, trials: Mapping[tuple[str, str], int]) -> float:
        """Expected time of so many trials by (cell id, arm), one after the other."""
        return sum(
            count * self._trial_seconds(cell_id, arm)
            for (cell_id, arm), count in trials.items()
            if count
        )

    def _trial_seconds(self, cell_id: str, arm: str) -> float:
        cell = self._cells[cell_id]
        for sums in (
            self._by_arm.get((cell_id, arm)),
            self._by_workload.get(cell.workload),
        ):
            if sums is not None:
                return sums[1] / sums[0]
        workload = self._workloads[cell.workload]
        kind = WORKLOAD_KINDS[workload.kind]
        repeated = workload.warmup + workload.iterations
        repeated *= int(cell.factors.get("instances", 1))
        slept = float(workload.options.get("sleep_ms", 0)) / 1000
        return kind.startup_s + kind.iteration_s * repeated + slept
