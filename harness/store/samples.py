"""Samples as one pandas table, from JSON lines and Parquet; and compaction of one to the other."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.model.errors import InputError
from harness.model.record import Sample, TrialRecord
from harness.store.files import sync_directory, writing
from harness.store.layout import Layout
from harness.store.reader import read_trial_samples

if TYPE_CHECKING:  # imported when used: `attestbench run` must start at once
    import pandas as pd

COLUMNS = ("trial_id", "metric", "part", "phase", "iteration", "value", "unit", "clock")
_CATEGORIES = ("trial_id", "metric", "part", "phase", "unit", "clock")


def load_samples(directory: Path, records: Iterable[TrialRecord]) -> "pd.DataFrame":
    """All samples of ``records``, in their order; columns as ``COLUMNS``.

    Raises InputError when a trial has not exactly the number of samples its record says. Files
    of trials that were never committed are ignored.
    """
    import pandas as pd

    layout = Layout(directory)
    compacted = _read_parquet(layout.parquet)
    have = compacted.groupby("trial_id", observed=True).size().to_dict()
    wanted = [record for record in records if record.samples]
    loose: dict[str, tuple[Sample, ...]] = {}
    for record in wanted:
        count = have.get(record.trial_id)
        if count is None:
            loose[record.trial_id] = read_trial_samples(directory, record)
        elif count != record.samples:
            raise InputError(
                f"{layout.parquet}: trial {record.trial_id} has {count} samples, its record says "
                f"{record.samples}; restore the file from a copy"
            )
    table = pd.concat([compacted, _table(loose)], ignore_index=True)
    order = {record.trial_id: index for index, record in enumerate(wanted)}
    table["order"] = table["trial_id"].map(order)
    table = table[table["order"].notna()].sort_values("order", kind="stable")
    table = table[list(COLUMNS)].reset_index(drop=True)
    return table.astype(dict.fromkeys(_CATEGORIES, "str"))


def compact(directory: Path, records: Iterable[TrialRecord]) -> None:
    """Move the samples of committed trials into ``samples.parquet``.

    The new file is complete and durable before any JSON lines are deleted; a crash in between
    leaves both, and Parquet counts.
    """
    layout = Layout(directory)
    kept = tuple(records)
    loose = [path for record in kept if (path := layout.trial_samples(record.trial_id)).exists()]
    if not loose:
        return
    table = load_samples(directory, kept)
    temporary = layout.parquet.with_name("samples.parquet.tmp")
    with writing(layout.parquet):
        try:
            table.to_parquet(temporary, index=False, compression="zstd")
            descriptor = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.replace(layout.parquet)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_directory(layout.samples)
        for path in loose:
            path.unlink()
        sync_directory(layout.samples)


def _read_parquet(path: Path) -> "pd.DataFrame":
    import pandas as pd

    if not path.exists():
        return _table({})
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: damaged: {reason}; restore it from a copy") from None
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise InputError(f"{path}: column {missing[0]} is missing; restore the file from a copy")
    return table


def _table(loose: dict[str, tuple[Sample, ...]]) -> "pd.DataFrame":
    import pandas as pd

    rows = [(trial_id, s) for trial_id, samples in loose.items() for s in samples]
    return pd.DataFrame(
        {
            "trial_id": pd.Series([trial_id for trial_id, _ in rows], dtype="str"),
            "metric": pd.Series([s.metric for _, s in rows], dtype="str"),
            "part": pd.Series([s.part for _, s in rows], dtype="str"),
            "phase": pd.Series([s.phase for _, s in rows], dtype="str"),
            "iteration": pd.Series([s.iteration for _, s in rows], dtype="int64"),
            "value": pd.Series([s.value for _, s in rows], dtype="float64"),
            "unit": pd.Series([s.unit for _, s in rows], dtype="str"),
            "clock": pd.Series([s.clock for _, s in rows], dtype="str"),
        }
    )
