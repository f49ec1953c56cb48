"""Cells of a scenario: every assignment of a workload's factors, with a stable identity."""

import hashlib
import itertools
import json

from harness.model.scenario import AA_SUFFIX, Arm, Cell, Scenario, Workload


def canonical_json(value: object) -> bytes:
    """One byte string per value: keys sorted, no spaces, ASCII only, NaN refused."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return text.encode("ascii")


def short_hash(value: object) -> str:
    """First 64 bits of the SHA-256 of ``canonical_json(value)``, in hex."""
    return hashlib.sha256(canonical_json(value)).hexdigest()[:16]


def cells_of(scenario: Scenario) -> dict[str, Cell]:
    """All cells by id, in the order of the file: workloads, then factors, last one fastest."""
    cells = [cell for workload in scenario.workloads for cell in _cells_of_workload(workload)]
    return {cell.id: cell for cell in cells}


def _cells_of_workload(workload: Workload) -> list[Cell]:
    names = list(workload.factors)
    cells = []
    for values in itertools.product(*workload.factors.values()):
        factors = dict(zip(names, values, strict=True))
        # How often and how long a cell is measured is no part of what is measured.
        identity = {
            "workload": workload.name,
            "kind": workload.kind,
            "factors": factors,
            "options": workload.options,
        }
        if workload.cases:
            identity["cases"] = [case.case for case in workload.cases]
        if workload.layout != "sequential":
            identity["layout"] = workload.layout
        cells.append(Cell(short_hash(identity), workload.name, factors))
    return cells


def arms_of(scenario: Scenario, workload: Workload) -> dict[str, Arm]:
    """Arms of every block of ``workload`` by name: baseline, its A/A copy, then candidates.

    A single block compares nothing, so it has no A/A copy.
    """
    by_name = {arm.name: arm for arm in scenario.arms}
    baseline = by_name[scenario.baseline_of(workload.name)]
    copies = [Arm(baseline.name + AA_SUFFIX, baseline.kind, baseline.options)]
    names = workload.arms or tuple(by_name)
    candidates = [by_name[name] for name in names if name != baseline.name]
    same = [] if workload.blocks == 1 else copies
    return {arm.name: arm for arm in (baseline, *same, *candidates)}
