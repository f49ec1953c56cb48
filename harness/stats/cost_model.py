"""How much of a candidate's cost is fixed per TPM round trip, and how much is proportional."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from harness.model.errors import InputError
from harness.model.estimate import CostModel
from harness.model.record import TrialRecord
from harness.stats.paired import mean_interval
from harness.stats.series import CampaignData, Series, SeriesKey, candidates

METRIC = "tpm_command_latency_ns"
NOTE = "round_trips"
FEWEST_PARTS = 3
FEWEST_BLOCKS = 3

# Round trips per command, by cell, arm and block.
RoundTrips = dict[tuple[str, str, int], dict[str, float]]


@dataclass(frozen=True)
class BlockFit:
    """Cost of one block: nanoseconds per round trip, and the share of the baseline on top."""

    fixed: float
    proportional: float


def fit_block(baseline: ArrayLike, candidate: ArrayLike, round_trips: ArrayLike) -> BlockFit:
    """Fit candidate = fixed * round_trips + (1 + proportional) * baseline over the parts.

    Weighted by 1 / baseline^2, so that every command counts by its relative error and slow ones do
    not dominate; that turns the model into the line candidate/baseline = (1 + proportional) +
    fixed * (round_trips/baseline). Raises InputError with fewer than three parts, or when
    all of them have the same round trips per baseline time.
    """
    base, cand, trips = (np.asarray(array, float) for array in (baseline, candidate, round_trips))
    if len(base) < FEWEST_PARTS or not np.all(base > 0):
        raise InputError(f"a cost model needs {FEWEST_PARTS} commands with baseline times above 0")
    x, y = trips / base, cand / base
    spread = x - x.mean()
    squares = float(spread @ spread)
    if squares <= (1e-9 * float(np.abs(x).max())) ** 2:
        raise InputError("all commands have the same round trips per time; fixed cost is unknown")
    slope = float(spread @ y) / squares
    return BlockFit(fixed=slope, proportional=float(y.mean()) - slope * float(x.mean()) - 1)


def cost_models(
    campaign: CampaignData, series: Mapping[SeriesKey, Series]
) -> tuple[CostModel, ...]:
    """Cost model of every ``tpm_commands`` cell and candidate, with t intervals over blocks.

    Round trips come from the candidate trials' note ``round_trips``; commands without a count, and
    blocks that can't be fitted, are left out. No model with fewer than three blocks.
    """
    by_cell: dict[str, list[Series]] = {}
    for key, one in series.items():
        if key.metric == METRIC and key.phase == "measured":
            by_cell.setdefault(key.cell_id, []).append(one)
    trips = _round_trips(campaign.records)
    models = []
    for cell_id, parts in by_cell.items():
        workload = campaign.cells[cell_id].workload
        baseline = campaign.scenario.baseline_of(workload)
        for candidate in candidates(campaign.scenario, workload):
            models.append(_model(cell_id, parts, baseline, candidate, trips))
    return tuple(model for model in models if model is not None)


def _model(
    cell_id: str, parts: list[Series], baseline: str, candidate: str, trips: RoundTrips
) -> CostModel | None:
    rows: dict[int, list[tuple[float, float, float]]] = {}
    used: set[str] = set()
    for one in parts:
        pairs = one.pairs(baseline, candidate)
        columns = zip(pairs.blocks.tolist(), pairs.baseline, pairs.candidate, strict=True)
        for block, base, cand in columns:
            count = trips.get((cell_id, candidate, block), {}).get(one.key.part)
            if count is not None:
                rows.setdefault(block, []).append((float(base), float(cand), count))
                used.add(one.key.part)
    fits: list[BlockFit] = []
    for values in rows.values():
        try:
            fits.append(fit_block(*np.array(values).T))
        except InputError:  # too few commands in this block to tell the two costs apart
            continue
    if len(fits) < FEWEST_BLOCKS:
        return None
    fixed, fixed_low, fixed_high = mean_interval([fit.fixed for fit in fits])
    share, share_low, share_high = mean_interval([fit.proportional for fit in fits])
    return CostModel(
        cell_id=cell_id,
        candidate=candidate,
        fixed_ns=fixed,
        fixed_low_ns=fixed_low,
        fixed_high_ns=fixed_high,
        proportional=share,
        proportional_low=share_low,
        proportional_high=share_high,
        n_blocks=len(fits),
        n_parts=len(used),
    )


def _round_trips(records: Iterable[TrialRecord]) -> RoundTrips:
    counts: RoundTrips = {}
    for record in records:
        if record.status != "ok" or NOTE not in record.notes:
            continue
        try:
            parts = {part: float(count) for part, count in json.loads(record.notes[NOTE]).items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"trial {record.trial_id}: note {NOTE} is not a JSON object of counts per command "
                f"({record.notes[NOTE][:40]!r}): the trial's record is damaged, run it again"
            ) from error
        counts[record.cell_id, record.arm, record.block] = parts
    return counts
