"""Tables of trials: phase means per arm, what gave no number, what was flagged, every trial."""

from collections.abc import Sequence

import pandas as pd

from harness.report.counted import DOMAIN_MEMORY, GUEST_ATTESTATION
from harness.report.data import (
    ATTESTATION,
    LAUNCH,
    MEMORY,
    PHASE_NAMES,
    TOTAL,
    Dataset,
    cell_text,
    metric_words,
)
from harness.report.emulation import caption_note, label
from harness.report.numbers import estimate_and_interval, unit_for
from harness.report.table import Heading, Table


def phase_tables(data: Dataset) -> list[Table]:
    """Means per phase of attestation and launch, and memory, one column per arm."""
    both, steady = ("measured", "first"), ("measured",)
    chosen = (
        ("phases", "Phases of an attestation", ATTESTATION, both),
        ("launch", "Launch of vTPMs per instance", LAUNCH, steady),
        ("memory", "Memory per vTPM instance", MEMORY, steady),
        ("guest_phases", "Phases of an attestation inside a guest", GUEST_ATTESTATION, both),
        ("domain_memory", "Kernel memory of measurement domains", DOMAIN_MEMORY, steady),
    )
    return [
        _by_arm(data, name, f"{what}: mean over trials with 95 % interval.", metric, phases)
        for name, what, metric, phases in chosen
        if metric in data.shown
    ]


def _by_arm(data: Dataset, name: str, caption: str, metric: str, phases: Sequence[str]) -> Table:
    frame = data.arm_means[data.arm_means["metric"] == metric].reset_index(drop=True)
    if frame.empty:
        missing = f"The metric {metric_words(metric)} was not measured."
        return Table(name, caption, frame, missing=missing)
    arms = [
        arm for arm in (*data.baselines, *data.copies, *data.candidates) if arm in set(frame["arm"])
    ]
    scale, unit = unit_for(frame["mean"], str(frame["unit"].iloc[0]))
    emulated = data.emulated(set(frame["cell_id"]))
    lookup = {
        (row.cell_id, row.arm, row.part, row.phase): row for row in frame.itertuples(index=False)
    }
    parts = data.parts(metric) + ([TOTAL] if TOTAL in set(frame["part"]) else [])
    cells: list[tuple[str, ...]] = []
    groups: list[str] = []
    for phase in phases:
        for cell in data.cells_with(metric):
            for part in parts:
                found = [lookup.get((cell.id, arm, part, phase)) for arm in arms]
                if any(found):
                    texts = [_mean_text(row, scale) for row in found]
                    groups.append(f"{cell_text(cell)} · {PHASE_NAMES.get(phase, phase)}")
                    cells.append((label(part, emulated), *texts))
    headings = (Heading("Part", number=False), *(Heading(arm, unit) for arm in arms))
    note = caption_note(emulated)
    return Table(name, caption, frame, headings, cells, note, groups=tuple(groups))


def _mean_text(row: object, scale: float) -> str:
    if row is None:
        return "\N{EN DASH}"
    mean, low, high = (float(getattr(row, name)) for name in ("mean", "low", "high"))
    if row.n == 1:  # type: ignore[attr-defined]
        return f"{estimate_and_interval(mean, low, high, scale)[0]} (one trial)"
    return " ".join(estimate_and_interval(mean, low, high, scale))


def exclusions_table(data: Dataset) -> Table:
    """Trials that gave no number, by workload, arm, status and reason."""
    lost = data.trials[data.trials["status"] != "ok"]
    by = ["workload", "arm", "status", "reason"]
    frame = lost.groupby(by, sort=True).size().rename("trials").reset_index()
    headings = (*(Heading(name.capitalize(), number=False) for name in by), Heading("Trials"))
    cells = [tuple(str(value) for value in row) for row in frame.itertuples(index=False)]
    return Table(
        "exclusions",
        "Trials that gave no number, by reason.",
        frame,
        headings,
        cells,
        missing="Every recorded trial gave its numbers; none is excluded.",
    )


def flags_table(data: Dataset) -> Table:
    """How often each condition of the noise gate was outside its limit."""
    counted = sorted(data.estimates.flagged_by_reason.items())
    frame = pd.DataFrame(counted, columns=["reason", "trials"])
    headings = (Heading("Condition", number=False), Heading("Trials"))
    return Table(
        "flags",
        "Trials that started outside the noise gate; they are used and counted.",
        frame,
        headings,
        [(reason, str(count)) for reason, count in counted],
        missing="No trial was flagged by the noise gate.",
    )


def trials_table(data: Dataset) -> Table:
    """Every recorded trial in order of start; CSV only."""
    return Table("trials", "Every recorded trial.", data.trials)
