"""The sequence of trials: blocks of all cells interleaved, so that drift hits all cells alike."""

import hashlib
import random
from collections.abc import Mapping

from harness.model.scenario import Cell, PlannedTrial, Scenario, Workload
from harness.scenario import arms_of, canonical_json, cells_of, short_hash
from harness.schedule.blocks import block_orders


def plan_trials(scenario: Scenario, sizes: Mapping[str, int]) -> tuple[PlannedTrial, ...]:
    """All trials in the order in which they run.

    ``sizes``: blocks of those workloads whose pilot has been decided. A workload with a pilot
    that is not in ``sizes`` gets its pilot blocks only; with it, its further blocks follow after
    everything planned before, so that the plan without sizes is a prefix of the plan with them.
    """
    first = {workload.name: _first_blocks(workload) for workload in scenario.workloads}
    plan = _interleave(scenario, {name: (0, count) for name, count in first.items()})
    further = {name: (first[name], sizes[name]) for name in sizes}
    return tuple(plan + _interleave(scenario, further))


def trial_id_of(scenario: Scenario, cell: Cell, block: int, arm: str) -> str:
    """Identity of a trial: the same in every session of a campaign."""
    return short_hash([scenario.name, scenario.seed, cell.id, block, arm])


def block_seed(scenario: Scenario, cell: Cell, block: int) -> int:
    """Seed of the trials' inputs: all arms of a block work on the same data. 63 bits."""
    digest = hashlib.sha256(canonical_json(["inputs", scenario.seed, cell.id, block])).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _first_blocks(workload: Workload) -> int:
    blocks = workload.pilot if workload.blocks is None else workload.blocks
    assert blocks is not None  # the scenario's checks demand one of them
    return blocks


def _interleave(scenario: Scenario, ranges: Mapping[str, tuple[int, int]]) -> list[PlannedTrial]:
    """Trials of the blocks [start, stop) of each workload: block by block over all cells."""
    cells = [cell for cell in cells_of(scenario).values() if cell.workload in ranges]
    arms = {workload.name: tuple(arms_of(scenario, workload)) for workload in scenario.workloads}
    orders = {
        cell.id: block_orders(arms[cell.workload], f"{scenario.seed}/orders/{cell.id}")
        for cell in cells
    }
    plan = []
    for block in range(max((stop for _, stop in ranges.values()), default=0)):
        present = []
        for cell in cells:
            start, stop = ranges[cell.workload]
            # Every order is drawn, also of blocks planned earlier: the sequence must not shift.
            order = next(orders[cell.id])
            if start <= block < stop:
                present.append((cell, order))
        shuffler = random.Random(f"{scenario.seed}/cells/{block}")  # noqa: S311 - a design
        shuffler.shuffle(present)
        for cell, order in present:
            plan += _block_trials(scenario, cell, block, order)
    return plan


def _block_trials(
    scenario: Scenario, cell: Cell, block: int, order: tuple[str, ...]
) -> list[PlannedTrial]:
    return [
        PlannedTrial(trial_id_of(scenario, cell, block, arm), cell.id, block, position, arm)
        for position, arm in enumerate(order)
    ]
