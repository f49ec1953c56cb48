"""A campaign in memory with known truth; stands for `harness.store.Campaign`."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from harness.model.record import NoiseFlag, TrialRecord
from harness.model.scenario import (
    AA_SUFFIX,
    Arm,
    Cell,
    Claim,
    PlannedTrial,
    Scenario,
    Workload,
)

from .simulation import FloatArray

BASELINE = "software-tpm"
CANDIDATE = "framework"
COPY = BASELINE + AA_SUFFIX
METRIC = "attestation_latency_ns"


@dataclass(frozen=True)
class StandIn:
    directory: Path
    scenario: Scenario
    cells: dict[str, Cell]
    plan: tuple[PlannedTrial, ...]
    trials: pd.DataFrame
    samples: pd.DataFrame
    records: tuple[TrialRecord, ...]
    provenance: dict[str, dict[str, object]] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """How the values come about; every field may be changed per test."""

    blocks: int = 12
    iterations: int = 8
    seed: int = 1
    slowdown: Mapping[str, float] = field(default_factory=lambda: {CANDIDATE: 0.10})
    block_sd: float = 0.02
    trial_sd: float = 0.005
    iteration_sd: float = 0.01
    position_effect: float = 0.0
    metric: str = METRIC
    unit: str = "ns"
    parts: Mapping[str, float] = field(default_factory=lambda: {"total": 1e6})
    cells: tuple[Mapping[str, int], ...] = ({"ima_entries": 2000},)
    claims: tuple[Claim, ...] = ()
    round_trips: Mapping[str, int] = field(default_factory=dict)
    fixed_ns: float = 0.0


def claim(**changes: object) -> Claim:
    fields: dict[str, object] = {
        "id": "c",
        "title": "t",
        "workload": "w",
        "metric": METRIC,
        "part": "total",
        "candidate": CANDIDATE,
        "kind": "equivalent",
        "low": 0.08,
        "high": 0.12,
        "factors": {"ima_entries": 2000},
    }
    if changes.get("kind", "equivalent") != "equivalent":
        del fields["low"], fields["high"]
    return Claim(**(fields | changes))  # type: ignore[arg-type]


def build(recipe: Recipe) -> StandIn:
    rng = np.random.default_rng(recipe.seed)
    others = [CANDIDATE, *(name for name in recipe.slowdown if name not in (CANDIDATE, COPY))]
    arms = [BASELINE, COPY, *others]
    cells = {
        f"cell{number}": Cell(id=f"cell{number}", workload="w", factors=dict(factors))
        for number, factors in enumerate(recipe.cells)
    }
    records: list[TrialRecord] = []
    values: list[FloatArray] = []
    for cell_id in cells:
        for block in range(recipe.blocks):
            shared = float(rng.normal(0, recipe.block_sd))
            # Every second block reversed: each arm pair runs in both orders equally often.
            order = arms if block % 2 == 0 else arms[::-1]
            for position, arm in enumerate(order):
                record = _record(recipe, cell_id, block, position, arm)
                records.append(record)
                values.append(_values(recipe, record, shared, rng))
    return StandIn(
        directory=Path("/nowhere/results/stand-in"),
        scenario=Scenario(
            name="stand-in",
            title="",
            seed=recipe.seed,
            backend="fake",
            baseline=BASELINE,
            arms=tuple(Arm(name=name, kind="fake") for name in [BASELINE, *others]),
            workloads=(Workload(name="w", kind="fake", iterations=recipe.iterations),),
            claims=recipe.claims,
        ),
        cells=cells,
        plan=tuple(
            PlannedTrial(one.trial_id, one.cell_id, one.block, one.position, one.arm)
            for one in records
        ),
        trials=trials_table(records),
        samples=_samples_table(recipe, records, values),
        records=tuple(records),
    )


def _record(recipe: Recipe, cell_id: str, block: int, position: int, arm: str) -> TrialRecord:
    return TrialRecord(
        trial_id=f"{cell_id}-{block}-{arm}",
        cell_id=cell_id,
        workload="w",
        arm=arm,
        arm_kind="fake",
        block=block,
        position=position,
        started_utc="",
        started_s=0.0,
        duration_s=1.0,
        status="ok",
        provenance="",
        samples=recipe.iterations * len(recipe.parts),
        notes={"round_trips": json.dumps(dict(recipe.round_trips))} if recipe.round_trips else {},
    )


def _values(
    recipe: Recipe, record: TrialRecord, shared: float, rng: np.random.Generator
) -> FloatArray:
    """Values of one trial, shape (parts, iterations)."""
    truth = np.array(list(recipe.parts.values())) * (1 + recipe.slowdown.get(record.arm, 0.0))
    if record.arm == CANDIDATE:
        truth += [recipe.fixed_ns * recipe.round_trips.get(part, 0) for part in recipe.parts]
    own = rng.normal(0, recipe.trial_sd) + np.log1p(recipe.position_effect) * record.position
    noise = rng.normal(0, recipe.iteration_sd, (len(truth), recipe.iterations))
    return np.asarray(truth[:, np.newaxis] * np.exp(shared + own + noise))


def _samples_table(
    recipe: Recipe, records: list[TrialRecord], values: list[FloatArray]
) -> pd.DataFrame:
    parts, iterations = len(recipe.parts), recipe.iterations
    return pd.DataFrame(
        {
            "trial_id": np.repeat([one.trial_id for one in records], parts * iterations),
            "metric": recipe.metric,
            "part": np.tile(np.repeat(list(recipe.parts), iterations), len(records)),
            "phase": "measured",
            "iteration": np.tile(np.arange(iterations), len(records) * parts),
            "value": np.concatenate([one.ravel() for one in values]),
            "unit": recipe.unit,
            "clock": "monotonic",
        }
    )


TRIAL_COLUMNS = [
    *("trial_id", "cell_id", "workload", "arm", "arm_kind", "block", "position", "started_s"),
    *("duration_s", "status", "reason", "flagged", "flags", "interrupted_block", "provenance"),
]


def trials_table(records: list[TrialRecord]) -> pd.DataFrame:
    rows = [
        msgspec.structs.asdict(one)
        | {"flagged": bool(one.noise), "flags": ",".join(flag.name for flag in one.noise)}
        for one in records
    ]
    return pd.DataFrame(rows, columns=TRIAL_COLUMNS)


def change_trials(
    campaign: StandIn, change: Callable[[TrialRecord], TrialRecord | None]
) -> StandIn:
    """Replace records (None drops one), with the trials table kept in step."""
    records = [changed for one in campaign.records if (changed := change(one)) is not None]
    return replace(campaign, records=tuple(records), trials=trials_table(records))


LOAD = NoiseFlag(name="load", value=3.0, limit=1.5)
