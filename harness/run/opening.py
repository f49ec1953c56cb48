"""Beginning a campaign, or coming back to one: the checks that make resuming safe."""

import datetime
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from harness.model.errors import EnvironmentError_, InputError
from harness.model.plan import PilotDecision
from harness.model.record import TrialRecord
from harness.model.scenario import PlannedTrial, Scenario
from harness.run.machine import fingerprint
from harness.scenario import cells_of
from harness.schedule import plan_trials
from harness.store import (
    FORMAT_VERSION,
    CampaignWriter,
    Header,
    Layout,
    read_header,
    read_plan,
    read_trials,
)


class RunRequest(NamedTuple):
    """What to run and where. ``text``: the scenario's text, ``file``: its name in messages.

    ``compact``: gather the samples in one file after the last trial.
    """

    scenario: Scenario
    text: str
    file: str
    directory: Path
    allow_other_machine: bool = False
    compact: bool = True


class Opened(NamedTuple):
    """A campaign ready to go on."""

    header: Header
    plan: tuple[PlannedTrial, ...]
    records: tuple[TrialRecord, ...]


def open_campaign(request: RunRequest, writer: CampaignWriter) -> Opened:
    """Create the campaign or check that it may be resumed; the writer holds its lock."""
    header = _open_header(request, writer)
    records = read_trials(request.directory)
    plan = _open_plan(request, header, writer)
    planned = {trial.trial_id for trial in plan}
    for number, record in enumerate(records, start=1):
        if record.trial_id not in planned:
            raise InputError(
                f"{writer.layout.trials}:{number}: trial {record.trial_id} is not in the plan; "
                "restore the folder from a copy, or choose another one with --results"
            )
    return Opened(header, plan, records)


def extend_campaign(
    request: RunRequest,
    header: Header,
    decisions: tuple[PilotDecision, ...],
    writer: CampaignWriter,
) -> tuple[Header, tuple[PlannedTrial, ...]]:
    """Fix n after the pilot. The header is the commit point; the plan follows from it."""
    header = msgspec.structs.replace(header, pilot=decisions)
    writer.write_header(header)
    return header, _open_plan(request, header, writer)


def _open_header(request: RunRequest, writer: CampaignWriter) -> Header:
    layout = writer.layout
    if not layout.header.exists():
        if layout.trials.exists():
            raise InputError(
                f"{request.directory}: has trials.jsonl but no campaign.json; restore it from a "
                "copy, or choose another folder with --results"
            )
        header = _new_header(request)
        writer.write_header(header)
        return header
    header = read_header(request.directory)
    _check_text(request, header)
    machine = fingerprint()
    if machine in header.machines:
        return header
    if not request.allow_other_machine:
        raise EnvironmentError_(
            f"{request.directory}: this campaign was started on another machine; resume it there, "
            "start it afresh in another folder with --results, or mix both machines' trials with "
            "--allow-other-machine"
        )
    header = msgspec.structs.replace(header, machines=(*header.machines, machine))
    writer.write_header(header)
    return header


def _new_header(request: RunRequest) -> Header:
    now = time.time()
    created = datetime.datetime.fromtimestamp(now, tz=datetime.UTC)
    return Header(
        format_version=FORMAT_VERSION,
        campaign=request.scenario.name,
        scenario_file=Path(request.file).name,
        scenario_text=request.text,
        seed=request.scenario.seed,
        created_utc=created.isoformat(timespec="seconds"),
        created_s=now,
        machines=(fingerprint(),),
        cells=tuple(cells_of(request.scenario).values()),
    )


def _check_text(request: RunRequest, header: Header) -> None:
    if request.text == header.scenario_text:
        return
    old, new = header.scenario_text.splitlines(), request.text.splitlines()
    pairs = enumerate(zip(old, new, strict=False), start=1)
    line = next((n for n, (a, b) in pairs if a != b), min(len(old), len(new)) + 1)
    raise InputError(
        f"{request.file}: line {line} differs from the scenario that {request.directory} was "
        "started with; undo the edit, or give the scenario another name to start a new campaign"
    )


def _open_plan(
    request: RunRequest, header: Header, writer: CampaignWriter
) -> tuple[PlannedTrial, ...]:
    """The plan as stored; written when missing or when the pilot's extension was cut off."""
    sizes = {decision.workload: decision.blocks for decision in header.pilot}
    plan = plan_trials(request.scenario, sizes)
    path = Layout(request.directory).plan
    stored = read_plan(request.directory) if path.exists() else ()
    if stored == plan:
        return plan
    if stored != plan[: len(stored)]:
        raise InputError(
            f"{path}: differs from the plan that this version of attestbench makes; resume with "
            "the version that began the campaign"
        )
    writer.write_plan(plan)
    return plan
