"""One trial, or several that take turns: noise gate, fresh start, samples, commit."""

import datetime
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from harness.backends import Backend
from harness.model.record import NoiseFlag, Sample, TrialOutcome, TrialRecord, TrialRequest
from harness.model.scenario import PlannedTrial, Scenario
from harness.run.noise import NoiseMonitor
from harness.scenario import arms_of
from harness.scenario.kinds import is_counted
from harness.schedule import block_seed
from harness.store import CampaignWriter, Header, writing


class _Timing(NamedTuple):
    """``started``: seconds since the epoch; ``duration``: seconds of a steady clock."""

    started: float
    duration: float


class Ran(NamedTuple):
    """A committed trial and its samples."""

    record: TrialRecord
    samples: tuple[Sample, ...]


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

    def run(self, trials: Sequence[PlannedTrial], *, interrupted_block: bool) -> list[Ran]:
        """Run and commit one trial, or several that take turns.

        Trials that take turns share the time of their block equally in ``duration_s``.
        EnvironmentError_ leaves all of them uncommitted.
        """
        requests = [self._request(trial, self._folder(trial)) for trial in trials]
        # Counts do not depend on the machine's load, most of which their own block makes.
        counted = is_counted(requests[0].workload)
        flags = () if counted else self.noise.before()
        started = time.time()
        clock = time.perf_counter()
        try:
            if len(requests) == 1:
                outcomes = [self.backend.run_trial(requests[0])]
            else:
                outcomes = self.backend.run_block(requests)
        finally:
            timing = _Timing(started, (time.perf_counter() - clock) / len(requests))
            for request in requests:
                shutil.rmtree(request.workdir, ignore_errors=True)
        after = self.noise.after()
        flags += () if counted else after
        ran = []
        for request, outcome in zip(requests, outcomes, strict=True):
            record = self._record(
                request, outcome, timing, flags, interrupted_block=interrupted_block
            )
            self.writer.append_trial(record, outcome.samples)
            ran.append(Ran(record, outcome.samples))
        return ran

    def _folder(self, trial: PlannedTrial) -> Path:
        workdir = self.workdir / trial.trial_id[:8]
        with writing(workdir):
            workdir.mkdir()
        return workdir

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
