"""The report: one page a researcher would read, with its figures and tables as files.

Works from the store alone; the same campaign and estimates always give the same bytes.
"""

from collections.abc import Iterable
from pathlib import Path

from harness.model.estimate import CampaignEstimates
from harness.report.attacks import attacks_table
from harness.report.checks import cost_table, crosscheck_table, estimates_table
from harness.report.claim_table import claims_table
from harness.report.comparisons import comparison_tables
from harness.report.counted_tables import counted_tables, noise_tables
from harness.report.data import COMMANDS, Dataset
from harness.report.figure import Plot, save, style
from harness.report.figures import all_figures
from harness.report.markdown import claims_markdown, report_markdown
from harness.report.method import SCENARIO
from harness.report.page import Content, html
from harness.report.table import Table, to_csv, to_tex
from harness.report.trials import exclusions_table, flags_table, phase_tables, trials_table
from harness.store import Campaign

__all__ = ["render"]

FORMATS = ("pdf", "svg", "png")


def render(campaign: Campaign, estimates: CampaignEstimates, out: Path) -> None:
    """Write index.html, report.md, claims.md, the scenario, figures/ and tables/ into ``out``.

    An earlier report in ``out`` is replaced; what only it had is removed. Raises OSError where
    ``out`` can't be written.
    """
    data = Dataset(campaign, estimates)
    claims, attacks = claims_table(data), attacks_table(data)
    costs = [cost_table(data)] if COMMANDS in data.shown else []
    tables = [*counted_tables(data), *comparison_tables(data), *costs, *phase_tables(data)]
    checks = [exclusions_table(data), flags_table(data), *noise_tables(data)]
    checks.append(crosscheck_table(data))

    with style():
        plots = all_figures(data)
        svgs = _write_figures(plots, out / "figures")
    extra = (estimates_table(data), trials_table(data))
    written = _write_tables((claims, attacks, *tables, *checks, *extra), out / "tables")
    files = [f"figures/{name}.{ending}" for name in svgs for ending in FORMATS]
    files += [f"tables/{name}" for name in written]
    files.append(SCENARIO)
    content = Content(data, claims, attacks, plots, svgs, tables, checks, files)
    for name, text in (
        ("index.html", html(content)),
        ("report.md", report_markdown(content)),
        ("claims.md", claims_markdown(data, claims)),
        (SCENARIO, campaign.header.scenario_text),
    ):
        (out / name).write_text(text, encoding="utf-8", newline="")


def _write_figures(plots: Iterable[Plot], folder: Path) -> dict[str, str]:
    """Files of every figure that has something to show; returns the inline SVG by name."""
    folder.mkdir(parents=True, exist_ok=True)
    svgs = {}
    for plot in plots:
        if plot.figure is not None:
            svgs[plot.name] = save(plot, folder)
        else:
            for ending in FORMATS:
                (folder / f"{plot.name}.{ending}").unlink(missing_ok=True)
    return svgs


def _write_tables(tables: Iterable[Table], folder: Path) -> list[str]:
    """CSV of every table with rows, LaTeX of every table that people read; their file names."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in tables:
        for ending, text in (
            ("csv", to_csv(table) if len(table.frame) else ""),
            ("tex", "" if table.empty else to_tex(table)),
        ):
            path = folder / f"{table.name}.{ending}"
            if text:
                path.write_text(text, encoding="utf-8")
                written.append(path.name)
            else:
                path.unlink(missing_ok=True)
    return written
