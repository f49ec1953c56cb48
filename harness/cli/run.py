"""`attestbench run`: run a scenario to its end, or go on where it stopped."""

import signal
from pathlib import Path
from types import FrameType

import click

from harness.backends import create
from harness.cli.claims_table import check_gates, results_text
from harness.cli.common import json_option, read_scenario, results_option
from harness.cli.progress import observer
from harness.cli.statistics import CampaignStatistics
from harness.model.estimate import CampaignEstimates
from harness.run import RunRequest, run_campaign
from harness.scenario import cells_of
from harness.store import emulated_in, read_plan, read_provenance, read_trials


class Terminated(KeyboardInterrupt):
    """SIGTERM; handled like Ctrl-C."""


@click.command()
@click.argument("scenario")
@results_option
@click.option("--allow-other-machine", is_flag=True, help="Resume what another machine began.")
@click.option(
    "--no-analysis",
    is_flag=True,
    help="End after the last trial. No gate is evaluated: `attestbench report` makes the "
    "estimates later, and exits with 1 if an attack went amiss.",
)
@click.option(
    "--quiet", "-q", is_flag=True, help="Print only errors, the claims table and what was emulated."
)
@json_option
def run(
    scenario: str,
    results: Path,
    *,
    allow_other_machine: bool,
    no_analysis: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Run SCENARIO (a name or a .toml file); the same command resumes it."""
    path, parsed, text = read_scenario(scenario)
    directory = results / parsed.name
    request = RunRequest(
        parsed, text, str(path), directory, allow_other_machine, compact=not no_analysis
    )
    signal.signal(signal.SIGTERM, _terminate)
    try:
        with observer(cells_of(parsed), quiet=quiet, as_json=as_json) as observe:
            run_campaign(request, create(parsed.backend), CampaignStatistics(), observe)
        estimates = None if no_analysis else _analyse(directory, as_json)
        if not as_json:
            click.echo(_emulated(directory), nl=False)
    except KeyboardInterrupt as interruption:
        click.echo(_interrupted(scenario, results, directory), err=True)
        return 143 if isinstance(interruption, Terminated) else 130
    if estimates is not None:
        check_gates(estimates)
    return 0


def _analyse(directory: Path, as_json: bool) -> CampaignEstimates:
    """Write the estimates and print what they say."""
    from harness.stats import estimate_campaign
    from harness.store import load_campaign, write_estimates

    estimates = estimate_campaign(load_campaign(directory))
    write_estimates(directory, estimates)
    if as_json:
        import msgspec

        event = {
            "event": "claims",
            "claims": estimates.claims,
            "attacks": estimates.attacks,
            "emulated": _emulated_names(directory),
        }
        click.echo(msgspec.json.encode(event).decode())
    else:
        click.echo(results_text(estimates))
    return estimates


def _emulated(directory: Path) -> str:
    """The line that names what stood in for the real thing, "" where nothing did."""
    names = _emulated_names(directory)
    return f"emulated: {'; '.join(names)}\n" if names else ""


def _emulated_names(directory: Path) -> list[str]:
    used = read_provenance(directory, read_trials(directory))
    return list(dict.fromkeys(one.what for one in emulated_in(used.values())))


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise Terminated


def _interrupted(scenario: str, results: Path, directory: Path) -> str:
    done = len(read_trials(directory))
    planned = len(read_plan(directory)) if (directory / "plan.jsonl").exists() else 0
    where = f" --results {results}" if results != Path("results") else ""
    return (
        f"attestbench: interrupted after {done} of {planned} trials, all of them kept; "
        f"resume with: attestbench run {scenario}{where}"
    )
