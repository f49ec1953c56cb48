"""`attestbench verify`: does a results folder hold together."""

from pathlib import Path

import click

from harness.cli.common import find_campaign, json_option, print_json, results_option
from harness.model.errors import RejectedError
from harness.store import check_campaign


@click.command("verify")
@click.argument("campaign")
@results_option
@json_option
def verify(campaign: str, results: Path, as_json: bool) -> None:
    """Check every file of CAMPAIGN: format, plan, counts and hashes."""
    directory = find_campaign(campaign, results)
    loaded, problems = check_campaign(directory)
    trials = len(loaded.records) if loaded else 0
    samples = len(loaded.samples) if loaded else 0
    planned = len(loaded.plan) if loaded else 0
    if as_json:
        print_json(
            {
                "directory": str(directory),
                "problems": problems,
                "trials": trials,
                "planned": planned,
                "samples": samples,
            }
        )
    elif not problems:
        click.echo(f"{directory}: good: {trials} of {planned} trials, {samples} samples")
    if problems:
        for problem in problems[1:] if not as_json else []:
            click.echo(problem, err=True)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise RejectedError(problems[0] + more)
