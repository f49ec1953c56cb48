"""From a stored campaign to paired columns: one number per trial, aligned by block."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.model.record import TrialRecord
from harness.model.scenario import AA_SUFFIX, Cell, PlannedTrial, Reducer, SamplePhase, Scenario
from harness.stats.paired import FloatArray
from harness.stats.reducers import SERIES, reduce_trials, usual_reducer

PHASES: tuple[SamplePhase, ...] = ("first", "measured")

IntArray: TypeAlias = NDArray[np.int64]


class CampaignData(Protocol):
    """What the statistics read of a campaign; `harness.store.Campaign` provides it."""

    @property
    def directory(self) -> Path:
        """``results/<campaign>``; only its name is used."""

    @property
    def scenario(self) -> Scenario:
        """The scenario with its registered claims."""

    @property
    def cells(self) -> Mapping[str, Cell]:
        """Every cell by its id."""

    @property
    def plan(self) -> tuple[PlannedTrial, ...]:
        """Every planned trial."""

    @property
    def trials(self) -> pd.DataFrame:
        """One row per finished trial."""

    @property
    def samples(self) -> pd.DataFrame:
        """One row per measured value."""

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        """The trials as they were written, with their noise flags and notes."""


class SeriesKey(NamedTuple):
    """What is compared: one part of one metric in one cell, first or steady."""

    cell_id: str
    metric: str
    part: str
    phase: SamplePhase


@dataclass(frozen=True)
class Pairs:
    """The blocks in which both arms are ok; ``second`` is +1 where the candidate ran later."""

    blocks: IntArray
    baseline: FloatArray
    candidate: FloatArray
    second: FloatArray


@dataclass(frozen=True)
class Series:
    """Reduced values and positions by arm, aligned on ``blocks``; NaN where a trial is missing."""

    key: SeriesKey
    unit: str
    blocks: IntArray
    values: Mapping[str, FloatArray]
    positions: Mapping[str, FloatArray]

    def pairs(self, baseline: str, candidate: str) -> Pairs:
        """Blocks complete for these two arms; empty when an arm has no such part."""
        nothing = np.full(len(self.blocks), np.nan)
        base = self.values.get(baseline, nothing)
        cand = self.values.get(candidate, nothing)
        complete = ~(np.isnan(base) | np.isnan(cand))
        later = self.positions.get(candidate, nothing) > self.positions.get(baseline, nothing)
        second = np.where(later, 1.0, -1.0)
        return Pairs(self.blocks[complete], base[complete], cand[complete], second[complete])


def candidates(scenario: Scenario, workload: str) -> list[str]:
    """Arms compared with the workload's baseline: its A/A copy, then as the scenario says."""
    baseline = scenario.baseline_of(workload)
    others = [arm.name for arm in scenario.arms if arm.name != baseline]
    return [baseline + AA_SUFFIX, *others]


def collect(
    campaign: CampaignData, reducer: Reducer | None = None, only: SeriesKey | None = None
) -> dict[SeriesKey, Series]:
    """Reduce the samples of all ok trials and line them up by block.

    ``reducer``: None for the one that is usual for each series' unit. Ordered by cell as the
    campaign lists them, then metric, part and phase. ``only`` limits the work to one series.
    Raises InputError as `reduce_trials` does.
    """
    trials = campaign.trials[campaign.trials["status"] == "ok"]
    samples = campaign.samples
    if only is None:
        samples = samples[samples["phase"].isin(PHASES)]
    else:
        trials = trials[trials["cell_id"] == only.cell_id]
        for column, name in zip(SERIES, only[1:], strict=True):
            samples = samples[samples[column] == name]
    samples = samples[samples["trial_id"].isin(trials["trial_id"])]
    if samples.empty:
        return {}
    units = samples.groupby("metric", observed=True)["unit"].first()
    placed = _reduce(samples, reducer).merge(
        trials[["trial_id", "cell_id", "arm", "block", "position"]], on="trial_id"
    )
    found = _align(placed, {str(metric): str(unit) for metric, unit in units.items()})
    place = {cell_id: index for index, cell_id in enumerate(campaign.cells)}
    return {key: found[key] for key in sorted(found, key=lambda key: (place[key[0]], *key[1:]))}


def _reduce(samples: pd.DataFrame, reducer: Reducer | None) -> pd.DataFrame:
    if reducer is not None:
        return reduce_trials(samples, reducer)
    by_unit = samples.groupby("unit", observed=True)
    return pd.concat([reduce_trials(rows, usual_reducer(str(unit))) for unit, rows in by_unit])


def _align(placed: pd.DataFrame, units: Mapping[str, str]) -> dict[SeriesKey, Series]:
    """Turn one row per trial into one column per arm."""
    keys = ["cell_id", *SERIES]
    wide = placed.pivot(index=[*keys, "block"], columns="arm", values=["value", "position"])
    arms = list(wide["value"].columns)
    values = wide["value"].to_numpy(dtype=float)
    positions = wide["position"].to_numpy(dtype=float)
    blocks = wide.index.get_level_values("block").to_numpy(dtype=np.int64)
    found: dict[SeriesKey, Series] = {}
    groups = cast(
        "dict[tuple[str, str, str, SamplePhase], IntArray]",
        wide.groupby(level=keys, observed=True).indices,
    )
    for names, rows in groups.items():
        key = SeriesKey(*names)
        found[key] = Series(
            key=key,
            unit=units[key.metric],
            blocks=blocks[rows],
            values={arm: values[rows, column] for column, arm in enumerate(arms)},
            positions={arm: positions[rows, column] for column, arm in enumerate(arms)},
        )
    return found
