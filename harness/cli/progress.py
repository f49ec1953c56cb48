"""How a run shows its progress: JSON lines, nothing, or lines with a bar on a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
import msgspec

from harness.cli.common import cell_name, duration, percent
from harness.model.plan import PilotDecision
from harness.model.scenario import Cell
from harness.run import Event, Observer
from harness.run.events import (
    BlockFinished,
    CampaignFinished,
    CampaignStarted,
    PlanExtended,
    TrialFinished,
    TrialStarted,
)

if TYPE_CHECKING:  # rich is imported only where a terminal shows it
    from rich.progress import Progress


@contextlib.contextmanager
def observer(cells: dict[str, Cell], *, quiet: bool, as_json: bool) -> Iterator[Observer]:
    """The observer that suits the options and the terminal."""
    if as_json:
        yield _print_json_line
    elif quiet:
        yield _ignore
    elif sys.stderr.isatty():
        with _bar() as progress:
            yield _BarObserver(progress, cells)
    else:
        yield _LineObserver(cells)


def event_line(event: Event, cells: dict[str, Cell]) -> str | None:
    """What people read of an event; None for those that only move the bar."""
    match event:
        case CampaignStarted():
            resumed = f", {event.done} done before" if event.done else ""
            eta = duration(event.eta_s)
            return f"{event.campaign}: {event.planned} trials{resumed}, about {eta} to go"
        case TrialFinished() if event.status != "ok":
            return f"  trial {event.trial_id} {event.status}: {event.reason}"
        case BlockFinished():
            estimates = "; ".join(
                f"{e.claim_id} {percent(e.point)} [{percent(e.low)}, {percent(e.high)}] n={e.pairs}"
                for e in event.estimates
            )
            text = f"  block {event.block} of {cell_name(cells[event.cell_id])}"
            return f"{text}: {estimates}" if estimates else text
        case PlanExtended():
            sizes = ", ".join(_size(decision) for decision in event.decisions)
            return f"  pilot over: {sizes}; {event.planned} trials in all"
        case CampaignFinished():
            counts = ", ".join(f"{count} {status}" for status, count in event.by_status.items())
            share = 100 * event.orchestration_share
            done = f"all {event.planned} trials done ({counts})"
            return f"{done}; {share:.1f} % of the time between trials"
        case _:
            return None


def _size(decision: PilotDecision) -> str:
    cut = f" of {decision.wanted} wanted" if decision.wanted > decision.blocks else ""
    return f"{decision.workload} {decision.blocks} blocks{cut}"


class _LineObserver:
    def __init__(self, cells: dict[str, Cell]) -> None:
        self._cells = cells

    def __call__(self, event: Event) -> None:
        line = event_line(event, self._cells)
        if line is not None:
            click.echo(line, err=True)


class _BarObserver:
    """Lines above a bar that shows the running trial, the count and the time left."""

    def __init__(self, progress: Progress, cells: dict[str, Cell]) -> None:
        self._progress = progress
        self._cells = cells
        self._task = progress.add_task("", total=None, eta="")

    def __call__(self, event: Event) -> None:
        line = event_line(event, self._cells)
        if line is not None:
            self._progress.console.print(line, markup=False, highlight=False)
        match event:
            case CampaignStarted():
                self._move(event.done, event.planned, event.eta_s)
            case TrialStarted():
                text = f"{event.workload} {event.arm}"
                self._progress.update(self._task, description=text)
            case TrialFinished():
                self._move(event.done, event.planned, event.eta_s)
            case _:
                pass

    def _move(self, done: int, planned: int, eta_s: float) -> None:
        eta = duration(eta_s) + " left"
        self._progress.update(self._task, completed=done, total=planned, eta=eta)


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[eta]}"),
        console=Console(stderr=True),
        transient=True,
        # A faster refresh would be work on the machine that is being measured.
        refresh_per_second=1,
    )


def _print_json_line(event: Event) -> None:
    click.echo(msgspec.json.encode(event).decode())


def _ignore(_event: Event) -> None:
    pass
