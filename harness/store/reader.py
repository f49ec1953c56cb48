"""Reading a campaign's files without pandas: header, plan, trials, sessions.

Unknown keys are ignored and missing ones take their default, so that older and newer files load.
Whatever can't be read is an error that names file and line; nothing is skipped in silence.
"""

from pathlib import Path
from typing import TypeVar

import msgspec

from harness.model.errors import InputError
from harness.model.record import Sample, TrialRecord
from harness.model.scenario import PlannedTrial
from harness.store.layout import FORMAT_VERSION, Header, Layout, Session

_T = TypeVar("_T")


def read_header(directory: Path) -> Header:
    """``campaign.json``; InputError when there is none or a newer version wrote it."""
    path = Layout(directory).header
    content = read_bytes(path, f"{directory} holds no campaign; `attestbench run` makes one")
    try:
        version = msgspec.json.decode(content, type=dict[str, object]).get("format_version")
        if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
            raise InputError(
                f"{path}: format_version: got {version}, expected 1 to {FORMAT_VERSION}; "
                "a newer attestbench wrote this campaign, use that version"
            )
        return msgspec.json.decode(content, type=Header)
    except msgspec.MsgspecError as error:
        raise InputError(f"{path}: damaged: {error}; restore it from a copy") from None


def read_plan(directory: Path) -> tuple[PlannedTrial, ...]:
    """``plan.jsonl`` in running order."""
    path = Layout(directory).plan
    content = read_bytes(path, f"{directory} has no plan; run the campaign again to restore it")
    return tuple(decode_lines(path, content, PlannedTrial))


def read_trials(directory: Path) -> tuple[TrialRecord, ...]:
    """``trials.jsonl`` in running order, without a torn last line; () before the first trial."""
    path = Layout(directory).trials
    if not path.exists():
        return ()
    content = _without_torn_line(read_bytes(path))
    records = decode_lines(path, content, TrialRecord)
    first: dict[str, int] = {}
    for number, record in enumerate(records, start=1):
        if record.trial_id in first:
            raise InputError(
                f"{path}:{number}: trial {record.trial_id} again, first at line "
                f"{first[record.trial_id]}; two copies of the folder were mixed, restore one"
            )
        first[record.trial_id] = number
    return tuple(records)


def read_sessions(directory: Path) -> tuple[Session, ...]:
    """Sessions by number; the line of a session's end replaces that of its beginning."""
    path = Layout(directory).sessions
    if not path.exists():
        return ()
    lines = decode_lines(path, _without_torn_line(read_bytes(path)), Session)
    return tuple({session.number: session for session in lines}.values())


def read_trial_samples(directory: Path, record: TrialRecord) -> tuple[Sample, ...]:
    """Samples of one trial that is not yet compacted; InputError when they are not complete."""
    if not record.samples:
        return ()
    path = Layout(directory).trial_samples(record.trial_id)
    missing = f"{path}: missing, but its trial is recorded; restore the file from a copy"
    samples = decode_lines(path, read_bytes(path, missing), Sample)
    if len(samples) != record.samples:
        raise InputError(
            f"{path}: has {len(samples)} samples, the trial's record says {record.samples}; "
            "restore the file from a copy"
        )
    return tuple(samples)


def read_bytes(path: Path, missing: str = "") -> bytes:
    """Content of a file; InputError with ``missing`` when it does not exist."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(missing or f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror}") from None


def decode_lines(path: Path, content: bytes, kind: type[_T]) -> list[_T]:
    """Decode JSON lines; InputError names ``path`` and the line that is damaged."""
    decoder = msgspec.json.Decoder(kind)
    decoded = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            decoded.append(decoder.decode(line))
        except msgspec.MsgspecError as error:
            raise InputError(
                f"{path}:{number}: damaged line: {error}; restore the file from a copy"
            ) from None
    return decoded


def _without_torn_line(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]
