"""A campaign as a run leaves it, and estimates worked out from it by the textbook formulas.

Nothing here uses harness.stats: the report is tested against numbers of independent origin.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from scipy import stats

from harness.model.estimate import CampaignEstimates, ClaimResult, CostModel, Estimate
from harness.model.record import NoiseFlag, TrialRecord
from harness.model.scenario import (
    AA_SUFFIX,
    Arm,
    Cell,
    Claim,
    PlannedTrial,
    SamplePhase,
    Scenario,
    Workload,
)
from harness.store import FORMAT_VERSION, Campaign, Header
from harness.store.campaign import trials_table

BASELINE = "software-tpm"
AA = BASELINE + AA_SUFFIX
ATTESTATION_US = {
    "challenge": 35.0,
    "report": 0.0,
    "quote": 900.0,
    "logs": 160.0,
    "serialise": 90.0,
    "transport": 210.0,
    "chain": 8.0,
    "quote_check": 95.0,
    "replay": 1400.0,
    "policy": 220.0,
}
FRAMEWORK_EXTRA_US = {"quote": 95.0, "serialise": 22.0, "transport": 45.0, "chain": 130.0}
COMMANDS_US = {
    "GetRandom": 24.0,
    "PCR_Read": 31.0,
    "PCR_Extend": 42.0,
    "Hash": 28.0,
    "CreatePrimary.rsa2048": 61000.0,
    "CreatePrimary.ecc256": 940.0,
    "Create.rsa2048": 58000.0,
    "Create.ecc256": 820.0,
    "Load": 310.0,
    "Sign.rsa2048": 880.0,
    "Sign.ecc256": 320.0,
    "VerifySignature.rsa2048": 120.0,
    "VerifySignature.ecc256": 260.0,
    "Quote.rsa2048.1pcr": 905.0,
    "Quote.rsa2048.8pcr": 915.0,
    "Quote.rsa2048.24pcr": 950.0,
    "Quote.ecc256.1pcr": 340.0,
    "Quote.ecc256.8pcr": 352.0,
    "Quote.ecc256.24pcr": 390.0,
    "NV_Write": 150.0,
    "NV_Read": 70.0,
    "Seal": 420.0,
    "Unseal": 130.0,
    "Certify": 900.0,
    "StartAuthSession": 48.0,
}
LAUNCH_MS = {
    "manufacture": 38.0,
    "endorsement": 70.0,
    "ak": 64.0,
    "residency": 3.0,
    "report": 9.0,
    "issue": 2.0,
    "certificate": 1.0,
}
EMULATED: list[dict[str, object]] = [
    {
        "what": "software CSV secure processor",
        "instead_of": "Hygon secure processor",
        "note": "same report layout, SM2/SM3 in software, root of its own",
        "parts": ["report"],
    },
    {"what": "swtpm", "instead_of": "hardware TPM 2.0", "note": "no SPI or LPC bus latency"},
]


Measure = Callable[[str], Iterator[tuple[str, str, str, float, str, int]]]


@dataclass
class Builder:
    """Collects trials and samples of a campaign."""

    seed: int
    blocks: int
    iterations: int
    plan: list[PlannedTrial] = field(default_factory=list)
    records: list[TrialRecord] = field(default_factory=list)
    flags: dict[str, str] = field(default_factory=dict)
    columns: dict[str, list[Any]] = field(
        default_factory=lambda: {
            name: []
            for name in ("trial_id", "metric", "part", "phase", "iteration", "value", "unit")
        }
    )
    clock_s: float = 1.0

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def block(self, cell: Cell, block: int, arms: list[str], measure: Measure) -> None:
        order = [arms[i] for i in self.random.permutation(len(arms))]
        host = math.exp(self.random.normal(0, 0.012))
        for position, arm in enumerate(order):
            trial_id = f"{cell.workload}-{cell.id}-{block:03d}-{position}"
            planned = PlannedTrial(trial_id, cell.id, block, position, arm)
            self.plan.append(planned)
            self._trial(cell, planned, host, measure)

    def _trial(self, cell: Cell, planned: PlannedTrial, host: float, measure: Measure) -> None:
        arm = planned.arm
        draw = self.random.random()
        status, reason = "ok", ""
        if draw < 0.008:
            status, reason = "rejected", "quote.nonce"
        elif draw < 0.015:
            status, reason = "timeout", "no answer within 120 s"
        noise = (NoiseFlag("load", 1.9, 1.5),) if 0.93 < draw < 0.97 else ()
        notes: dict[str, str] = {}
        before = len(self.columns["value"])
        if status == "ok":
            trial_effect = host * math.exp(self.random.normal(0, 0.006))
            for row in measure(arm):
                self._samples(planned.trial_id, row, trial_effect)
                if row[0] == "tpm_command_latency_ns":
                    notes["round_trips"] = json.dumps(
                        {name: 2 if name in {"Seal", "Certify"} else 1 for name in COMMANDS_US}
                    )
        duration = 1.5 + self.random.random()
        self.records.append(
            TrialRecord(
                trial_id=planned.trial_id,
                cell_id=cell.id,
                workload=cell.workload,
                arm=arm,
                arm_kind="framework" if arm == "framework" else arm.removesuffix(AA_SUFFIX),
                block=planned.block,
                position=planned.position,
                started_utc=pd.Timestamp(1_761_999_999 + self.clock_s, unit="s").strftime(
                    "%Y-%m-%dT%H:%M:%SZ"
                ),
                started_s=self.clock_s,
                duration_s=duration,
                status=status,  # type: ignore[arg-type]
                provenance="aa" * 32,
                samples=len(self.columns["value"]) - before,
                reason=reason,
                noise=noise,
                interrupted_block=planned.block == 3 and cell.workload == "attestation",
                notes=notes,
            )
        )
        self.clock_s += duration + 0.05

    def _samples(
        self, trial: str, row: tuple[str, str, str, float, str, int], effect: float
    ) -> None:
        metric, part, phase, mean, unit, n = row
        values = mean * effect * np.exp(self.random.normal(0, 0.03, n))
        for name, column in zip(
            ("trial_id", "metric", "part", "phase", "unit"),
            (trial, metric, part, phase, unit),
            strict=True,
        ):
            self.columns[name] += [column] * n
        self.columns["iteration"] += range(n)
        self.columns["value"] += values.tolist()


def scenario(blocks: int, iterations: int) -> Scenario:
    """The quick scenario's shape, with claims of all three kinds."""
    cell = {"ak": "rsa2048", "ima_entries": 2000}
    shared = {
        "workload": "attestation",
        "metric": "attestation_latency_ns",
        "part": "total",
        "candidate": "framework",
        "factors": cell,
    }
    claims = (
        Claim(
            id="framework-over-software-tpm",
            title="The framework costs about 10 % over a software TPM",
            kind="equivalent",
            low=0.08,
            high=0.12,
            paper="≈ +10 %",
            **shared,  # type: ignore[arg-type]
        ),
        Claim(
            id="framework-goal",
            title="The framework costs at most 10 %",
            kind="at_most",
            at_most=0.10,
            paper="≈ +10 %",
            **shared,  # type: ignore[arg-type]
        ),
        Claim(
            id="first-attestation",
            title="Cost of the first attestation",
            kind="estimate",
            phase="first",
            **shared,  # type: ignore[arg-type]
        ),
    )
    arms = tuple(Arm(name, name) for name in (BASELINE, "framework", "deep-quote"))
    return Scenario(
        name="synthetic",
        title="Unified attestation against a software TPM",
        seed=20251101,
        backend="process",
        baseline=BASELINE,
        arms=arms,
        workloads=(
            Workload(
                "attestation",
                "attestation",
                iterations,
                5,
                blocks,
                factors={"ak": ("rsa2048",), "ima_entries": (500, 2000)},
            ),
            Workload(
                "tpm_commands",
                "tpm_commands",
                iterations,
                5,
                blocks,
                arms=(BASELINE, "framework"),
            ),
            Workload(
                "vtpm_launch",
                "vtpm_launch",
                1,
                0,
                blocks,
                arms=(BASELINE, "framework"),
                factors={"instances": (1, 2, 4, 8, 16)},
            ),
        ),
        claims=claims,
    )


def attestation_of(entries: int, iterations: int) -> Measure:
    """What a trial of an arm measures, with a replay that grows with the log."""

    def measure(arm: str) -> Iterator[tuple[str, str, str, float, str, int]]:
        phases = {
            part: us * (entries / 2000 if part == "replay" else 1.0)
            for part, us in ATTESTATION_US.items()
        }
        if not arm.startswith(BASELINE):
            phases = {part: us + FRAMEWORK_EXTRA_US.get(part, 0) for part, us in phases.items()}
        if arm == "deep-quote":
            phases["quote"] += 1050.0
        for phase, n, factor in (("first", 1, 2.6), ("measured", iterations, 1.0)):
            for part, us in phases.items():
                if us:
                    yield "attestation_latency_ns", part, phase, us * factor * 1e3, "ns", n
            total = sum(phases.values()) * factor + 40.0
            yield "attestation_latency_ns", "total", phase, total * 1e3, "ns", n

    return measure


def commands_of(iterations: int) -> Measure:
    """25 commands; the framework adds 38 µs per round trip and 1.2 %."""

    def measure(arm: str) -> Iterator[tuple[str, str, str, float, str, int]]:
        for part, us in COMMANDS_US.items():
            trips = 2 if part in {"Seal", "Certify"} else 1
            added = 38.0 * trips + 0.012 * us if arm == "framework" else 0.0
            yield "tpm_command_latency_ns", part, "measured", (us + added) * 1e3, "ns", iterations

    return measure


def launch_of(instances: int) -> Measure:
    """Launch phases per instance and memory per instance; the baseline only manufactures."""

    def measure(arm: str) -> Iterator[tuple[str, str, str, float, str, int]]:
        queue = 1 + 0.06 * (instances - 1)
        names = LAUNCH_MS if arm == "framework" else ("manufacture", "endorsement", "ak")
        for part in names:
            ns = LAUNCH_MS[part] * queue * 1e6
            yield "vtpm_launch_latency_ns", part, "measured", ns, "ns", instances
        total = sum(LAUNCH_MS[part] for part in names) * queue * 1.03e6
        yield "vtpm_launch_latency_ns", "total", "measured", total, "ns", instances
        shared = 22.0 / instances if arm == "framework" else 0.0
        for part, mib in (("pss", 4.1 + shared), ("rss", 9.3 + shared)):
            yield "vtpm_memory_bytes", part, "measured", mib * 2**20, "B", instances

    return measure


def campaign(
    directory: Path,
    blocks: int = 12,
    iterations: int = 20,
    emulated: Sequence[dict[str, object]] = EMULATED,
    workloads: tuple[str, ...] = ("attestation", "tpm_commands", "vtpm_launch"),
) -> Campaign:
    """The whole campaign; ``workloads`` leaves out what was never run."""
    builder = Builder(7, blocks, iterations)
    cells: list[Cell] = []
    for entries in (500, 2000):
        cells.append(Cell(f"a{entries}", "attestation", {"ak": "rsa2048", "ima_entries": entries}))
    cells.append(Cell("c0", "tpm_commands", {}))
    cells += [Cell(f"l{n}", "vtpm_launch", {"instances": n}) for n in (1, 2, 4, 8, 16)]
    for block in range(blocks):
        for cell in (cell for cell in cells if cell.workload in workloads):
            arms = [BASELINE, AA, "framework"]
            if cell.workload == "attestation":
                arms.append("deep-quote")
                measure = attestation_of(int(cell.factors["ima_entries"]), iterations)
            elif cell.workload == "tpm_commands":
                measure = commands_of(iterations)
            else:
                measure = launch_of(int(cell.factors["instances"]))
            builder.block(cell, block, arms, measure)
    samples = pd.DataFrame(builder.columns).assign(clock="monotonic")
    return Campaign(
        directory=directory,
        header=Header(
            format_version=FORMAT_VERSION,
            campaign="synthetic",
            scenario_file="scenarios/synthetic.toml",
            scenario_text='name = "synthetic"\nbackend = "process"  # <as run>\n',
            seed=20251101,
            created_utc="2025-11-01T12:26:39Z",
            created_s=1_761_999_999.0,
            machines=("0f" * 16,),
            cells=tuple(cells),
        ),
        scenario=scenario(blocks, iterations),
        cells={cell.id: cell for cell in cells},
        plan=tuple(builder.plan),
        trials=trials_table(tuple(builder.records)),
        samples=samples,
        provenance={"aa" * 32: provenance(list(emulated))},
        records=tuple(builder.records),
    )


def provenance(emulated: list[dict[str, object]]) -> dict[str, object]:
    """A host as the run describes it."""
    return {
        "host": {
            "cpu": "Hygon C86 7490 64-core Processor",
            "logical_cpus": 128,
            "kernel": "6.6.0-72.oe2403sp1.x86_64",
            "memory_bytes": 274877906944,
            "governor": "performance",
        },
        "versions": {"swtpm": "0.7.3", "libtpms": "0.9.6", "tss2": "4.0.1", "openssl": "3.0.15"},
        "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
        "emulated": emulated,
        "isolation": "crun: user, pid, net, mount namespaces; seccomp",
        "backend": "process",
    }


def pair(base: pd.DataFrame, cand: pd.DataFrame) -> dict[str, float] | None:
    """Position-adjusted paired log ratio and Fieller, over blocks both arms finished."""
    both = base.merge(cand, left_index=True, right_index=True, suffixes=("_b", "_c"))
    n = len(both)
    if n < 4:
        return None
    b, c = both["value_b"].to_numpy(), both["value_c"].to_numpy()
    order = np.where(both["position_c"] > both["position_b"], 1.0, -1.0)
    design = np.column_stack([np.ones(n), order])
    logs = np.log(c / b)
    beta, *_ = np.linalg.lstsq(design, logs, rcond=None)
    rest = logs - design @ beta
    s = math.sqrt(rest @ rest / (n - 2))
    se = s * math.sqrt(np.linalg.pinv(design.T @ design)[0, 0])
    t95, t90 = (float(stats.t.ppf(p, n - 2)) for p in (0.975, 0.95))
    t = float(stats.t.ppf(0.975, n - 1))
    va, vc = b.var(ddof=1) / n, c.var(ddof=1) / n
    vac = float(np.cov(b, c)[0, 1]) / n
    mid, scale = b.mean() * c.mean() - t * t * vac, b.mean() ** 2 - t * t * va
    root = math.sqrt(mid**2 - scale * (c.mean() ** 2 - t * t * vc))

    def t_interval(values: np.ndarray, name: str) -> dict[str, float]:
        half = t * values.std(ddof=1) / math.sqrt(n)
        mean = float(values.mean())
        return {f"{name}_mean": mean, f"{name}_low": mean - half, f"{name}_high": mean + half}

    found: dict[str, float] = {
        "point": math.expm1(beta[0]),
        "low": math.expm1(beta[0] - t95 * se),
        "high": math.expm1(beta[0] + t95 * se),
        "low90": math.expm1(beta[0] - t90 * se),
        "high90": math.expm1(beta[0] + t90 * se),
        "confidence": 0.95,
        "n_pairs": n,
        "sd_log": s,
        "position_effect": math.expm1(2 * beta[1]),
        "mde": math.expm1((t95 + float(stats.t.ppf(0.8, n - 2))) * se),
        "fieller_low": (mid - root) / scale - 1,
        "fieller_high": (mid + root) / scale - 1,
        "estimators_disagree": False,
        **t_interval(b, "baseline"),
        **t_interval(c, "candidate"),
        **t_interval(c - b, "difference"),
    }
    return {k: v if isinstance(v, int) else float(v) for k, v in found.items()}


def estimates(of: Campaign) -> CampaignEstimates:
    """Every pair of every cell, the claims and the cost model."""
    keys = ["trial_id", "metric", "part", "phase", "unit"]
    means = of.samples.groupby(keys)["value"].mean().reset_index()
    means = means.merge(of.trials, on="trial_id")
    found: list[Estimate] = []
    for (cell_id, metric, part, phase, unit), group in means.groupby(
        ["cell_id", "metric", "part", "phase", "unit"]
    ):
        arms = {
            arm: frame.set_index("block")[["value", "position"]]
            for arm, frame in group.groupby("arm")
        }
        for arm in sorted(map(str, set(arms) - {BASELINE})):
            values = pair(arms[BASELINE], arms[arm]) if BASELINE in arms else None
            if values is None:
                continue
            cell = of.cells[str(cell_id)]
            head = {"cell_id": cell.id, "workload": cell.workload, "factors": cell.factors}
            what = {"metric": metric, "part": part, "phase": phase, "unit": unit}
            row = {
                **head,
                **what,
                "reducer": "mean",
                "baseline": BASELINE,
                "candidate": arm,
                **values,
            }
            found.append(msgspec.convert(row, Estimate))
    by_status = of.trials["status"].value_counts().to_dict()
    flagged = of.trials.loc[of.trials["flagged"], "flags"].value_counts().to_dict()
    return CampaignEstimates(
        format_version=1,
        campaign=of.scenario.name,
        claims=tuple(claim_result(of, claim, found) for claim in of.scenario.claims),
        estimates=tuple(found),
        cost_models=cost_models(found),
        trials_planned=len(of.plan),
        trials_by_status={str(k): int(v) for k, v in by_status.items()},
        flagged_by_reason={str(k): int(v) for k, v in flagged.items()},
        interrupted_blocks=int(of.trials.query("interrupted_block")["block"].nunique()),
    )


def claim_result(of: Campaign, claim: Claim, found: list[Estimate]) -> ClaimResult:
    """Verdict by the 90 % interval; its why in words."""

    def pick(arm: str, phase: SamplePhase) -> Estimate | None:
        wanted = (claim.metric, claim.part, phase, arm, claim.factors)
        for e in found:
            if (e.metric, e.part, e.phase, e.candidate, e.factors) == wanted:
                return e
        return None

    estimate = pick(claim.candidate, claim.phase)
    low, high = (claim.low, claim.high) if claim.kind == "equivalent" else (None, claim.at_most)
    verdict, why = "inconclusive", "no pair of trials"
    if estimate is not None:
        inside = (low is None or estimate.low90 > low) and (high is None or estimate.high90 < high)
        outside = (high is not None and estimate.low90 > high) or (
            low is not None and estimate.high90 < low
        )
        verdict = "holds" if inside else "fails" if outside else "inconclusive"
        why = f"the 90 % interval is {'' if inside else 'not '}inside the margin"
    ids = [cell.id for cell in of.cells.values() if cell.factors == claim.factors]
    trials = of.trials[of.trials["cell_id"].isin(ids)]
    bad = trials[trials["status"] != "ok"]
    return ClaimResult(
        claim_id=claim.id,
        title=claim.title,
        kind=claim.kind,
        margin_low=low,
        margin_high=high,
        paper=claim.paper,
        verdict=verdict,  # type: ignore[arg-type]
        p_value=None if claim.kind == "estimate" or estimate is None else 0.012,
        p_holm=None if claim.kind == "estimate" or estimate is None else 0.024,
        why=why,
        estimate=estimate,
        noise_floor=pick(AA, claim.phase),
        excluded_trials={str(k): int(v) for k, v in bad["reason"].value_counts().items()},
        flagged_trials=int(trials["flagged"].sum()),
    )


def cost_models(found: list[Estimate]) -> tuple[CostModel, ...]:
    """The model the commands were generated with, if they were run."""
    cells = {e.cell_id for e in found if e.metric == "tpm_command_latency_ns"}
    return tuple(
        CostModel(cell_id, "framework", 38200.0, 37100.0, 39300.0, 0.012, 0.004, 0.02, 12, 25)
        for cell_id in sorted(cells)
    )
