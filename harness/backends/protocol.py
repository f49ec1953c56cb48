"""The contract between the run loop and a backend."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from harness.model.errors import EnvironmentError_
from harness.model.record import TrialOutcome, TrialRequest
from harness.model.scenario import BackendName, Scenario


class Backend(Protocol):
    """Runs trials and blocks. Nothing of a trial survives into the next one."""

    @property
    def name(self) -> str:
        """Name of the backend as scenarios write it."""

    def check(self, scenario: Scenario) -> None:
        """Raise EnvironmentError_ naming what this machine lacks and how to get it."""

    def prepare(self, scenario: Scenario, workdir: Path) -> None:
        """Set up what all trials share, below ``workdir``; called once per `run`."""

    def provenance(self) -> dict[str, object]:
        """What ran: keys emulated, isolation, versions; merged into the campaign's provenance."""

    def run_trial(self, request: TrialRequest) -> TrialOutcome:
        """Run one trial from a fresh start.

        Raises EnvironmentError_ when the machine is at fault; the trial then counts as not run.
        """

    def run_block(self, requests: Sequence[TrialRequest]) -> list[TrialOutcome]:
        """Run the trials of one block so that they take turns; outcomes in the same order.

        Raises EnvironmentError_ when the machine is at fault; no trial of the block counts then.
        """

    def close(self) -> None:
        """Take down what ``prepare`` set up; safe to call twice."""


def create(name: BackendName) -> Backend:
    """The backend ``name``. Imports it only now: those that have TPMs need the TSS libraries."""
    if name == "fake":
        from harness.backends.fake import FakeBackend

        return FakeBackend()
    try:
        if name == "qemu":
            from harness.backends.qemu import QemuBackend

            return QemuBackend()
        from harness.backends.process import ProcessBackend
    except (ImportError, OSError) as error:
        reason = " ".join(str(error).split())
        raise EnvironmentError_(
            f"the {name} backend cannot start: {reason}; `attestbench doctor` shows what is missing"
        ) from error
    return ProcessBackend()
