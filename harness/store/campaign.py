"""A campaign loaded into memory, finished or not."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from harness.model.errors import InputError
from harness.model.record import TrialRecord
from harness.model.scenario import Cell, PlannedTrial, Scenario
from harness.scenario import parse_scenario
from harness.store.layout import Header, Layout
from harness.store.reader import read_bytes, read_header, read_plan, read_trials
from harness.store.samples import load_samples

if TYPE_CHECKING:  # imported when used: `attestbench run` must start at once
    import pandas as pd


@dataclass(frozen=True)
class Campaign:
    """Everything a campaign's folder holds except evidence.

    ``trials``: one row per finished trial; ``samples``: one row per measured value (columns in
    `samples.COLUMNS`); ``provenance``: by SHA-256; ``records``: the trials as they were written.
    """

    directory: Path
    header: Header
    scenario: Scenario
    cells: dict[str, Cell]
    plan: tuple[PlannedTrial, ...]
    trials: "pd.DataFrame"
    samples: "pd.DataFrame"
    provenance: dict[str, dict[str, object]]
    records: tuple[TrialRecord, ...]


def load_campaign(directory: Path) -> Campaign:
    """Load ``results/<campaign>``; InputError names the file and line of anything damaged."""
    header = read_header(directory)
    records = read_trials(directory)
    cells = {cell.id: cell for cell in header.cells}
    for number, record in enumerate(records, start=1):
        if record.cell_id not in cells:
            path = Layout(directory).trials
            raise InputError(f"{path}:{number}: cell {record.cell_id} is not in campaign.json")
    return Campaign(
        directory=directory,
        header=header,
        scenario=parse_scenario(header.scenario_text, header.scenario_file),
        cells=cells,
        plan=read_plan(directory),
        trials=trials_table(records),
        samples=load_samples(directory, records),
        provenance=read_provenance(directory, records),
        records=records,
    )


def trials_table(records: tuple[TrialRecord, ...]) -> "pd.DataFrame":
    """One row per trial; ``flags``: names of the noise flags, comma separated."""
    import pandas as pd

    rows = [
        {
            "trial_id": record.trial_id,
            "cell_id": record.cell_id,
            "workload": record.workload,
            "arm": record.arm,
            "arm_kind": record.arm_kind,
            "block": record.block,
            "position": record.position,
            "started_s": record.started_s,
            "duration_s": record.duration_s,
            "status": record.status,
            "reason": record.reason,
            "flagged": bool(record.noise),
            "flags": ",".join(flag.name for flag in record.noise),
            "interrupted_block": record.interrupted_block,
            "provenance": record.provenance,
        }
        for record in records
    ]
    return pd.DataFrame(rows, columns=list(_TRIAL_DTYPES)).astype(_TRIAL_DTYPES)


_TRIAL_DTYPES = {
    "trial_id": "str",
    "cell_id": "str",
    "workload": "str",
    "arm": "str",
    "arm_kind": "str",
    "block": "int64",
    "position": "int64",
    "started_s": "float64",
    "duration_s": "float64",
    "status": "str",
    "reason": "str",
    "flagged": "bool",
    "flags": "str",
    "interrupted_block": "bool",
    "provenance": "str",
}


def read_provenance(
    directory: Path, records: tuple[TrialRecord, ...]
) -> dict[str, dict[str, object]]:
    """Content by SHA-256 of what these trials ran on. Raises InputError where it is damaged."""
    found = {}
    for digest in dict.fromkeys(record.provenance for record in records):
        path = Layout(directory).provenance / f"{digest}.json"
        content = read_bytes(path, f"{path}: missing, but trials name it; restore it from a copy")
        try:
            found[digest] = msgspec.json.decode(content, type=dict[str, object])
        except msgspec.MsgspecError as error:
            raise InputError(f"{path}: damaged: {error}; restore it from a copy") from None
    return found
