"""`attestbench report`: estimates and the rendered report of a campaign."""

from pathlib import Path

import click

from harness.cli.claims_table import check_gates, results_text
from harness.cli.common import find_campaign, json_option, print_json, results_option
from harness.model.errors import InputError


@click.command()
@click.argument("campaign")
@results_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the report.  [default: reports/CAMPAIGN]",
)
@json_option
def report(campaign: str, results: Path, out: Path | None, as_json: bool) -> None:
    """Estimate CAMPAIGN, finished or not, and render its report.

    Exit code 1, as of `run`, if an attack went amiss or a changed byte got through unexplained.
    """
    from harness.report import render
    from harness.stats import estimate_campaign
    from harness.store import load_campaign, read_estimates, write_estimates

    directory = find_campaign(campaign, results)
    target = out or Path("reports") / directory.resolve().name
    loaded = load_campaign(directory)
    if not loaded.records:
        raise InputError(f"{directory}: no trial is finished yet; `attestbench run` goes on")
    estimates = estimate_campaign(loaded)
    try:
        unchanged = read_estimates(directory) == estimates
    except InputError:
        unchanged = False
    if not unchanged:  # so that a finished campaign on read-only media can be rendered
        write_estimates(directory, estimates)
    render(loaded, estimates, target)
    if as_json:
        print_json({"report": str(target / "index.html"), "claims": estimates.claims})
    else:
        click.echo(results_text(estimates))
        click.echo(f"report: {target / 'index.html'}")
    check_gates(estimates)
