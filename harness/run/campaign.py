"""The run loop: trials in planned order until none is left, each committed before the next."""

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harness.backends import Backend
from harness.model.errors import AttestbenchError
from harness.model.record import TrialRecord
from harness.model.scenario import PlannedTrial
from harness.run.events import (
    BlockFinished,
    CampaignFinished,
    CampaignStarted,
    Observer,
    PlanExtended,
    TrialFinished,
    TrialStarted,
)
from harness.run.forecast import Forecast
from harness.run.noise import NoiseMonitor
from harness.run.opening import RunRequest, extend_campaign, open_campaign
from harness.run.provenance import collect_provenance
from harness.run.tracker import ClaimTracker, Statistics
from harness.run.trial import TrialRunner
from harness.run.workdir import fresh_workdir, remove_workdir
from harness.scenario.kinds import runs_at_once
from harness.schedule import sized_workload
from harness.store import (
    CampaignWriter,
    Session,
    compact,
    orchestration,
    read_sessions,
    read_trial_samples,
)


class RunResult(NamedTuple):
    """A finished campaign."""

    directory: Path
    planned: int
    by_status: dict[str, int]


def run_campaign(
    request: RunRequest, backend: Backend, stats: Statistics, observe: Observer
) -> RunResult:
    """Run or resume a campaign to its last trial.

    Raises InputError when the folder holds another campaign, EnvironmentError_ when the machine
    lacks something. Whatever is raised, every trial finished before it is kept, and the same call
    goes on from there.
    """
    backend.check(request.scenario)
    with contextlib.closing(CampaignWriter(request.directory)) as writer:
        run = _Run(request, stats, observe, writer)
        run.announce()
        if run.unfinished():
            with _session(writer, run.header.created_s), _prepared(request, backend) as workdir:
                run.all_trials(backend, workdir)
        if request.compact:
            compact(request.directory, run.records)
        return run.finish()


@contextlib.contextmanager
def _session(writer: CampaignWriter, created_s: float) -> Iterator[None]:
    """Note when the session begins and ends, the end also when it is aborted."""
    sessions = read_sessions(writer.layout.directory)
    number = sessions[-1].number + 1 if sessions else 1
    begin = time.time() - created_s
    writer.append_session(Session(number, begin))
    try:
        yield
    except BaseException:
        # The reason of the abort matters more than a note that a full disk refuses.
        with contextlib.suppress(AttestbenchError):
            writer.append_session(Session(number, begin, time.time() - created_s))
        raise
    writer.append_session(Session(number, begin, time.time() - created_s))


@contextlib.contextmanager
def _prepared(request: RunRequest, backend: Backend) -> Iterator[Path]:
    """The backend made ready in a fresh working folder; both are taken down afterwards."""
    workdir = fresh_workdir(request.directory)
    try:
        shared = workdir / "backend"
        shared.mkdir()
        backend.prepare(request.scenario, shared)
        yield workdir
    finally:
        backend.close()
        remove_workdir(workdir)


class _Run:
    """State of one session."""

    def __init__(
        self, request: RunRequest, stats: Statistics, observe: Observer, writer: CampaignWriter
    ) -> None:
        self._request = request
        self._stats = stats
        self._observe = observe
        self._writer = writer
        self.header, self._plan, records = open_campaign(request, writer)
        self.records = list(records)
        self._cells = {cell.id: cell for cell in self.header.cells}
        self._forecast = Forecast(request.scenario, self._cells)
        self._forecast.learn(self.records)
        self._tracker = ClaimTracker(request.scenario, self._cells, stats)

    def announce(self) -> None:
        done = {record.trial_id for record in self.records}
        left = Counter((t.cell_id, t.arm) for t in self._plan if t.trial_id not in done)
        eta = self._forecast.seconds(left)
        directory = str(self._request.directory)
        name = self._request.scenario.name
        self._observe(CampaignStarted(name, directory, len(self._plan), len(done), eta))

    def unfinished(self) -> bool:
        return len(self.records) < len(self._plan) or bool(self._undecided())

    def all_trials(self, backend: Backend, workdir: Path) -> None:
        noise = NoiseMonitor(self._request.scenario.noise)
        provenance = collect_provenance(backend.name, backend.provenance())
        digest = self._writer.put_provenance({**provenance, "noise_gate": noise.readable()})
        for record in self.records:
            if self._tracker.needs(record):
                samples = read_trial_samples(self._request.directory, record)
                self._tracker.add(record, samples)
        runner = TrialRunner(
            scenario=self._request.scenario,
            header=self.header,
            backend=backend,
            noise=noise,
            writer=self._writer,
            provenance=digest,
            workdir=workdir,
        )
        self._run_pending(runner)
        if self._undecided():
            self._extend()
            self._run_pending(runner)

    def finish(self) -> RunResult:
        by_status = dict(Counter(str(record.status) for record in self.records))
        directory = self._request.directory
        share = orchestration(directory).share
        self._observe(CampaignFinished(str(directory), len(self._plan), by_status, share))
        return RunResult(directory, len(self._plan), by_status)

    def _run_pending(self, runner: TrialRunner) -> None:
        done = {record.trial_id for record in self.records}
        pending = [trial for trial in self._plan if trial.trial_id not in done]
        # Blocks begun by an earlier session: their trials are further apart in time.
        begun = {(record.cell_id, record.block) for record in self.records}
        left_in_block = Counter((trial.cell_id, trial.block) for trial in pending)
        left_of_arm = Counter((trial.cell_id, trial.arm) for trial in pending)
        for group in self._groups(pending):
            block = (group[0].cell_id, group[0].block)
            for trial in group:
                self._observe(_started(trial, self._cells[trial.cell_id].workload))
            for record, samples in runner.run(group, interrupted_block=block in begun):
                self.records.append(record)
                self._tracker.add(record, samples)
                self._forecast.learn([record])
                left_of_arm[record.cell_id, record.arm] -= 1
                self._announce_trial(record, self._forecast.seconds(left_of_arm))
                left_in_block[block] -= 1
            if not left_in_block[block]:
                estimates = self._tracker.estimates(block[0])
                workload = self._cells[block[0]].workload
                self._observe(BlockFinished(workload, *block, estimates))

    def _groups(self, pending: list[PlannedTrial]) -> Iterator[list[PlannedTrial]]:
        """What is handed over together: the rest of a block that may run at once, else a trial."""
        whole = {
            workload.name
            for workload in self._request.scenario.workloads
            if workload.layout == "interleaved" or runs_at_once(workload)
        }
        for (cell, _), trials in itertools.groupby(pending, lambda t: (t.cell_id, t.block)):
            if self._cells[cell].workload in whole:
                yield list(trials)
            else:
                yield from ([trial] for trial in trials)

    def _announce_trial(self, record: TrialRecord, eta_s: float) -> None:
        self._observe(
            TrialFinished(
                record.trial_id,
                record.status,
                record.reason,
                record.duration_s,
                record.noise,
                len(self.records),
                len(self._plan),
                eta_s,
            )
        )

    def _undecided(self) -> list[str]:
        """Workloads whose pilot has not been decided."""
        decided = {decision.workload for decision in self.header.pilot}
        return [
            workload.name
            for workload in self._request.scenario.workloads
            if workload.pilot is not None and workload.name not in decided
        ]

    def _extend(self) -> None:
        scenario = self._request.scenario
        decisions = []
        for workload in scenario.workloads:
            if workload.pilot is None:
                continue
            claims = tuple(claim for claim in scenario.claims if claim.workload == workload.name)
            spreads = {claim.id: self._tracker.spread(claim) for claim in claims}
            decisions.append(
                sized_workload(workload, claims, spreads, scenario.assumed_sd_log, self._stats)
            )
        self.header, self._plan = extend_campaign(
            self._request, self.header, tuple(decisions), self._writer
        )
        self._observe(PlanExtended(tuple(decisions), len(self._plan)))


def _started(trial: PlannedTrial, workload: str) -> TrialStarted:
    return TrialStarted(
        trial.trial_id, workload, trial.cell_id, trial.arm, trial.block, trial.position
    )
