"""A trial in a process group of its own, which never outlives the trial or its controller."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

import harness
from harness.model.errors import EnvironmentError_
from harness.model.record import TrialOutcome, TrialRequest

_ENVIRONMENT_EXIT = EnvironmentError_.exit_code


class TrialProcess:
    """Runs ``python -m module JOB OUTCOME`` for a trial.

    ``job`` is what the module is told; ``timeout_s`` only names the limit in the outcome's reason;
    ``turn`` is the trial's end of the block's turn-taking, or None.
    """

    def __init__(
        self,
        module: str,
        request: TrialRequest,
        job: msgspec.Struct,
        turn: socket.socket | None = None,
    ) -> None:
        workdir = Path(request.workdir)
        path, self._outcome, self._log = (
            workdir / name for name in ("job.json", "outcome.msgpack", "log")
        )
        inherited = () if turn is None else (turn.fileno(),)
        path.write_bytes(msgspec.json.encode(job))
        self._timeout_s = request.workload.timeout_s
        self._finished = False
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, path, self._outcome],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=_environment(),
                pass_fds=inherited,
            )
        self._descriptor = os.pidfd_open(self._process.pid)

    def fileno(self) -> int:
        """A descriptor that becomes readable when the process ends, without polling for it."""
        return self._descriptor

    def wait(self, timeout_s: float) -> None:
        """Wait for the process's end, then end what is left of its group.

        The group is ended before the leader is reaped, while its number can't belong to anyone
        else.
        """
        if self._process.returncode is not None:
            return
        try:
            poller = select.poll()
            poller.register(self._descriptor, select.POLLIN)
            self._finished = bool(poller.poll(timeout_s * 1000))
        finally:
            os.close(self._descriptor)
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def outcome(self) -> TrialOutcome:
        """What the process left behind. Raises EnvironmentError_ when the machine is at fault."""
        if not self._finished:
            return TrialOutcome("timeout", reason=f"trial.timeout {self._timeout_s:g} s")
        code = self._process.returncode
        if code == 0:
            return msgspec.msgpack.decode(self._outcome.read_bytes(), type=TrialOutcome)
        reason = _last_line(self._log)
        if code == _ENVIRONMENT_EXIT:
            raise EnvironmentError_(reason)
        return TrialOutcome("failed", reason=f"trial.exit.{code} {reason}")


def run_side_by_side(
    starters: Sequence[Callable[[], TrialProcess]], width: int, limit_s: float
) -> list[TrialOutcome]:
    """Run all trials, at most ``width`` at once, each for at most ``limit_s``; outcomes in order.

    Whatever is raised, no trial runs afterwards.
    """
    trials: list[TrialProcess] = []
    deadlines: dict[int, float] = {}  # of the running ones, by their place
    try:
        while len(trials) < len(starters) or deadlines:
            while len(trials) < len(starters) and len(deadlines) < width:
                deadlines[len(trials)] = time.monotonic() + limit_s
                trials.append(starters[len(trials)]())
            left = max(0.0, min(deadlines.values()) - time.monotonic())
            running = [trials[place] for place in deadlines]
            ended, _, _ = select.select(running, [], [], left)
            now = time.monotonic()
            for place, deadline in list(deadlines.items()):
                if trials[place] in ended or now >= deadline:
                    trials[place].wait(0.0)
                    del deadlines[place]
    except BaseException:
        for trial in trials:
            trial.wait(0.0)
        raise
    return [trial.outcome() for trial in trials]


def _environment() -> dict[str, str]:
    """Ours, in which the trial also finds this package when it runs from its source."""
    source = str(Path(harness.__file__).resolve().parents[1])
    inherited = os.environ.get("PYTHONPATH")
    # PYTEST_* would reach the pytest inside a trial and change how it measures.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {**kept, "PYTHONPATH": f"{source}:{inherited}" if inherited else source}


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip()[:300] if lines else "no message"
