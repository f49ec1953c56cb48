"""The one writer of a campaign's folder; the order of its writes is what makes `run` resumable."""

import fcntl
import hashlib
import os
import time
from pathlib import Path

import msgspec

from harness.model.errors import EnvironmentError_
from harness.model.record import Sample, TrialRecord
from harness.model.scenario import PlannedTrial
from harness.scenario import canonical_json
from harness.store.files import (
    append_durably,
    cut_torn_line,
    make_directory,
    replace_durably,
    write_durably,
    writing,
)
from harness.store.layout import Header, Layout, Session

# `status` holds the lock for an instant when it looks whether it is taken.
_LOCK_PATIENCE_S = 0.2


class CampaignWriter:
    """Holds the campaign's lock from construction to ``close``.

    Every method raises EnvironmentError_ when the folder can't be written, or when another `run`
    holds the lock.
    """

    def __init__(self, directory: Path) -> None:
        self.layout = Layout(directory)
        with writing(directory):
            for folder in ("samples", "evidence", "provenance"):
                make_directory(directory / folder)
            self._lock = os.open(self.layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not _lock_within(self._lock, _LOCK_PATIENCE_S):
            os.close(self._lock)
            raise EnvironmentError_(
                f"{directory}: another `attestbench run` is writing this campaign; "
                "wait for it, or stop it first"
            )
        with writing(directory):
            cut_torn_line(self.layout.trials)
            cut_torn_line(self.layout.sessions)

    def close(self) -> None:
        """Release the lock."""
        os.close(self._lock)

    def write_header(self, header: Header) -> None:
        """Replace ``campaign.json`` atomically."""
        content = msgspec.json.format(msgspec.json.encode(header), indent=1) + b"\n"
        with writing(self.layout.header):
            replace_durably(self.layout.header, content)

    def write_plan(self, plan: tuple[PlannedTrial, ...]) -> None:
        """Replace ``plan.jsonl`` atomically."""
        content = b"".join(msgspec.json.encode(trial) + b"\n" for trial in plan)
        with writing(self.layout.plan):
            replace_durably(self.layout.plan, content)

    def append_session(self, session: Session) -> None:
        """Note the beginning or the end of a session."""
        with writing(self.layout.sessions):
            append_durably(self.layout.sessions, msgspec.json.encode(session))

    def append_trial(self, record: TrialRecord, samples: tuple[Sample, ...]) -> None:
        """Commit a trial: its samples first, its line last."""
        path = self.layout.trial_samples(record.trial_id)
        with writing(path):
            if samples:
                write_durably(path, b"".join(msgspec.json.encode(s) + b"\n" for s in samples))
        with writing(self.layout.trials):
            append_durably(self.layout.trials, msgspec.json.encode(record))

    def put_evidence(self, content: bytes) -> str:
        """Store evidence under its SHA-256, which is returned."""
        digest = hashlib.sha256(content).hexdigest()
        self._put(self.layout.evidence / digest, content)
        return digest

    def put_provenance(self, provenance: dict[str, object]) -> str:
        """Store provenance under the SHA-256 of its canonical JSON, which is returned."""
        content = canonical_json(provenance)
        digest = hashlib.sha256(content).hexdigest()
        self._put(self.layout.provenance / f"{digest}.json", content)
        return digest

    def _put(self, path: Path, content: bytes) -> None:
        with writing(path):
            if not path.exists():
                replace_durably(path, content)


def is_locked(directory: Path) -> bool:
    """Whether a `run` is writing the campaign now."""
    try:
        descriptor = os.open(Layout(directory).lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _lock_within(descriptor, 0.0)
    finally:
        os.close(descriptor)


def _lock_within(descriptor: int, patience_s: float) -> bool:
    """Take an exclusive lock, trying for so long; it ends with the descriptor."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        else:
            return True
