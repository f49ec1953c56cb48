"""`attestbench export`: a campaign's data as tables for other tools."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.common import find_campaign, json_option, print_json, results_option
from harness.store import load_campaign, writing

if TYPE_CHECKING:
    import pandas as pd


@click.command()
@click.argument("campaign")
@results_option
@click.option(
    "--format",
    "kind",
    type=click.Choice(["csv", "parquet", "jsonl"]),
    default="csv",
    show_default=True,
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for the tables; it is made when missing.",
)
@json_option
def export(campaign: str, results: Path, kind: str, out: Path, as_json: bool) -> None:
    """Write trials, samples, estimates, cells and attacks of CAMPAIGN as one table each.

    A table without rows is not written, and one that an earlier export left there is removed.
    """
    import msgspec
    import pandas as pd

    from harness.stats import attacks_frame, estimate_campaign

    loaded = load_campaign(find_campaign(campaign, results))
    estimates = estimate_campaign(loaded)
    rows = [msgspec.structs.asdict(estimate) for estimate in estimates.estimates]
    tables = {
        "trials": loaded.trials,
        "samples": loaded.samples,
        "estimates": pd.DataFrame(rows).drop(columns="factors", errors="ignore"),
        "cells": pd.DataFrame(
            [{"cell_id": c.id, "workload": c.workload, **c.factors} for c in loaded.cells.values()]
        ),
        "attacks": attacks_frame(estimates.attacks),
    }
    written = []
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            path = out / f"{name}.{kind}"
            if table.empty:
                path.unlink(missing_ok=True)
                continue
            _write(table, path, kind)
            written.append(str(path))
    if as_json:
        print_json({"files": written})
    else:
        click.echo("\n".join(written))


def _write(table: "pd.DataFrame", path: Path, kind: str) -> None:
    if kind == "csv":
        table.to_csv(path, index=False)
    elif kind == "parquet":
        table.to_parquet(path, index=False)
    else:
        table.to_json(path, orient="records", lines=True, double_precision=15)
