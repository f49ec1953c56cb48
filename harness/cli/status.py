"""`attestbench status`: how far campaigns are, and how well they go."""

from collections import Counter
from pathlib import Path

import click
import msgspec

from harness.cli.common import (
    campaigns_in,
    duration,
    find_campaign,
    json_option,
    print_json,
    results_option,
    text_table,
)
from harness.model.errors import InputError
from harness.model.plan import PilotDecision
from harness.run import Forecast
from harness.scenario import parse_scenario
from harness.store import is_locked, orchestration, read_header, read_plan, read_trials


class Status(msgspec.Struct):
    """Where a campaign stands. ``state``: running, finished or stopped."""

    campaign: str
    directory: str
    state: str
    done: int
    planned: int
    by_status: dict[str, int]
    reasons: dict[str, int]
    flagged_trials: int
    flagged: dict[str, int]
    interrupted_blocks: int
    eta_s: float
    wall_s: float
    orchestration_share: float
    pilot: tuple[PilotDecision, ...]
    pilot_pending: bool
    estimated: bool


@click.command()
@click.argument("campaign", required=False)
@results_option
@json_option
def status(campaign: str | None, results: Path, as_json: bool) -> None:
    """Show where CAMPAIGN stands, or all campaigns."""
    folders = [find_campaign(campaign, results)] if campaign else campaigns_in(results)
    if not folders and not as_json:
        raise InputError(f"{results}/ holds no campaign yet; `attestbench run SCENARIO` makes one")
    found = [campaign_status(folder) for folder in folders]
    if as_json:
        print_json(found[0] if campaign else found)
    elif campaign:
        _print_one(found[0])
    else:
        header = ("campaign", "state", "trials", "time left", "not ok", "flagged", "between trials")
        click.echo(text_table(header, [_row(one) for one in found]))


def campaign_status(directory: Path) -> Status:
    """Read a campaign's state; needs neither its lock nor its samples."""
    header = read_header(directory)
    scenario = parse_scenario(header.scenario_text, header.scenario_file)
    planned, records = read_plan(directory), read_trials(directory)
    cells = {cell.id: cell for cell in header.cells}
    forecast = Forecast(scenario, cells)
    forecast.learn(records)
    done = {record.trial_id for record in records}
    left = Counter((t.cell_id, t.arm) for t in planned if t.trial_id not in done)
    times = orchestration(directory)
    pending = not header.pilot and any(w.pilot is not None for w in scenario.workloads)
    finished = len(records) == len(planned) and not pending
    state = "running" if is_locked(directory) else "finished" if finished else "stopped"
    return Status(
        campaign=header.campaign,
        directory=str(directory),
        state=state,
        done=len(records),
        planned=len(planned),
        by_status=dict(Counter(str(record.status) for record in records)),
        reasons=dict(Counter(record.reason for record in records if record.reason)),
        flagged_trials=sum(bool(record.noise) for record in records),
        flagged=dict(Counter(flag.name for record in records for flag in record.noise)),
        interrupted_blocks=len({(r.cell_id, r.block) for r in records if r.interrupted_block}),
        eta_s=forecast.seconds(left),
        wall_s=times.wall_s,
        orchestration_share=times.share,
        pilot=header.pilot,
        pilot_pending=pending,
        estimated=(directory / "estimates.json").exists(),
    )


def _row(one: Status) -> tuple[str, ...]:
    not_ok = sum(count for status, count in one.by_status.items() if status != "ok")
    return (
        one.campaign,
        one.state,
        f"{one.done}/{one.planned}",
        duration(one.eta_s),
        str(not_ok),
        str(one.flagged_trials),
        f"{100 * one.orchestration_share:.1f} %",
    )


def _print_one(one: Status) -> None:
    counts = ", ".join(f"{count} {name}" for name, count in one.by_status.items()) or "none yet"
    flags = ", ".join(f"{name} {count}" for name, count in one.flagged.items()) or "none"
    reasons = ", ".join(f"{reason} {count}" for reason, count in one.reasons.items()) or "none"
    lines = [
        ("campaign", f"{one.campaign} ({one.directory})"),
        ("state", one.state + ("; n is not fixed yet, the pilot runs" * one.pilot_pending)),
        ("trials", f"{one.done} of {one.planned}: {counts}"),
        ("reasons", reasons),
        ("flagged", f"{one.flagged_trials} trials ({flags})"),
        ("interrupted", f"{one.interrupted_blocks} blocks"),
        ("time", f"{duration(one.wall_s)} so far, about {duration(one.eta_s)} to go"),
        ("overhead", f"{100 * one.orchestration_share:.1f} % of the time no trial ran"),
        ("estimates", "written" if one.estimated else "not yet; `attestbench report` writes them"),
    ]
    for decision in one.pilot:
        cut = f", {decision.wanted} wanted" if decision.wanted > decision.blocks else ""
        lines.append(("pilot", f"{decision.workload}: {decision.blocks} blocks{cut}"))
    for name, text in lines:
        click.echo(f"{name:<12} {text}")
