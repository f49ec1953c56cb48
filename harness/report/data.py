"""A campaign arranged for the report: samples grouped once, estimates by key, names to show.

A trial enters with one number per metric, part and phase: the mean of its iterations, or the median
where instructions were counted. Means over trials carry a 95 % t-interval. Cells are never pooled.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from harness.model.estimate import CampaignEstimates, CostModel, Estimate
from harness.model.scenario import AA_SUFFIX, Cell, Claim, Reducer, Scalar, Scenario
from harness.scenario.kinds import WORKLOAD_KINDS
from harness.stats.reducers import COUNTED_UNIT, usual_reducer
from harness.store import Campaign, Emulated, emulated_in

ATTESTATION = "attestation_latency_ns"
COMMANDS = "tpm_command_latency_ns"
LAUNCH = "vtpm_launch_latency_ns"
MEMORY = "vtpm_memory_bytes"
TOTAL = "total"
PHASE_NAMES = {"measured": "steady", "first": "first"}

PART_ORDER: dict[str, tuple[str, ...]] = {
    metric: tuple(part for part in parts if part != TOTAL)
    for kind in WORKLOAD_KINDS.values()
    for metric, parts in kind.produces.items()
    if parts is not None
}

_KEY = ["trial_id", "metric", "part", "phase"]


class Mean(NamedTuple):
    """Mean over trials with its 95 % interval (NaN for a single trial)."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Dataset:
    """What figures and tables are drawn from."""

    campaign: Campaign
    estimates: CampaignEstimates

    @property
    def scenario(self) -> Scenario:
        """The scenario that was run."""
        return self.campaign.scenario

    @cached_property
    def trials(self) -> pd.DataFrame:
        """Every recorded trial, ordered by start; ``minute`` counts from the first start."""
        frame = self.campaign.trials.sort_values(["started_s", "trial_id"], kind="stable")
        start = frame["started_s"].min() if len(frame) else 0.0
        return frame.assign(minute=(frame["started_s"] - start) / 60).reset_index(drop=True)

    @cached_property
    def trial_means(self) -> pd.DataFrame:
        """One number of each ok trial per metric, part and phase, with the trial's columns."""
        samples = self.campaign.samples
        kept = samples[samples["phase"] != "warmup"]
        counts = kept["unit"] == COUNTED_UNIT
        both = [_by_trial(kept[~counts], "mean"), _by_trial(kept[counts], "median")]
        means: pd.DataFrame = pd.concat(both).reset_index()
        units = kept.drop_duplicates("metric").set_index("metric")["unit"].to_dict()
        means[_KEY] = means[_KEY].astype(object)
        means["unit"] = means["metric"].map(units)
        ok = self.trials[self.trials["status"] == "ok"]
        columns = ["trial_id", "cell_id", "workload", "arm", "block", "minute", "flagged"]
        return means.merge(ok[columns], on="trial_id", how="inner")

    @cached_property
    def arm_means(self) -> pd.DataFrame:
        """Mean over trials with 95 % t-interval, and n; per cell, arm, metric, part, phase."""
        by = ["cell_id", "arm", "metric", "part", "phase", "unit"]
        groups = self.trial_means.groupby(by, sort=True)["value"]
        frame = groups.agg(["mean", "std", "count"]).reset_index()
        n = frame.pop("count").to_numpy()
        spread = frame.pop("std").to_numpy()
        with np.errstate(invalid="ignore", divide="ignore"):
            half = stats.t.ppf(0.975, n - 1) * spread / np.sqrt(n)
        return frame.assign(low=frame["mean"] - half, high=frame["mean"] + half, n=n)

    @cached_property
    def means(self) -> dict[tuple[str, str, str, str, str], Mean]:
        """``arm_means`` by (cell, arm, metric, part, phase)."""
        frame = self.arm_means
        names = ("cell_id", "arm", "metric", "part", "phase", "mean", "low", "high", "n")
        rows = zip(*(frame[name].tolist() for name in names), strict=True)
        return {tuple(row[:5]): Mean(*row[5:]) for row in rows}

    @cached_property
    def by_key(self) -> dict[tuple[str, str, str, str, str], Estimate]:
        """Estimates of means by (cell, metric, part, phase, candidate)."""
        return {
            (e.cell_id, e.metric, e.part, e.phase, e.candidate): e
            for e in self.estimates.estimates
            if e.reducer == usual_reducer(e.unit)
        }

    @cached_property
    def baselines(self) -> tuple[str, ...]:
        """Arms that others are compared with, the scenario's own first."""
        own = (self.scenario.baseline_of(workload.name) for workload in self.scenario.workloads)
        return tuple(dict.fromkeys((self.scenario.baseline, *own)))

    @cached_property
    def copies(self) -> tuple[str, ...]:
        """The second copies of the baselines."""
        return tuple(baseline + AA_SUFFIX for baseline in self.baselines)

    def baseline_of(self, cell: Cell) -> str:
        """The arm that the others are compared with in this cell."""
        return self.scenario.baseline_of(cell.workload)

    @cached_property
    def candidates(self) -> tuple[str, ...]:
        """Arms compared with a baseline, without its A/A copy; the claims' first arm leads."""
        seen = {e.candidate for e in self.estimates.estimates} - set(self.copies)
        order = [claim.candidate for claim in self.scenario.claims]
        order += [arm.name for arm in self.scenario.arms]
        return tuple(name for name in dict.fromkeys(order) if name in seen)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Cells in the scenario's order of workloads and factor levels."""
        ranks = {
            workload.name: (position, workload)
            for position, workload in enumerate(self.scenario.workloads)
        }

        def rank(cell: Cell) -> tuple[int, list[int], str]:
            position, workload = ranks[cell.workload]
            levels = [
                values.index(cell.factors[name]) if cell.factors.get(name) in values else 0
                for name, values in workload.factors.items()
            ]
            return position, levels, cell.id

        return tuple(sorted(self.campaign.cells.values(), key=rank))

    def cells_with(self, metric: str) -> tuple[Cell, ...]:
        """Cells in which ``metric`` was measured by at least one ok trial."""
        having = set(self.trial_means.loc[self.trial_means["metric"] == metric, "cell_id"])
        return tuple(cell for cell in self.cells if cell.id in having)

    def parts(self, metric: str) -> list[str]:
        """Parts seen of ``metric`` without the total, in their natural order."""
        seen = set(self.trial_means.loc[self.trial_means["metric"] == metric, "part"]) - {TOTAL}
        known = [part for part in PART_ORDER.get(metric, ()) if part in seen]
        return known + sorted(seen.difference(known), key=_by_number)

    def noise_floor(self, estimate: Estimate) -> Estimate | None:
        """The A/A estimate that answers for ``estimate``: same cell, metric, part and phase."""
        copy = estimate.baseline + AA_SUFFIX
        return self.by_key.get(
            (estimate.cell_id, estimate.metric, estimate.part, estimate.phase, copy)
        )

    @cached_property
    def shown(self) -> frozenset[str]:
        """Metrics that were measured, or that the scenario's workloads promise."""
        kinds = (WORKLOAD_KINDS.get(workload.kind) for workload in self.scenario.workloads)
        promised = {metric for kind in kinds if kind is not None for metric in kind.produces}
        return frozenset(promised | set(self.trial_means["metric"]))

    def cost_model(self, cell_id: str, candidate: str) -> CostModel | None:
        """The fixed-and-proportional model of this cell, if one could be fitted."""
        for model in self.estimates.cost_models:
            if (model.cell_id, model.candidate) == (cell_id, candidate):
                return model
        return None

    def claim(self, claim_id: str) -> Claim | None:
        """The pre-registered claim as the scenario states it."""
        return next((claim for claim in self.scenario.claims if claim.id == claim_id), None)

    def emulated(self, cell_ids: Iterable[str] | None = None) -> tuple[Emulated, ...]:
        """What was emulated in the trials of these cells (default: in all of them)."""
        trials = self.trials
        if cell_ids is not None:
            trials = trials[trials["cell_id"].isin(list(cell_ids))]
        used = dict.fromkeys(trials["provenance"])
        return emulated_in(
            self.campaign.provenance[digest]
            for digest in used
            if digest in self.campaign.provenance
        )


def _by_trial(samples: pd.DataFrame, reducer: Reducer) -> pd.Series:
    keys = [samples[name].astype("category") for name in _KEY]
    return samples["value"].groupby(keys, observed=True, sort=True).agg(reducer)


def _by_number(part: str) -> list[tuple[str, int]]:
    """Sorts ``memory.16`` before ``memory.256``."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", part)]


def half_width(estimate: Estimate | None) -> float:
    """Half of the 95 % interval, as a fraction; NaN without an estimate."""
    return float("nan") if estimate is None else estimate.high / 2 - estimate.low / 2


def metric_words(metric: str) -> str:
    """ "attestation latency" of ``attestation_latency_ns``."""
    return metric.removesuffix("_ns").removesuffix("_bytes").replace("_", " ")


def factors_text(factors: dict[str, Scalar]) -> str:
    """ "ak = rsa2048, ima_entries = 2000"; "no factors" for the only cell of a workload."""
    return ", ".join(f"{name} = {value}" for name, value in factors.items()) or "no factors"


def cell_text(cell: Cell) -> str:
    """The cell's factors, or its workload where it has none."""
    return factors_text(cell.factors) if cell.factors else cell.workload


def round_trips(campaign: Campaign, arm: str) -> dict[tuple[str, str], float]:
    """Round trips per (cell, part) as this arm's trials noted them; the mean where they differ."""
    noted: dict[tuple[str, str], list[float]] = {}
    for record in campaign.records:
        if record.arm == arm and record.status == "ok" and "round_trips" in record.notes:
            for part, count in json.loads(record.notes["round_trips"]).items():
                noted.setdefault((record.cell_id, part), []).append(float(count))
    return {key: sum(counts) / len(counts) for key, counts in noted.items()}
