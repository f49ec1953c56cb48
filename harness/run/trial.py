"""One trial: noise gate, fresh start, samples, commit."""

import datetime
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from harness.backends import Backend
from harness.model.record import NoiseFlag, Sample, TrialOutcome, TrialRecord, TrialRequest
from harness.model.scenario import PlannedTrial, Scenario
from harness.run.noise import NoiseMonitor
from harness.scenario import arms_of
from harness.schedule import block_seed
from harness.store import CampaignWriter, Header, writing


class _Timing(NamedTuple):
    """``started``: seconds since the epoch; ``duration``: seconds of a steady clock."""

    started: float
    duration: float


@dataclass(frozen=True, kw_only=True)
class TrialRunner:
    """Runs trials of one session; ``provenance``: digest of what the session runs on."""

    scenario: Scenario
    header: Header
    backend: Backend
    noise: NoiseMonitor
    writer: CampaignWriter
    provenance: str
    workdir: Path

    def run(
        self, trial: PlannedTrial, *, interrupted_block: bool
    ) -> tuple[TrialRecord, tuple[Sample, ...]]:
        """Run and commit a trial. EnvironmentError_ leaves it uncommitted."""
        workdir = self.workdir / trial.trial_id[:8]
        with writing(workdir):
            workdir.mkdir()
        request = self._request(trial, workdir)
        flags = self.noise.before()
        started = time.time()
        clock = time.perf_counter()
        try:
            outcome = self.backend.run_trial(request)
        finally:
            timing = _Timing(started, time.perf_counter() - clock)
            shutil.rmtree(workdir, ignore_errors=True)
        flags += self.noise.after()
        record = self._record(request, outcome, timing, flags, interrupted_block=interrupted_block)
        self.writer.append_trial(record, outcome.samples)
        return record, outcome.samples

    def _request(self, trial: PlannedTrial, workdir: Path) -> TrialRequest:
        cell = next(cell for cell in self.header.cells if cell.id == trial.cell_id)
        workload = next(w for w in self.scenario.workloads if w.name == cell.workload)
        return TrialRequest(
            trial_id=trial.trial_id,
            cell=cell,
            workload=workload,
            arm=arms_of(self.scenario, workload)[trial.arm],
            seed=block_seed(self.scenario, cell, trial.block),
            workdir=str(workdir),
            block=trial.block,
            position=trial.position,
        )

    def _record(
        self,
        request: TrialRequest,
        outcome: TrialOutcome,
        timing: _Timing,
        flags: tuple[NoiseFlag, ...],
        *,
        interrupted_block: bool,
    ) -> TrialRecord:
        started = datetime.datetime.fromtimestamp(timing.started, datetime.UTC)
        return TrialRecord(
            trial_id=request.trial_id,
            cell_id=request.cell.id,
            workload=request.workload.name,
            arm=request.arm.name,
            arm_kind=request.arm.kind,
            block=request.block,
            position=request.position,
            started_utc=started.isoformat(timespec="milliseconds"),
            started_s=timing.started - self.header.created_s,
            duration_s=timing.duration,
            status=outcome.status,
            provenance=self.provenance,
            samples=len(outcome.samples),
            reason=outcome.reason,
            noise=flags,
            evidence=tuple(self.writer.put_evidence(content) for content in outcome.evidence),
            interrupted_block=interrupted_block,
            notes=outcome.notes,
        )
