"""A campaign as a run leaves it: realistic sizes, noise, failures, flags and an interruption."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.model.record import NoiseFlag, TrialRecord
from harness.model.scenario import (
    AA_SUFFIX,
    Cell,
    PlannedTrial,
)
from harness.store import FORMAT_VERSION, Campaign, Header
from harness.store.campaign import trials_table

from .synthetic_scenario import AA, BASELINE, scenario

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
        notes = self.notes(cell, arm)
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
                arm_kind=arm.removesuffix(AA_SUFFIX),
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

    def notes(self, cell: Cell, arm: str) -> dict[str, str]:  # noqa: ARG002 - for subclasses
        """What the backend notes about a trial."""
        return {}

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
