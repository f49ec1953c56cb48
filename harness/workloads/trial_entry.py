"""What every trial's own process does around its job: read it, end with its parent, write."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from harness.framework.lifetime import end_group_with_parent
from harness.model.errors import AttestbenchError
from harness.model.record import TrialOutcome


class Job(Protocol):
    """``controller``: process id of the one that started the trial; 0 by hand."""

    @property
    def controller(self) -> int:
        """Process id, or 0."""


_J = TypeVar("_J", bound=Job)


def carry_out(
    job_path: str, outcome_path: str, kind: type[_J], run: Callable[[_J], TrialOutcome]
) -> int:
    """Run the job and write its outcome; the exit code says whether there is one."""
    job = msgspec.json.decode(Path(job_path).read_bytes(), type=kind)
    # Only as leader of a group of its own; else others would end with the trial.
    if job.controller and os.getpgrp() == os.getpid():
        end_group_with_parent(job.controller)
    try:
        outcome = run(job)
    except AttestbenchError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    Path(outcome_path).write_bytes(msgspec.msgpack.encode(outcome))
    return 0
