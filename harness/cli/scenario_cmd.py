"""`attestbench scenario`: list and check scenario files."""

from pathlib import Path

import click

from harness.cli.common import json_option, print_json, read_scenario, text_table
from harness.model.errors import InputError
from harness.model.scenario import Scenario
from harness.scenario import cells_of, list_scenarios, load_scenario


@click.group()
def scenario() -> None:
    """List and check scenario files."""


@scenario.command("list")
@click.option(
    "--folder", type=click.Path(path_type=Path), default=Path("scenarios"), show_default=True
)
@json_option
def list_command(folder: Path, as_json: bool) -> None:
    """Show all scenarios of a folder, the broken ones with their error."""
    found: list[dict[str, object]] = []
    for path in list_scenarios(folder):
        try:
            found.append(_summary(path, load_scenario(path)[0]))
        except InputError as error:
            found.append({"file": str(path), "error": str(error)})
    if as_json:
        print_json(found)
        return
    if not found:
        raise InputError(f"{folder}: no *.toml here; use --folder, or run where scenarios/ is")
    rows = [
        (str(row["name"]), str(row["backend"]), str(row["cells"]), str(row["title"]))
        for row in found
        if "error" not in row
    ]
    click.echo(text_table(("name", "backend", "cells", "title"), rows))
    for row in found:
        if "error" in row:
            click.echo(f"broken: {row['error']}")


@scenario.command("check")
@click.argument("names", nargs=-1, required=True, metavar="FILE...")
@json_option
def check_command(names: tuple[str, ...], as_json: bool) -> None:
    """Check scenario files; the first wrong one ends it with exit code 2."""
    checked = []
    for name in names:
        path, parsed, _ = read_scenario(name)
        checked.append(_summary(path, parsed))
    if as_json:
        print_json(checked)
        return
    for row in checked:
        click.echo(
            f"{row['file']}: good: {row['cells']} cells, {row['arms']} arms, {row['claims']} claims"
        )


def _summary(path: Path, parsed: Scenario) -> dict[str, object]:
    return {
        "file": str(path),
        "name": parsed.name,
        "title": parsed.title,
        "backend": parsed.backend,
        "cells": len(cells_of(parsed)),
        "arms": len(parsed.arms),
        "claims": len(parsed.claims),
    }
