"""Estimates as rows of a CSV file: every field at full precision."""

import json
from collections.abc import Iterable

import msgspec
import pandas as pd

from harness.model.estimate import Estimate
from harness.report.data import Dataset, half_width


def flat(estimate: Estimate) -> dict[str, object]:
    """One estimate by field name; its factors as JSON."""
    row: dict[str, object] = msgspec.to_builtins(estimate)
    row["factors"] = json.dumps(estimate.factors, sort_keys=True)
    return row


def estimates_frame(data: Dataset, estimates: Iterable[Estimate]) -> pd.DataFrame:
    """All fields of the estimates, their noise floor and what was emulated, as they are."""
    rows = []
    notes: dict[str, str] = {}
    for estimate in estimates:
        floor = data.noise_floor(estimate)
        if estimate.cell_id not in notes:
            entries = data.emulated([estimate.cell_id])
            notes[estimate.cell_id] = "; ".join(entry.what for entry in entries)
        row = flat(estimate)
        row |= {"noise_floor_half_width": half_width(floor), "emulated": notes[estimate.cell_id]}
        rows.append(row)
    return pd.DataFrame(rows)
