"""`attestbench verify`: does a results folder hold together, file by file."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from harness.model.errors import InputError
from harness.model.record import ATTACKS_NOTE, FLIPS_NOTE, AttackOutcome, FlipOutcome
from harness.store.campaign import Campaign, load_campaign
from harness.store.layout import Layout
from harness.store.reader import read_bytes

# Notes of trials that are JSON, with what they hold.
_NOTES: dict[str, type] = {ATTACKS_NOTE: list[AttackOutcome], FLIPS_NOTE: FlipOutcome}


def check_campaign(directory: Path) -> tuple[Campaign | None, list[str]]:
    """Load and check a campaign; returns it (None when it can't be loaded) and all problems."""
    try:
        campaign = load_campaign(directory)
    except InputError as error:
        return None, [str(error)]
    problems = [
        *_plan_problems(campaign),
        *_note_problems(campaign),
        *_content_problems(campaign),
    ]
    return campaign, problems


def _plan_problems(campaign: Campaign) -> Iterator[str]:
    layout = Layout(campaign.directory)
    planned = {trial.trial_id: trial for trial in campaign.plan}
    if len(planned) != len(campaign.plan):
        yield f"{layout.plan}: a trial is planned twice"
    for number, record in enumerate(campaign.records, start=1):
        where = f"{layout.trials}:{number}"
        trial = planned.get(record.trial_id)
        if trial is None:
            yield f"{where}: trial {record.trial_id} is not planned"
        elif (trial.cell_id, trial.block, trial.position, trial.arm) != (
            record.cell_id,
            record.block,
            record.position,
            record.arm,
        ):
            yield f"{where}: trial {record.trial_id} was planned as another arm, block or cell"


def _note_problems(campaign: Campaign) -> Iterator[str]:
    path = Layout(campaign.directory).trials
    for number, record in enumerate(campaign.records, start=1):
        for name, kind in _NOTES.items():
            try:
                msgspec.json.decode(record.notes.get(name) or "null", type=kind | None)
            except msgspec.MsgspecError as error:
                yield f"{path}:{number}: note {name!r} can't be read: {error}; restore a copy"


def _content_problems(campaign: Campaign) -> Iterator[str]:
    layout = Layout(campaign.directory)
    for digest in campaign.provenance:
        yield from _digest_problems(layout.provenance / f"{digest}.json", digest)
    for record in campaign.records:
        for digest in record.evidence:
            yield from _digest_problems(layout.evidence / digest, digest)


def _digest_problems(path: Path, digest: str) -> Iterator[str]:
    try:
        actual = hashlib.sha256(read_bytes(path)).hexdigest()
    except InputError as error:
        yield str(error)
        return
    if actual != digest:
        yield f"{path}: content has SHA-256 {actual}, expected its name"
