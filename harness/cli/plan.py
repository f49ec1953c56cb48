"""`attestbench plan`: what a run would do, how long it takes and what it could detect."""

from collections import Counter
from pathlib import Path

import click
import msgspec

from harness.cli.common import (
    cell_name,
    duration,
    json_option,
    percent,
    print_json,
    read_scenario,
    results_option,
    text_table,
)
from harness.model.errors import InputError
from harness.model.plan import PilotDecision
from harness.model.scenario import Cell, PlannedTrial, Scenario
from harness.run import Forecast
from harness.scenario import cells_of
from harness.schedule import plan_trials
from harness.store import read_estimates, read_header


class CellPlan(msgspec.Struct):
    """One line of the plan. ``seconds``: expected time of all its trials."""

    cell_id: str
    name: str
    arms: tuple[str, ...]
    blocks: int
    pilot: bool
    trials: int
    seconds: float


class ClaimPlan(msgspec.Struct):
    """What a claim's blocks can detect (fractions, power 80 %); ``source`` of ``sd_log``."""

    claim_id: str
    blocks: int
    sd_log: float
    source: str
    mde: float


class Plan(msgspec.Struct):
    """All that `plan --json` prints."""

    scenario: str
    cells: list[CellPlan]
    trials: int
    seconds: float
    time_source: str
    claims: list[ClaimPlan]
    order: tuple[PlannedTrial, ...]


@click.command()
@click.argument("scenario")
@results_option
@click.option("--order", is_flag=True, help="Print every trial in the order in which it runs.")
@json_option
def plan(scenario: str, results: Path, order: bool, as_json: bool) -> None:
    """Show cells, blocks, order, expected time and minimum detectable effect of SCENARIO."""
    _, parsed, _ = read_scenario(scenario)
    made = make_plan(parsed, results)
    if as_json:
        print_json(made)
    else:
        _print(made, parsed, order)


def make_plan(scenario: Scenario, results: Path) -> Plan:
    """The plan, with the pilot's decisions where the campaign has already made them."""
    cells = cells_of(scenario)
    decisions = _decisions(results / scenario.name)
    trials = plan_trials(scenario, {name: d.blocks for name, d in decisions.items()})
    forecast = Forecast(scenario, cells)
    used = forecast.learn_from_results(results)
    source = f"measured in {', '.join(used)}" if used else "assumed; nothing like it was run yet"
    counts = Counter((trial.cell_id, trial.arm) for trial in trials)
    return Plan(
        scenario=scenario.name,
        cells=[_cell_plan(scenario, cell, trials, forecast) for cell in cells.values()],
        trials=len(trials),
        seconds=forecast.seconds(counts),
        time_source=source,
        claims=_claim_plans(scenario, decisions, results / scenario.name),
        order=trials,
    )


def _decisions(directory: Path) -> dict[str, PilotDecision]:
    if not (directory / "campaign.json").exists():
        return {}
    return {decision.workload: decision for decision in read_header(directory).pilot}


def _cell_plan(
    scenario: Scenario, cell: Cell, trials: tuple[PlannedTrial, ...], forecast: Forecast
) -> CellPlan:
    own = [trial for trial in trials if trial.cell_id == cell.id]
    counts = Counter((trial.cell_id, trial.arm) for trial in own)
    workload = next(w for w in scenario.workloads if w.name == cell.workload)
    return CellPlan(
        cell_id=cell.id,
        name=cell_name(cell),
        arms=tuple(sorted({trial.arm for trial in own})),
        blocks=max(trial.block for trial in own) + 1,
        pilot=workload.pilot is not None,
        trials=len(own),
        seconds=forecast.seconds(counts),
    )


def _claim_plans(
    scenario: Scenario, decisions: dict[str, PilotDecision], directory: Path
) -> list[ClaimPlan]:
    from harness.stats.size import planned_mde

    workloads = {workload.name: workload for workload in scenario.workloads}
    measured = _measured_spreads(directory)
    plans = []
    for claim in scenario.claims:
        workload = workloads[claim.workload]
        decision = decisions.get(claim.workload)
        blocks = decision.blocks if decision else workload.blocks or workload.pilot or 0
        sizes = {size.claim_id: size.sd_log for size in decision.claims} if decision else {}
        sd_log, source = sizes.get(claim.id), "the pilot"
        if sd_log is None:
            sd_log, source = measured.get(claim.id), f"estimates of {directory.name}"
        if sd_log is None:
            sd_log, source = scenario.assumed_sd_log, "assumed_sd_log of the scenario"
        mde = planned_mde(sd_log, blocks)
        plans.append(ClaimPlan(claim.id, blocks, sd_log, source, mde))
    return plans


def _measured_spreads(directory: Path) -> dict[str, float]:
    """Spread of each claim's log ratios where the campaign has been estimated."""
    try:
        claims = read_estimates(directory).claims
    except InputError:  # not estimated yet, or damaged: `report` says so
        return {}
    return {claim.claim_id: claim.estimate.sd_log for claim in claims if claim.estimate}


def _print(made: Plan, scenario: Scenario, order: bool) -> None:
    click.echo(f"{made.scenario}: {scenario.title}")
    click.echo(f"seed {scenario.seed}, backend {scenario.backend}, baseline {scenario.baseline}\n")
    rows = [
        (
            cell.cell_id,
            cell.name,
            f"{cell.blocks}" + (" (pilot)" * cell.pilot),
            str(len(cell.arms)),
            str(cell.trials),
            duration(cell.seconds),
        )
        for cell in made.cells
    ]
    click.echo(text_table(("cell", "what", "blocks", "arms", "trials", "time"), rows))
    click.echo(
        f"\n{made.trials} trials, about {duration(made.seconds)} "
        f"(time per trial: {made.time_source})"
    )
    for claim in made.claims:
        click.echo(
            f"{claim.claim_id}: {claim.blocks} blocks detect {percent(claim.mde)} "
            f"(power 80 %, spread {100 * claim.sd_log:.2f} % from {claim.source})"
        )
    click.echo("")
    _print_order(made, scenario, order)


def _print_order(made: Plan, scenario: Scenario, everything: bool) -> None:
    cells = cells_of(scenario)
    blocks: dict[tuple[int, str], list[str]] = {}
    for trial in made.order:
        blocks.setdefault((trial.block, trial.cell_id), []).append(trial.arm)
    shown = list(blocks.items())
    cut = len(shown) if everything else min(len(shown), 2 * len(cells))
    rows = [(str(b), cell_name(cells[c]), " → ".join(arms)) for (b, c), arms in shown[:cut]]
    click.echo(text_table(("block", "cell", "order of the arms"), rows))
    if cut < len(shown):
        click.echo(f"… and {len(shown) - cut} more blocks (--order shows them)")
