"""`attestbench verify`: does a results folder hold together."""

import math
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from harness.cli.common import find_campaign, json_option, print_json, results_option
from harness.model.errors import InputError, RejectedError
from harness.store import Campaign, Layout, check_campaign, read_estimates


@click.command("verify")
@click.argument("campaign")
@results_option
@json_option
def verify(campaign: str, results: Path, as_json: bool) -> None:
    """Check every file of CAMPAIGN: format, plan, counts, hashes and estimates.

    estimates.json, if there, must be what analysis makes of the trials; it is derived from them,
    and `attestbench report` writes it again.
    """
    directory = find_campaign(campaign, results)
    loaded, problems = check_campaign(directory)
    if loaded is not None and not problems:  # damaged trials have no estimates to compare with
        problems = list(_estimates_problems(loaded))
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


def _estimates_problems(campaign: Campaign) -> Iterator[str]:
    from harness.stats import estimate_campaign

    path = Layout(campaign.directory).estimates
    if not path.exists():
        return
    try:
        kept, now = read_estimates(campaign.directory), estimate_campaign(campaign)
    except InputError as error:
        yield str(error)
        return
    place = _difference(msgspec.to_builtins(kept), msgspec.to_builtins(now), "")
    if place is not None:
        yield (
            f"{path}:{place}: not what analysis makes of the trials: it was changed, or written "
            "before the last of them or by another version; `attestbench report` writes it again"
        )


def _difference(one: object, other: object, at: str) -> str | None:
    """Where two structs as builtins differ, beyond another machine's rounding; None: nowhere."""
    match one, other:
        case dict(), dict():
            pairs = [(f"{at}.{key}", one.get(key), other.get(key)) for key in {**one, **other}]
        case tuple(), tuple() if len(one) == len(other):
            pairs = [(f"{at}[{i}]", a, b) for i, (a, b) in enumerate(zip(one, other, strict=True))]
        case float(), float():
            return None if math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9) else at
        case _:
            return None if one == other else at
    differing = (_difference(a, b, where.removeprefix(".")) for where, a, b in pairs)
    return next((place for place in differing if place is not None), None)
